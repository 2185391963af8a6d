"use strict";
// "Pictures as prompts", below the people: groups of pictures, what they give and how strongly.
(function (instantid) {
    const {el, button, fill} = instantid;
    const OWNER = "image_prompts";
    const MOST = 8; // pictures of a group, see lib_instantid/adapters/ip_adapter/settings.py
    const WORDS = {name: "Group", remove: "Remove this group", mask: "Where the pictures act; unpainted, everywhere"};

    /** A group is {pictures, region, …}; a picture is {name, url, path}. */
    instantid.newPrompt = (table) => ({pictures: [], region: null, ...instantid.defaultsOf(table, OWNER)});

    /** The group as the API takes it. */
    instantid.promptSettings = function (prompt, table) {
        const pictures = prompt.pictures.filter((picture) => picture.path).map((picture) => picture.path);
        return {...instantid.entrySettings(prompt, table, OWNER), pictures};
    };

    /** A group of settings from elsewhere, with those of its pictures that a panel of this page has. */
    instantid.promptOf = function (given, table, known) {
        const prompt = instantid.takeEntry(instantid.newPrompt(table), given, table, OWNER, known);
        const there = known.flatMap((other) => other.pictures);
        prompt.pictures = (given.pictures || []).map((path) => instantid.stored(path, there)).filter(Boolean);
        return prompt;
    };

    /** One group: its pictures, and the controls for them. */
    class Group extends instantid.EntryBox {
        constructor(section, prompt, number) {
            const list = el("div", {class: "instantid-row", role: "list", "aria-label": `Pictures of group ${number}`});
            const note = el("p", {class: "instantid-error", role: "alert"});
            const zone = instantid.dropZone("Add pictures to this group", true, (files) => this.add(files));
            super(section, prompt, number, WORDS, [list, zone, note]);
            Object.assign(this, {list, note});
            this.render();
        }

        async add(files) {
            const room = MOST - this.entry.pictures.length;
            this.note.textContent = files.length > room ? `At most ${MOST} pictures; ${files.length - room} left out.` : "";
            await Promise.all(files.slice(0, room).map((file) => this.addOne(file)));
        }

        async addOne(file) {
            const picture = instantid.newPicture(file);
            this.entry.pictures.push(picture);
            this.render();
            try {
                await instantid.storePicture(this.section.panel.bridge, file, picture);
            } catch (error) {
                this.note.textContent = error.message;
                this.entry.pictures = this.entry.pictures.filter((other) => other !== picture);
            }
            this.render();
            this.changed();
        }

        remove(picture) {
            this.entry.pictures = this.entry.pictures.filter((other) => other !== picture);
            this.render();
            this.changed();
        }

        render() {
            fill(this.list, ...this.entry.pictures.map((picture, index) => {
                const remove = button("✕", () => this.remove(picture), {"aria-label": `Remove picture ${index + 1}, ${picture.name}`, class: "instantid-button instantid-remove"});
                return el("div", {role: "listitem"}, el("img", {class: "instantid-thumbnail", src: picture.url, alt: `Picture ${index + 1}: ${picture.name}`}), remove);
            }));
        }
    }

    instantid.Prompts = class extends instantid.Section {
        constructor(panel) {
            const drop = "Drop pictures that say what the result is to be like, or click to choose";
            super(panel, {list: "prompts", owner: OWNER, most: panel.maxPrompts, title: "Pictures as prompts", drop, multiple: true});
        }

        create() {
            return instantid.newPrompt(this.panel.table);
        }

        box(prompt, number) {
            return new Group(this, prompt, number);
        }
    };
})((window.instantid = window.instantid || {}));
