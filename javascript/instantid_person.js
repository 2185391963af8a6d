"use strict";
// One person's tab: photos or a saved identity, likeness, head placement, region.
(function (instantid) {
    const {el, button} = instantid;

    /** A group of radio buttons. options: [value, label] pairs; chosen(value). */
    function radios(legend, options, value, chosen) {
        const name = instantid.freshId("radio");
        const inputs = options.map(([key, label]) => {
            const input = el("input", {type: "radio", name, value: key, checked: key === value, onchange: () => chosen(key)});
            return el("label", {class: "instantid-inline"}, input, label);
        });
        return el("fieldset", {class: "instantid-radios"}, el("legend", {}, legend), ...inputs);
    }

    /** A picture of its own beside the photos: shows it, uploads it, takes it away. set(picture or null). */
    function pictureField(panel, text, get, set) {
        const image = el("img", {class: "instantid-thumbnail", alt: text});
        const note = el("p", {class: "instantid-error", role: "alert"});
        const remove = button("Remove", () => set(null));
        const zone = instantid.dropZone(text, false, async ([file]) => {
            if (!file) return;
            try {
                set(await instantid.storePicture(panel.bridge, file));
                note.textContent = "";
            } catch (error) {
                note.textContent = error.message;
            }
        });
        const element = el("div", {}, zone, el("div", {class: "instantid-row"}, image, remove), note);
        const render = () => {
            const picture = get();
            image.hidden = remove.hidden = !picture;
            if (picture) image.src = picture.url;
        };
        render();
        return {element, render};
    }

    instantid.PersonTab = class {
        constructor(panel, person) {
            Object.assign(this, {panel, person});
            this.photos = new instantid.Photos(panel, person);
            this.chooser = instantid.identityChooser(panel, person);
            this.saver = instantid.identitySaver(panel, person);
            this.fromPhotos = el("div", {}, this.photos.element, this.saver.element);
            this.likeness = instantid.controls(panel.table, "people", "likeness", () => person, () => panel.changed());
            this.placement = instantid.controls(panel.table, "people", "placement", () => person, () => this.posed());
            this.system = instantid.controls(panel.table, "people", "advanced", () => person, () => panel.changed());
            this.posePicture = pictureField(panel, "Drop the pose picture here, or click to choose", () => person.posePicture, (picture) => {
                person.posePicture = picture;
                this.render();
                panel.changed();
            });
            this.mask = instantid.maskField(panel, person, "The person's region");
            this.element = el("div", {role: "tabpanel", id: instantid.freshId("person"), class: "instantid-person"},
                radios("Who", [["photos", "Photos"], ["identity", "A saved identity"]], person.source, (source) => this.setSource(source)),
                this.fromPhotos, this.chooser.element, el("h4", {}, "Likeness"), this.presets(),
                el("div", {class: "instantid-columns"}, ...this.likeness.elements), ...this.placement.elements, this.posePicture.element, this.mask.element,
                el("details", {class: "instantid-advanced"}, el("summary", {}, "What brings the face in"), ...this.system.elements));
            this.render();
        }

        presets() {
            this.presetButtons = this.panel.presets.map(({name, ...values}) => {
                const set = button(name, () => {
                    Object.assign(this.person, values);
                    this.likeness.show();
                    this.panel.changed();
                });
                const show = () => set.setAttribute("aria-pressed", String(Object.keys(values).every((key) => this.person[key] === values[key])));
                return {element: set, show};
            });
            return el("div", {class: "instantid-row", role: "group", "aria-label": "Presets"}, ...this.presetButtons.map(({element}) => element));
        }

        setSource(source) {
            this.person.source = source;
            if (source === "identity" && this.person.pose === "photo") this.person.pose = "none";
            if (source === "photos" && this.person.pose === "none") this.person.pose = "photo";
            this.render();
            this.panel.changed();
        }

        posed() {
            if (this.person.pose === "keypoints") this.panel.editor.takeOver(this.person);
            this.render();
            this.panel.changed();
        }

        render() {
            const {source, pose} = this.person;
            this.fromPhotos.hidden = source !== "photos";
            this.chooser.element.hidden = source !== "identity";
            this.posePicture.element.hidden = pose !== "pose picture";
            this.mask.element.hidden = this.panel.state.settings.face_region !== "mask";
            this.likeness.show();
            this.placement.show();
            this.system.show();
            this.presetButtons.forEach(({show}) => show());
            for (const part of [this.chooser, this.saver, this.posePicture, this.mask]) part.render();
        }
    };
    instantid.pictureField = pictureField;
})((window.instantid = window.instantid || {}));
