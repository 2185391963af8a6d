"use strict";
// The way to Python: uploads through gradio's own route, requests through a hidden button of the panel.
(function (instantid) {
    const TYPES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/bmp": "bmp", "image/gif": "gif"};
    const PATIENCE = 120000; // milliseconds; the first look at a photo opens the face models
    const LOST = "The WebUI did not answer; it may have been restarted, or its log says why. Try again, or reload the page.";
    const bridges = {};

    /** Store a file where gradio stores uploads. Resolves to its path there. */
    instantid.upload = async function (file) {
        const form = new FormData();
        form.append("files", file, `picture.${TYPES[file.type] || "bin"}`);
        const answer = await fetch(`${location.pathname.replace(/\/$/, "")}/upload`, {method: "POST", body: form});
        if (!answer.ok) throw new Error(`The upload failed (${answer.status} ${answer.statusText}); reload the page and try again.`);
        return (await answer.json())[0];
    };

    instantid.newPicture = (file) => ({name: file.name || "pasted picture", url: URL.createObjectURL(file)});

    /** Store a picture's file. Resolves to {name, url, path}, which soon after gets `hash` too, its hash in an infotext. */
    instantid.storePicture = async function (bridge, file, picture = instantid.newPicture(file)) {
        picture.path = await instantid.upload(file);
        const unreadable = () => {}; // the generation refuses it by name
        bridge.ask({do: "hash", picture: picture.path}).then(({hash}) => (picture.hash = hash), unreadable);
        return picture;
    };

    class Bridge {
        constructor(tab, ids) {
            this.tab = tab;
            this.ids = ids;
            this.waiting = [];
            this.current = null;
            this.last = 0;
            this.late = new Set(); // ids of requests that were given up, whose answers may yet come
        }

        /** Resolves to the answer, or rejects with its sentence. One request is under way at a time. */
        ask(request) {
            return new Promise((resolve, reject) => {
                const id = ++this.last;
                this.waiting.push({id, text: JSON.stringify({...request, id}), resolve, reject});
                this.next();
            });
        }

        next() {
            if (this.current || !this.waiting.length) return;
            this.current = this.waiting.shift();
            this.timer = setTimeout(() => this.giveUp(), PATIENCE);
            document.getElementById(this.ids.ask).click();
        }

        /** gradio calls this also after a request that failed: the text is then that of an earlier answer. */
        answered(text) {
            const answer = text ? JSON.parse(text) : {id: null};
            if (this.late.delete(answer.id) || !this.current) return;
            this.settle(({resolve, reject, id}) => {
                if (answer.id !== id) reject(new Error(LOST));
                else if (answer.error) reject(new Error(answer.error));
                else resolve(answer);
            });
        }

        giveUp() {
            this.late.add(this.current.id);
            this.settle(({reject}) => reject(new Error(LOST)));
        }

        settle(end) {
            clearTimeout(this.timer);
            const {current} = this;
            this.current = null;
            end(current);
            this.next();
        }
    }

    instantid.bridge = (tab, ids) => (bridges[tab] = new Bridge(tab, ids));

    // What the panel's gradio components call, see lib_instantid/webui/panel.py.
    instantid.request = (tab) => bridges[tab].current.text;
    instantid.answered = (tab, text) => bridges[tab].answered(text);
})((window.instantid = window.instantid || {}));
