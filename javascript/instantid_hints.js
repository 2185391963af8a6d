"use strict";
// What is worth knowing before generating: a checkpoint that does not fit, missing files, a high CFG, an unlucky size.
(function (instantid) {
    const {el, button, fill} = instantid;
    const HIGH_CFG = 5;
    const SMALL = 768; // pixels of a side, as the square root of the area; SDXL was trained on 1024
    const POLL = 1000;
    const AGAIN = 4000; // milliseconds; the WebUIs tell nobody that another checkpoint was chosen

    /** {element, render(), ask()}. render uses what the page shows; ask also asks Python. */
    instantid.hints = function (panel) {
        const element = el("div", {class: "instantid-hints", role: "status"});
        let asking = false;
        let status = {problems: {}, download: null, sd15: false};
        const byInstantID = ({system}) => system === "InstantID" || (system === "automatic" && !status.sd15);

        function sentences() {
            const found = [];
            const [width, height] = panel.size();
            const cfg = panel.number("cfg_scale");
            if (!panel.on() && (panel.state.people.some(instantid.isComplete) || panel.sections.some((section) => section.entries.length))) found.push("InstantID is off: tick “Use InstantID”, or the picture is made without the person.");
            if (cfg > HIGH_CFG && panel.state.people.some(byInstantID)) found.push(`CFG scale ${cfg} burns faces with InstantID; 3 to 5 looks natural.`);
            if (!status.sd15 && width * height < SMALL * SMALL) found.push(`${width} × ${height} is small for SDXL, which was trained on 1024 × 1024; faces come out blurred or doubled. 1016 × 1016 or 896 × 1152 is right.`);
            if (!status.sd15 && width === 1024 && height === 1024) found.push("1024 × 1024 invites stock-photo watermarks; 1016 × 1016 does not.");
            if (panel.state.people.length > 1 && panel.state.settings.face_region === "everywhere") {
                found.push("With several people, let InstantID act on the face or on a mask, or their faces mix.");
            }
            panel.state.people.forEach((person, index) => {
                if (!byInstantID(person) && ["pose picture", "keypoints"].includes(person.pose)) {
                    found.push(`Person ${index + 1} is brought in by FaceID, which places no head: it is where the checkpoint has it.`);
                }
            });
            return found;
        }

        function render() {
            const {download} = status;
            const problems = Object.entries(status.problems).filter(([list]) => instantid.uses(panel.state, list)).map(([, text]) => text);
            const offer = download && problems.length && el("p", {}, download.progress || `${download.text} `, download.running ? null : button("Download", () => start()));
            fill(element, ...problems.map((text) => el("p", {class: "instantid-error", role: "alert"}, text)), offer, ...sentences().map((text) => el("p", {class: "instantid-hint"}, text)));
        }

        async function ask(what = "status") {
            asking = true;
            try {
                status = await panel.bridge.ask({do: what});
                panel.setIdentities(status.identities);
                panel.advanced.offer(status.files);
                panel.sections.forEach((section) => section.offer(status.files));
            } catch (error) {
                status = {problems: {people: error.message}, download: null};
            }
            asking = false;
            render();
            if (status.download && status.download.running) setTimeout(() => ask(), POLL);
        }

        setInterval(() => element.offsetParent && !document.hidden && !asking && ask(), AGAIN);
        const start = () => ask("download");
        return {element, render, ask};
    };
})((window.instantid = window.instantid || {}));
