"use strict";
// What the sections below the people share: a list of entries, each with a box of controls and a mask.
(function (instantid) {
    const {el, button, fill} = instantid;

    /** The entry's settings as the API takes them: those of the table and the mask. */
    instantid.entrySettings = function (entry, table, owner) {
        const own = Object.fromEntries(table.filter((field) => field.owner === owner).map((field) => [field.name, entry[field.name]]));
        return {...own, ...(entry.region ? {region: entry.region.path} : {})};
    };

    /** Take an entry's values from settings from elsewhere, and its mask if a panel of this page has it. */
    instantid.takeEntry = function (entry, given, table, owner, known) {
        for (const name of Object.keys(instantid.defaultsOf(table, owner))) if (name in given) entry[name] = given[name];
        entry.region = instantid.stored(given.region, known.map((other) => other.region));
        return entry;
    };

    /** The box of one entry. words: {name, remove, mask}. parts: elements between its heading and its controls. */
    instantid.EntryBox = class {
        constructor(section, entry, number, words, parts) {
            Object.assign(this, {section, entry, number});
            const {panel, owner} = section;
            const controls = (place) => instantid.controls(panel.table, owner, place, () => entry, () => this.changed());
            this.controls = ["likeness", "placement", "advanced"].map(controls);
            const [likeness, placement, advanced] = this.controls;
            this.mask = instantid.maskField(panel, entry, words.mask);
            const more = el("details", {class: "instantid-advanced", ontoggle: () => more.open && this.mask.render()}, el("summary", {}, "More"),
                el("div", {class: "instantid-columns"}, ...placement.elements, ...advanced.elements), this.mask.element);
            this.element = el("div", {class: "instantid-entry", role: "group", "aria-label": `${words.name} ${number}`},
                el("div", {class: "instantid-row"}, el("h4", {}, `${words.name} ${number}`), button(words.remove, () => section.remove(entry))),
                ...parts, el("div", {class: "instantid-columns"}, ...likeness.elements), more);
            this.controls.forEach((control) => control.show());
        }

        changed() {
            this.section.panel.changed();
        }

        offer(files) {
            this.controls.forEach((control) => control.offer(files));
        }
    };

    /** {element, rebuild(), offer(files)}: a folded section of a panel. list: of the panel's state. owner: the table's. Whoever
     * extends it has create(), an empty entry, and box(entry, number). */
    instantid.Section = class {
        constructor(panel, {list, owner, most, title, drop, multiple}) {
            Object.assign(this, {panel, list, owner, most});
            this.files = {};
            this.boxes = [];
            this.place = el("div");
            this.zone = instantid.dropZone(drop, multiple, (files) => this.add(files));
            this.element = el("details", {class: `instantid-section instantid-section-${owner}`}, el("summary", {}, title), this.place, this.zone);
        }

        get entries() {
            return this.panel.state[this.list];
        }

        async add(files) {
            if (!files.length) return;
            this.entries.push(this.create());
            this.rebuild();
            await this.boxes[this.boxes.length - 1].add(files);
        }

        remove(entry) {
            this.panel.state[this.list] = this.entries.filter((other) => other !== entry);
            this.rebuild();
            this.panel.changed();
        }

        /** New boxes for the state's entries. */
        rebuild() {
            this.boxes = this.entries.map((entry, index) => this.box(entry, index + 1));
            fill(this.place, ...this.boxes.map((box) => box.element));
            this.zone.hidden = this.entries.length >= this.most;
            if (this.entries.length) this.element.open = true;
            this.offer(this.files);
        }

        /** files: names of the model files by what they are. */
        offer(files) {
            this.files = files;
            this.boxes.forEach((box) => box.offer(files));
        }
    };
})((window.instantid = window.instantid || {}));
