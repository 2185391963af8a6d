"use strict";
// Waits for each panel's accordion to be opened, and only then builds the panel.
(function (instantid) {
    instantid.early = {}; // texts that arrived before their panel was built

    function watch(root) {
        const data = JSON.parse(root.dataset.panel);
        const seen = new IntersectionObserver((entries) => {
            if (!entries.some((entry) => entry.isIntersecting)) return;
            seen.disconnect();
            const panel = instantid.build(root, data);
            if (data.tab in instantid.early) panel.restored(instantid.early[data.tab]);
        });
        seen.observe(root);
    }

    instantid.start = () => document.querySelectorAll(".instantid-panel").forEach(watch);
    if (typeof onUiLoaded === "function") onUiLoaded(instantid.start);
})((window.instantid = window.instantid || {}));
