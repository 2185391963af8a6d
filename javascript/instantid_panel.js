"use strict";
// The panel of one tab: people, editor, advanced settings, hints; and its text in gradio's hidden box.
(function (instantid) {
    const {el, button, fill} = instantid;
    const panels = {};
    const ECHO = 5000; // milliseconds

    // Of both WebUIs: Img2img, Sketch, Inpaint, Inpaint sketch, Inpaint upload. Their Batch tab has no single picture.
    const IMG2IMG_PICTURES = ["img2img_image", "img2img_sketch", "img2maskimg", "inpaint_sketch", "img_inpaint_base"];

    /** What the open one of img2img's tabs starts from: {url}, or null. */
    function pictureOfImg2img() {
        const open = IMG2IMG_PICTURES.map((id) => document.getElementById(id)).find((element) => element && element.offsetParent);
        const image = open && [...open.querySelectorAll("img")].find((candidate) => candidate.getAttribute("src") && candidate.naturalWidth);
        return image ? {url: image.src} : null;
    }

    class Panel {
        constructor(root, data) {
            const {tab, ids, drawing, presets, beginning, max_people: maxPeople, max_photos: maxPhotos, max_prompts: maxPrompts, max_controls: maxControls} = data;
            const {name: _, ...strengths} = presets.find((preset) => preset.name === beginning.preset) || presets[0];
            const table = data.table.map((field) => ({...field, default: strengths[field.name] ?? field.default}));
            Object.assign(this, {root, tab, table, ids, drawing, presets, beginning, maxPeople, maxPhotos, maxPrompts, maxControls, colours: drawing.colours, identities: []});
            this.bridge = instantid.bridge(tab, ids);
            this.text = ""; // of the settings
            this.written = new Set(); // texts of the last moments that the panel knows, whose changes gradio may yet tell of, even twice
            this.state = this.takenOver(this.box("settings").value) || instantid.newState(table);
            this.remember(this.box("settings").value);
            this.current = 0;
            this.lastSize = this.size();
            this.tabs = el("div", {class: "instantid-tabs", role: "tablist", "aria-label": "People"});
            this.tools = el("div", {class: "instantid-row"});
            this.page = el("div");
            this.hints = instantid.hints(this);
            this.editor = new instantid.Editor(this);
            this.advanced = instantid.controls(table, "whole", "advanced", () => this.state.settings, () => this.changed());
            const more = el("details", {class: "instantid-advanced"}, el("summary", {}, "Advanced"),
                el("div", {class: "instantid-columns"}, ...this.advanced.elements));
            this.prompts = new instantid.Prompts(this);
            this.moreControl = new instantid.MoreControl(this);
            this.sections = [this.prompts, this.moreControl];
            this.lostNote = el("div", {class: "instantid-lost", role: "status"});
            fill(root, this.hints.element, this.lostNote, this.tabs, this.tools, this.page, this.backdropChoice(), this.editor.element, ...this.sections.map(({element}) => element), more);
            root.addEventListener("paste", (event) => this.paste(event));
            document.getElementById(`tab_${tab}`)?.addEventListener("input", () => this.follow());
            this.rebuild();
            this.lost(this.box("lost").value);
            this.hints.ask();
        }

        /** One of gradio's hidden boxes. */
        box(name) {
            return document.querySelector(`#${this.ids[name]} textarea`);
        }

        get person() {
            return this.state.people[this.current];
        }

        /** [width, height] of the output, as the WebUI's own fields say. */
        size() {
            return [this.number("width") || 512, this.number("height") || 512];
        }

        /** Whether InstantID is switched on. */
        on() {
            return document.querySelector(`#${this.ids.enabled}-checkbox input`).checked;
        }

        number(name) {
            const input = document.querySelector(`#${this.tab}_${name} input[type=number]`);
            return input ? Number(input.value) : NaN;
        }

        /** The WebUI's fields may have changed. */
        follow() {
            const now = this.size();
            if (now.join() !== this.lastSize.join()) {
                this.editor.resize(this.lastSize, now);
                this.moreControl.draw();
                this.lastSize = now;
                this.changed();
            }
            this.badge();
            this.hints.render();
        }

        /** Something of the state changed: the generation's text, the badge, the hints and the map follow. */
        changed() {
            const text = JSON.stringify(instantid.settingsOf(this.state, this.table, this.size()));
            const box = this.box("settings");
            if (text !== this.text) {
                this.text = box.value = text;
                this.remember(text);
                box.dispatchEvent(new Event("input", {bubbles: true}));
            }
            this.badge();
            this.pages[this.current].render();
            this.hints.render();
            this.editor.update();
        }

        remember(text) {
            this.written.add(text);
            setTimeout(() => this.written.delete(text), ECHO);
        }

        /** The state of a text from elsewhere, a picture's infotext or the other tab; null of none and of the panel's own. */
        takenOver(text) {
            if (!text || text === this.text || this.written.has(text)) return null;
            const known = Object.values(panels).map((panel) => panel.state);
            return instantid.stateOf(JSON.parse(text), this.table, known);
        }

        /** The text in the box changed. */
        restored(text) {
            const state = this.takenOver(text);
            if (!state) return;
            this.state = state;
            this.current = 0;
            this.advanced.show();
            this.rebuild();
        }

        /** text: what a picture's infotext could not restore, a sentence a line. */
        lost(text) {
            const sentences = text ? text.split("\n") : [];
            const here = instantid.picturesOf(this.state).map((picture) => picture.hash);
            const missing = sentences.filter((sentence) => !here.some((hash) => hash && sentence.includes(hash)));
            fill(this.lostNote, ...missing.map((sentence) => el("p", {class: "instantid-hint"}, sentence)));
        }

        setIdentities(identities) {
            if (JSON.stringify(identities) === JSON.stringify(this.identities)) return; // a list that is open stays open
            this.identities = identities;
            this.pages.forEach((page) => page.render());
        }

        /** New tabs for the state's people. */
        rebuild() {
            this.pages = this.state.people.map((person) => new instantid.PersonTab(this, person));
            fill(this.page, ...this.pages.map((page) => page.element));
            this.makeTabs();
            this.sections.forEach((section) => section.rebuild());
            this.select(this.current);
            this.changed();
        }

        renderPerson() {
            this.pages[this.current].render();
        }

        select(index) {
            this.current = index;
            this.pages.forEach((page, i) => (page.element.hidden = i !== index));
            [...this.tabs.children].forEach((tab, i) => {
                tab.setAttribute("aria-selected", String(i === index));
                tab.tabIndex = i === index ? 0 : -1;
            });
            this.pages[index].render();
            this.editor.showHandles();
        }

        makeTabs() {
            const {people} = this.state;
            const tabs = people.map((_, index) => {
                const tab = button(`Person ${index + 1}`, () => this.select(index), {
                    class: "instantid-tab", role: "tab", "aria-controls": this.pages[index].element.id,
                    style: {borderColor: instantid.PERSON_COLOURS[index]},
                });
                tab.addEventListener("keydown", (event) => instantid.tabKeys(event, tabs));
                return tab;
            });
            fill(this.tabs, ...tabs);
            fill(this.tools,
                people.length < this.maxPeople && button("+ Person", () => this.add(), {"aria-label": "Add a person"}),
                people.length > 1 && button("Remove this person", () => this.remove()));
        }

        add() {
            this.state.people.push(instantid.newPerson(this.table));
            this.current = this.state.people.length - 1;
            this.rebuild();
        }

        remove() {
            this.state.people.splice(this.current, 1);
            this.current = Math.max(0, this.current - 1);
            this.rebuild();
        }

        /** In the accordion's header: how many people are in use. */
        badge() {
            const header = document.querySelector(`#${this.ids.enabled} .label-wrap > span`);
            if (!header) return;
            const {people} = this.state;
            const count = people.filter(instantid.isComplete).length;
            const badge = header.querySelector(".instantid-badge") || header.appendChild(el("span", {class: "instantid-badge"}));
            const nobody = people.some((person) => person.photos.length) ? "no face found" : "no photo yet";
            const shown = this.state.prompts.flatMap((prompt) => prompt.pictures).length;
            const pictures = shown ? `${shown} ${shown === 1 ? "picture" : "pictures"} as prompts` : null;
            const {length} = this.state.controls;
            const controls = length ? `${length} ${length === 1 ? "control" : "controls"}` : null;
            const who = count ? `${count} ${count === 1 ? "person" : "people"}` : pictures || controls ? null : nobody;
            badge.textContent = [this.on() ? "on" : "off", who, pictures, controls].filter(Boolean).join(", ");
        }

        paste(event) {
            const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
            if (!files.length) return;
            event.preventDefault();
            event.stopPropagation();
            this.pages[this.current].photos.add(files);
        }

        backdropChoice() {
            const id = instantid.freshId("backdrop");
            const pictures = {
                none: () => null,
                "the picture of img2img": pictureOfImg2img,
                "the pose picture": () => this.person.posePicture,
            };
            const note = el("p", {class: "instantid-help", role: "status"});
            const show = () => {
                const picture = pictures[select.value]();
                note.textContent = picture || select.value === "none" ? "" : `There is no such picture now: ${select.value}.`;
                this.editor.setBackdrop(picture);
            };
            const select = el("select", {id, onchange: show}, ...Object.keys(pictures).map((name) => el("option", {value: name}, name)));
            return el("div", {class: "instantid-field"}, el("label", {htmlFor: id}, "Behind the points"), select, note);
        }
    }

    /** Build the panel in its place. */
    instantid.build = (root, data) => (panels[data.tab] = new Panel(root, data));

    // What gradio calls when its texts change, see lib_instantid/webui/panel.py. A panel that is not built yet will read the boxes.
    instantid.switched = (tab) => panels[tab]?.follow();
    instantid.restored = (tab, text) => panels[tab]?.restored(text);
    instantid.lost = (tab, text) => panels[tab]?.lost(text);
})((window.instantid = window.instantid || {}));
