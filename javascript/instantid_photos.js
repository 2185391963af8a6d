"use strict";
// The photos of one person: dropping, pasting and choosing them, what was found in each, which face is meant.
(function (instantid) {
    const {el, button, fill} = instantid;
    const WORDS = {good: "Good photo", usable: "Usable photo", poor: "Poor photo"};
    const LARGE = "32em"; // the height of a photo on which points are placed
    const POINTS = ["left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth"];
    instantid.POINTS = POINTS;

    /** A place to drop files on, which also opens the file dialog. given(files): an array of files. */
    instantid.dropZone = function (text, multiple, given) {
        const input = el("input", {type: "file", accept: "image/*", multiple, class: "instantid-file", "aria-label": text});
        const zone = el("label", {class: "instantid-drop"}, el("span", {}, text), input);
        input.addEventListener("change", () => {
            given([...input.files]);
            input.value = "";
        });
        const over = (event, is) => {
            event.preventDefault();
            event.stopPropagation();
            zone.classList.toggle("instantid-over", is);
        };
        zone.addEventListener("dragover", (event) => over(event, true));
        zone.addEventListener("dragleave", (event) => over(event, false));
        zone.addEventListener("drop", (event) => {
            over(event, false);
            given([...event.dataTransfer.files]);
        });
        return zone;
    };

    instantid.Photos = class {
        /** panel: asks and is told of changes. person: whose photos these are. */
        constructor(panel, person) {
            this.panel = panel;
            this.person = person;
            this.list = el("div", {class: "instantid-photos", role: "list", "aria-label": "Photos"});
            this.zone = instantid.dropZone("Drop photos of the person here, paste them, or click to choose", true, (files) => this.add(files));
            this.note = el("p", {class: "instantid-error", role: "alert"});
            this.element = el("div", {}, this.zone, this.note, this.list);
            this.render();
        }

        async add(files) {
            const room = this.panel.maxPhotos - this.person.photos.length;
            this.note.textContent = files.length > room ? `At most ${this.panel.maxPhotos} photos; ${files.length - room} left out.` : "";
            await Promise.all(files.slice(0, room).map((file) => this.addOne(file)));
        }

        async addOne(file) {
            const expected = instantid.asExpected(this.person, this.person.photos.length);
            const photo = {...instantid.newPicture(file), ...expected};
            this.person.photos.push(photo);
            this.render();
            try {
                photo.path = await instantid.upload(file);
                await this.look(photo);
            } catch (error) {
                photo.error = error.message.replace(/^Photo: the file/, photo.name);
            }
            this.changed();
        }

        /** Have the faces found, or the one at the points placed by hand. */
        async look(photo) {
            const {size, faces, start, turned, hash} = await this.panel.bridge.ask({do: "faces", photo: photo.path, keypoints: photo.keypoints});
            Object.assign(photo, {size, faces, start, hash, error: faces.length ? null : "No face found in this photo.", turned: Boolean(turned)});
            if (turned) photo.url = turned;
        }

        changed() {
            this.render();
            this.panel.changed();
        }

        remove(photo) {
            this.person.photos = this.person.photos.filter((other) => other !== photo);
            this.changed();
            this.zone.querySelector("input").focus();
        }

        render() {
            fill(this.list, ...this.person.photos.map((photo, index) => this.card(photo, index + 1)));
        }

        card(photo, number) {
            const caption = el("div", {class: "instantid-caption"}, ...this.words(photo));
            const remove = button("✕", () => this.remove(photo), {"aria-label": `Remove photo ${number}, ${photo.name}`, class: "instantid-button instantid-remove"});
            const frame = el("div", {class: "instantid-frame"}, el("img", {src: photo.url, alt: `Photo ${number}: ${photo.name}`, onerror: () => (frame.hidden = true)}));
            if (photo.placing) frame.append(...this.movable(photo, frame));
            else frame.append(...this.found(photo));
            const title = el("div", {class: "instantid-title"}, el("p", {class: "instantid-help"}, photo.name), remove);
            if (photo.placing) frame.style.width = `min(100%, ${LARGE} * ${photo.size[0] / photo.size[1]})`;
            const kind = photo.placing ? "instantid-photo instantid-placing" : "instantid-photo";
            return el("div", {class: kind, role: "listitem"}, title, frame, caption);
        }

        words(photo) {
            if (photo.placing) {
                return [el("p", {}, "Move the five points onto the eyes, the nose and the corners of the mouth."),
                    button("Use these points", () => this.usePoints(photo)), button("Cancel", () => this.place(photo, null))];
            }
            if (photo.error) {
                const byHand = photo.size ? button("Place the five points yourself", () => this.place(photo, photo.start.map((point) => [...point]))) : null;
                return [el("p", {class: "instantid-error", role: "alert"}, photo.error), byHand];
            }
            if (!photo.faces) return [el("p", {role: "status"}, "Looking for faces …")];
            const face = instantid.chosenFace(photo);
            const turned = photo.turned ? el("p", {}, "The photo lay on its side and was turned.") : null;
            const choose = photo.faces.length > 1 ? el("p", {}, `${photo.faces.length} faces found; click the one you mean.`) : null;
            return [el("p", {class: `instantid-level instantid-${face.level}`}, WORDS[face.level]), ...face.advice.map((text) => el("p", {}, text)), turned, choose];
        }

        /** Boxes and points over the photo. Several faces are buttons, of which one is chosen. */
        found(photo) {
            const chosen = instantid.chosenFace(photo);
            return (photo.faces || []).flatMap((face, index) => {
                const [x1, y1, x2, y2] = face.box.map((value) => `${instantid.clamp(value, 0, 1) * 100}%`);
                const style = {left: x1, top: y1, width: `calc(${x2} - ${x1})`, height: `calc(${y2} - ${y1})`};
                const several = photo.faces.length > 1;
                const box = several
                    ? button("", () => this.choose(photo, index + 1), {style, class: "instantid-box", "aria-pressed": String(face === chosen), "aria-label": `Face ${index + 1} from the left`})
                    : el("div", {style, class: "instantid-box"});
                const dots = face === chosen ? face.keypoints.map(([x, y]) => el("div", {class: "instantid-dot", style: {left: `${x * 100}%`, top: `${y * 100}%`}})) : [];
                return [box, ...dots];
            });
        }

        choose(photo, number) {
            photo.which = number;
            this.changed();
        }

        place(photo, points) {
            photo.placing = points;
            this.render();
        }

        /** Five points to be dragged, or moved by the arrow keys. */
        movable(photo, frame) {
            return photo.placing.map((point, index) => {
                const at = button("", () => {}, {class: "instantid-point", "aria-label": `${POINTS[index]} in the photo, arrow keys move it`});
                const show = () => Object.assign(at.style, {left: `${point[0] * 100}%`, top: `${point[1] * 100}%`, borderColor: this.panel.colours[index]});
                const move = (from, dx, dy) => {
                    point[0] = instantid.clamp(from[0] + dx / frame.clientWidth, 0, 1);
                    point[1] = instantid.clamp(from[1] + dy / frame.clientHeight, 0, 1);
                    show();
                };
                at.addEventListener("pointerdown", (event) => {
                    const from = [...point];
                    instantid.follow(event, (dx, dy) => move(from, dx, dy));
                });
                at.addEventListener("keydown", (event) => {
                    const step = instantid.arrowStep(event);
                    if (!step) return;
                    event.preventDefault();
                    move([...point], ...step);
                });
                show();
                return at;
            });
        }

        async usePoints(photo) {
            photo.keypoints = photo.placing;
            photo.placing = null;
            try {
                await this.look(photo);
            } catch (error) {
                photo.error = error.message.replace(/^Photo: the file/, photo.name);
            }
            this.changed();
        }
    };
})((window.instantid = window.instantid || {}));
