"use strict";
// Waits for each panel's accordion to be opened, and only then builds the panel.
(function (instantid) {
    const ANYWHERE = "100000px"; // on the page: what is folded away or in another tab is nowhere

    function watch(root) {
        const data = JSON.parse(root.dataset.panel);
        const seen = new IntersectionObserver((entries) => {
            if (!entries.some((entry) => entry.isIntersecting)) return;
            seen.disconnect();
            instantid.build(root, data);
        }, {rootMargin: ANYWHERE});
        seen.observe(root);
    }

    instantid.start = () => document.querySelectorAll(".instantid-panel").forEach(watch);
    if (typeof onUiLoaded === "function") onUiLoaded(instantid.start);
})((window.instantid = window.instantid || {}));
