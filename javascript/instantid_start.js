"use strict";
// Waits for each panel's accordion to be opened, and only then builds the panel.
(function (instantid) {
    const ANYWHERE = "100000px"; // on the page: what is folded away or in another tab is nowhere

    instantid.early = {}; // what panels are to be told once they are built, by tab

    function watch(root) {
        const data = JSON.parse(root.dataset.panel);
        const seen = new IntersectionObserver((entries) => {
            if (!entries.some((entry) => entry.isIntersecting)) return;
            seen.disconnect();
            const panel = instantid.build(root, data);
            (instantid.early[data.tab] || []).forEach((tell) => tell(panel));
        }, {rootMargin: ANYWHERE});
        seen.observe(root);
    }

    instantid.start = () => document.querySelectorAll(".instantid-panel").forEach(watch);
    if (typeof onUiLoaded === "function") onUiLoaded(instantid.start);
})((window.instantid = window.instantid || {}));
