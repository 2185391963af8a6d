"use strict";
// The way to Python: uploads through gradio's own route, requests through a hidden button of the panel.
(function (instantid) {
    const TYPES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/bmp": "bmp", "image/gif": "gif"};
    const bridges = {};

    /** Store a file where gradio stores uploads. Resolves to its path there. */
    instantid.upload = async function (file) {
        const form = new FormData();
        form.append("files", file, `picture.${TYPES[file.type] || "bin"}`);
        const answer = await fetch(`${location.pathname.replace(/\/$/, "")}/upload`, {method: "POST", body: form});
        if (!answer.ok) throw new Error(`The upload failed (${answer.status} ${answer.statusText}); reload the page and try again.`);
        return (await answer.json())[0];
    };

    class Bridge {
        constructor(tab, ids) {
            this.tab = tab;
            this.ids = ids;
            this.waiting = [];
            this.current = null;
        }

        /** Resolves to the answer, or rejects with its sentence. One request is under way at a time. */
        ask(request) {
            return new Promise((resolve, reject) => {
                this.waiting.push({text: JSON.stringify(request), resolve, reject});
                this.next();
            });
        }

        next() {
            if (this.current || !this.waiting.length) return;
            this.current = this.waiting.shift();
            document.getElementById(this.ids.ask).click();
        }

        answered(text) {
            const {resolve, reject} = this.current;
            this.current = null;
            const answer = JSON.parse(text);
            if (answer.error) reject(new Error(answer.error));
            else resolve(answer);
            this.next();
        }
    }

    instantid.bridge = (tab, ids) => (bridges[tab] = new Bridge(tab, ids));

    // What the panel's gradio components call, see lib_instantid/webui/panel.py.
    instantid.request = (tab) => bridges[tab].current.text;
    instantid.answered = (tab, text) => bridges[tab].answered(text);
})((window.instantid = window.instantid || {}));
