"use strict";
// "Pictures as prompts", below the people: groups of pictures, what they give and how strongly.
(function (instantid) {
    const {el, button, fill} = instantid;
    const OWNER = "image_prompts";
    const MOST = 8; // pictures of a group, see lib_instantid/adapters/ip_adapter/settings.py

    /** A group is {pictures, region, …}; a picture is {name, url, path}. */
    instantid.newPrompt = (table) => ({pictures: [], region: null, ...instantid.defaultsOf(table, OWNER)});

    /** The group as the API takes it. */
    instantid.promptSettings = function (prompt, table) {
        const own = Object.fromEntries(table.filter((field) => field.owner === OWNER).map((field) => [field.name, prompt[field.name]]));
        const region = prompt.region ? {region: prompt.region.path} : {};
        return {...own, ...region, pictures: prompt.pictures.filter((picture) => picture.path).map((picture) => picture.path)};
    };

    /** A group of settings from elsewhere, with those of its pictures that another panel of this page has. */
    instantid.promptOf = function (given, table, known) {
        const prompt = instantid.newPrompt(table);
        for (const name of Object.keys(instantid.defaultsOf(table, OWNER))) if (name in given) prompt[name] = given[name];
        const of = (path, pictures) => pictures.find((picture) => picture && picture.path === path);
        prompt.pictures = (given.pictures || []).map((path) => of(path, known.flatMap((other) => other.pictures))).filter(Boolean);
        prompt.region = (given.region && of(given.region, known.map((other) => other.region))) || null;
        return prompt;
    };

    /** One group: its pictures, and the controls for them. */
    class Group {
        constructor(section, prompt, number) {
            Object.assign(this, {section, prompt, number});
            const {panel} = section;
            this.list = el("div", {class: "instantid-row", role: "list", "aria-label": `Pictures of group ${number}`});
            this.note = el("p", {class: "instantid-error", role: "alert"});
            this.zone = instantid.dropZone("Add pictures to this group", true, (files) => this.add(files));
            const controls = (place) => instantid.controls(panel.table, OWNER, place, () => prompt, () => panel.changed());
            this.controls = ["likeness", "placement", "advanced"].map(controls);
            const [likeness, placement, advanced] = this.controls;
            this.mask = instantid.maskField(panel, prompt, "Where the pictures act; unpainted, everywhere");
            const more = el("details", {class: "instantid-advanced", ontoggle: () => more.open && this.mask.render()}, el("summary", {}, "More"),
                el("div", {class: "instantid-columns"}, ...placement.elements, ...advanced.elements), this.mask.element);
            this.element = el("div", {class: "instantid-prompt", role: "group", "aria-label": `Group ${number}`},
                el("div", {class: "instantid-row"}, el("h4", {}, `Group ${number}`), button("Remove this group", () => section.remove(prompt))),
                this.list, this.zone, this.note, el("div", {class: "instantid-columns"}, ...likeness.elements), more);
            this.controls.forEach((control) => control.show());
            this.render();
        }

        async add(files) {
            const room = MOST - this.prompt.pictures.length;
            this.note.textContent = files.length > room ? `At most ${MOST} pictures; ${files.length - room} left out.` : "";
            await Promise.all(files.slice(0, room).map((file) => this.addOne(file)));
        }

        async addOne(file) {
            const picture = {name: file.name || "pasted picture", url: URL.createObjectURL(file)};
            this.prompt.pictures.push(picture);
            this.render();
            try {
                picture.path = await instantid.upload(file);
            } catch (error) {
                this.note.textContent = error.message;
                this.prompt.pictures = this.prompt.pictures.filter((other) => other !== picture);
            }
            this.render();
            this.section.panel.changed();
        }

        remove(picture) {
            this.prompt.pictures = this.prompt.pictures.filter((other) => other !== picture);
            this.render();
            this.section.panel.changed();
        }

        render() {
            fill(this.list, ...this.prompt.pictures.map((picture, index) => {
                const remove = button("✕", () => this.remove(picture), {"aria-label": `Remove picture ${index + 1}, ${picture.name}`, class: "instantid-button instantid-remove"});
                return el("div", {role: "listitem"}, el("img", {class: "instantid-thumbnail", src: picture.url, alt: `Picture ${index + 1}: ${picture.name}`}), remove);
            }));
        }
    }

    /** {element, rebuild(), offer(files)}: the section of a panel. */
    instantid.Prompts = class {
        constructor(panel) {
            this.panel = panel;
            this.files = {};
            this.groups = el("div");
            this.zone = instantid.dropZone("Drop pictures that say what the result is to be like, or click to choose", true, (files) => this.add(files));
            this.element = el("details", {class: "instantid-prompts"}, el("summary", {}, "Pictures as prompts"), this.groups, this.zone);
        }

        get prompts() {
            return this.panel.state.prompts;
        }

        async add(files) {
            if (!files.length) return;
            this.prompts.push(instantid.newPrompt(this.panel.table));
            this.rebuild();
            await this.made[this.made.length - 1].add(files);
        }

        remove(prompt) {
            this.panel.state.prompts = this.prompts.filter((other) => other !== prompt);
            this.rebuild();
            this.panel.changed();
        }

        /** New groups for the state's prompts. */
        rebuild() {
            this.made = this.prompts.map((prompt, index) => new Group(this, prompt, index + 1));
            fill(this.groups, ...this.made.map((group) => group.element));
            this.zone.hidden = this.prompts.length >= this.panel.maxPrompts;
            if (this.prompts.length) this.element.open = true;
            this.offer(this.files);
        }

        /** files: names of the model files by what they are. */
        offer(files) {
            this.files = files;
            this.made.forEach((group) => group.controls.forEach((control) => control.offer(files)));
        }
    };
})((window.instantid = window.instantid || {}));
