"use strict";
// "More control", below the people: pictures whose edges, depth or poses the result is to have, and the maps drawn of them.
(function (instantid) {
    const {el} = instantid;
    const POSE = "pose"; // the kind of map, which stands for the host's first preprocessor of poses
    const POSES = [/^openpose_full$/, /openpose_full$/, /openpose/, /pose/]; // names of such preprocessors, the best first
    const ALIKE = 0.02; // proportions that differ by less count as the same
    const OWNER = "controls";
    const SOON = 400; // milliseconds after the last change
    const AGAIN = 700; // milliseconds until a map that is being drawn is asked for again
    const WORDS = {name: "Control", remove: "Remove this control", mask: "Where it acts; unpainted, everywhere. For inpaint, what is repainted"};

    /** A control is {picture, region, …}; a picture is {name, url, path}. */
    instantid.newControl = (table) => ({picture: null, region: null, ...instantid.defaultsOf(table, OWNER)});

    /** The control as the API takes it. */
    instantid.controlSettings = (control, table) => ({
        ...instantid.entrySettings(control, table, OWNER),
        ...(control.picture ? {picture: control.picture.path} : {}),
    });

    /** A control of settings from elsewhere, with its picture if a panel of this page has it. */
    instantid.controlOf = function (given, table, known) {
        const control = instantid.takeEntry(instantid.newControl(table), given, table, OWNER, known);
        control.picture = instantid.stored(given.picture, known.map((other) => other.picture));
        return control;
    };

    /** One control: its picture, its map, and the controls for them. */
    class ControlBox extends instantid.EntryBox {
        constructor(section, control, number) {
            const field = instantid.pictureField(section.panel, "Drop another picture for this control, or click to choose", () => control.picture, (picture) => this.show(picture));
            const map = el("img", {class: "instantid-control-map", alt: `Map of control ${number}`, hidden: true});
            const state = el("p", {class: "instantid-help", role: "status"});
            super(section, control, number, WORDS, [field.element, map, state]);
            Object.assign(this, {field, map, state, asked: ""});
            this.draw();
        }

        /** The picture of a file that was dropped on the section. */
        async add([file]) {
            try {
                this.show(await instantid.storePicture(this.section.panel.bridge, file));
            } catch (error) {
                this.state.textContent = error.message;
            }
        }

        show(picture) {
            this.entry.picture = picture;
            this.field.render();
            this.changed();
        }

        changed() {
            super.changed();
            this.draw();
        }

        /** Have the map drawn anew, if anything that it depends on has changed. */
        draw() {
            const {panel} = this.section;
            const [width, height] = panel.size();
            const {strength, start, end, control_mode: mode, model, ...settings} = instantid.controlSettings(this.entry, panel.table);
            const wanted = JSON.stringify({settings: {controls: [settings]}, width, height});
            if (wanted === this.asked) return;
            this.asked = wanted;
            clearTimeout(this.timer);
            this.map.hidden = true;
            this.state.textContent = "";
            if (this.entry.picture) this.timer = setTimeout(() => this.ask(wanted), SOON);
        }

        async ask(wanted) {
            let text = "";
            try {
                const {maps} = await this.section.panel.bridge.ask({do: "maps", ...JSON.parse(wanted)});
                if (wanted !== this.asked) return;
                if (maps) Object.assign(this.map, {src: maps[0], hidden: false});
                else {
                    text = "Drawing the map …";
                    this.timer = setTimeout(() => this.ask(wanted), AGAIN);
                }
            } catch (error) {
                text = error.message.replace("Control 1", `Control ${this.number}`);
            }
            if (wanted === this.asked) this.state.textContent = text;
        }
    }

    instantid.MoreControl = class extends instantid.Section {
        constructor(panel) {
            const drop = "Drop a picture whose edges, depth or poses the result is to have, or click to choose";
            super(panel, {list: "controls", owner: OWNER, most: panel.maxControls, title: "More control", drop, multiple: false});
            this.note = el("p", {class: "instantid-hint", role: "status"});
            this.element.append(instantid.dropZone("Place heads and bodies as in this picture: drop it here, or click to choose", false, (files) => this.pose(files)), this.note);
        }

        /** Every head as in one picture, from the left; the regions of several people by their faces; the bodies by a pose control. */
        async pose([file]) {
            if (!file) return;
            const {panel} = this;
            const {state} = panel;
            try {
                const picture = await instantid.storePicture(panel.bridge, file);
                state.people.forEach((person) => Object.assign(person, {pose: "pose picture", posePicture: picture}));
                if (state.people.length > 1) state.settings.face_region = "face";
                const others = this.entries.filter((control) => !control.fromPose).slice(0, this.most - 1);
                state.controls = [...others, {...this.create(), picture, preprocessor: this.poseName(), map: POSE, fromPose: true}];
                panel.advanced.show();
                panel.rebuild();
                await this.compare(picture);
            } catch (error) {
                this.note.textContent = error.message;
            }
        }

        poseName() {
            const names = this.files.preprocessor || [];
            return POSES.map((name) => names.find((own) => name.test(own))).find(Boolean) || POSE;
        }

        /** Say it where the picture is cropped, as a head at its edge is then moved into the output and its body is not. */
        async compare({url}) {
            const image = await createImageBitmap(await (await fetch(url)).blob());
            const [width, height] = this.panel.size();
            const differs = Math.abs((image.width / image.height) / (width / height) - 1) > ALIKE;
            this.note.textContent = differs ? `The picture has ${image.width} × ${image.height} pixels and is cropped to the output's proportions; heads at its edges may then lie beside their bodies. An output of the same proportions keeps all in place.` : "";
        }

        create() {
            return instantid.newControl(this.panel.table);
        }

        box(control, number) {
            return new ControlBox(this, control, number);
        }

        /** The output's size has changed: the maps follow. */
        draw() {
            this.boxes.forEach((box) => box.draw());
        }
    };
})((window.instantid = window.instantid || {}));
