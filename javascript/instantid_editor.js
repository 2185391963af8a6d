"use strict";
// The keypoint editor: where each person's head goes, on a canvas of the output's own pixels.
//
// The canvas shows the keypoint map as Python draws it for the model. While something is dragged a quick drawing stands in.
(function (instantid) {
    const {el} = instantid;
    const COLOURS = ["#3b82f6", "#f97316", "#22c55e", "#d946ef"];
    const LIMITS = {yaw: 60, pitch: 45};
    const WAIT = 150;
    const HISTORY = 100;
    const LARGEST = "32em";
    const CLOSE = 0.2; // of the stage's shorter side: the reach of a head that is zoomed in on
    instantid.PERSON_COLOURS = COLOURS;

    /** Resolves to the picture at a URL, decoded. */
    const pictureOf = async (url) => {
        const image = new Image();
        image.src = url;
        await image.decode();
        return image;
    };

    instantid.Editor = class {
        constructor(panel) {
            this.panel = panel;
            this.shown = []; // per person of the state: the head that is shown, or null
            this.perPerson = [];
            this.undone = [];
            this.done = [];
            this.turn = 0;
            this.painted = null; // the request whose map the canvas shows
            this.canvas = el("canvas", {class: "instantid-map", role: "img", "aria-label": "Keypoint map as the model sees it"});
            this.handles = el("div", {class: "instantid-handles"});
            this.backdrop = el("img", {class: "instantid-backdrop", alt: "", hidden: true});
            this.zoomed = false;
            this.ground = el("div", {class: "instantid-ground"}, this.backdrop, this.canvas, this.handles);
            this.stage = el("div", {class: "instantid-stage"}, this.ground);
            this.note = el("p", {class: "instantid-help", role: "status"});
            this.turns = instantid.editorTurns(this, LIMITS);
            this.element = el("div", {class: "instantid-editor"}, el("h4", {}, "Where the heads go"), this.stage, this.note, this.turns.element);
        }

        /** The head that a person's placement gives, or null while nobody knows. */
        headOf(person) {
            return this.shown[this.panel.state.people.indexOf(person)] || null;
        }

        /** Where the head is now becomes the start of placing it by hand. */
        takeOver(person) {
            person.head = person.head || this.headOf(person);
        }

        /** Change the current person's head by hand, in one step. */
        edit(change) {
            const head = this.headOf(this.panel.person);
            if (!head) return;
            this.remember();
            this.apply(change(head));
            this.settle();
        }

        /** A change that goes on, such as a drag: many `apply`, between `remember` and `settle`. */
        apply(head) {
            this.turn += 1;
            const {person} = this.panel;
            person.head = instantid.head.inside(head, ...this.panel.size());
            person.pose = "keypoints";
            this.shown[this.panel.state.people.indexOf(person)] = person.head;
            this.draw();
        }

        remember() {
            this.done = [...this.done, this.snapshot()].slice(-HISTORY);
            this.undone = [];
        }

        snapshot() {
            return {size: this.panel.size(), heads: this.panel.state.people.map((person) => [person, person.pose, person.head])};
        }

        travel(from, to) {
            const step = from.pop();
            if (!step) return;
            to.push(this.snapshot());
            step.heads.forEach(([person, pose, head]) => {
                Object.assign(person, {pose, head: head && instantid.head.resized(head, step.size, this.panel.size())});
            });
            this.settle();
        }

        undo() {
            this.travel(this.done, this.undone);
        }

        redo() {
            this.travel(this.undone, this.done);
        }

        /** Back to the photo, or to the average face where there is none. */
        reset() {
            const {person} = this.panel;
            this.remember();
            Object.assign(person, {head: null, keypoints: null, pose: person.source === "photos" ? "photo" : "keypoints"});
            this.settle();
        }

        /** An edit is complete: the settings, the tab and the exact map follow. */
        settle() {
            this.panel.renderPerson();
            this.panel.changed();
        }

        /** The output has another size: heads placed by hand keep their shape. */
        resize(before, now) {
            for (const person of this.panel.state.people) if (person.head) person.head = instantid.head.resized(person.head, before, now);
            this.update();
        }

        /** Ask for the heads and the map, once things have been quiet for a moment. */
        update() {
            this.turn += 1;
            clearTimeout(this.timer);
            this.element.setAttribute("aria-busy", "true");
            this.timer = setTimeout(() => this.place(this.turn), WAIT);
        }

        /** What an earlier turn asked for is not shown: an edit since then has overtaken it. */
        async place(turn) {
            const {state, table} = this.panel;
            const [width, height] = this.panel.size();
            const people = state.people.filter(instantid.isComplete);
            const settings = instantid.settingsOf({...state, settings: {}}, table, [width, height], people);
            const asked = JSON.stringify({settings, width, height});
            if (asked !== this.painted) {
                try {
                    const answer = people.length ? await this.panel.bridge.ask({do: "place", settings, width, height}) : {heads: [], map: null};
                    const map = answer.map && (await pictureOf(answer.map));
                    if (turn !== this.turn) return;
                    this.placed(people, answer.heads);
                    this.paint(map);
                    this.painted = asked;
                    this.note.textContent = people.length ? "" : "Add a photo or choose a saved identity, and the head appears here.";
                } catch (error) {
                    if (turn !== this.turn) return;
                    this.note.textContent = error.message;
                }
            }
            this.element.setAttribute("aria-busy", "false");
        }

        placed(people, found) {
            this.shown = this.panel.state.people.map((person) => {
                const answer = found[people.indexOf(person)];
                if (!answer) return null;
                if (person.pose === "keypoints" && person.head) return person.head;
                const head = instantid.head.of(answer.keypoints, answer.depths);
                if (person.pose === "keypoints") person.head = head;
                return head;
            });
            this.showHandles();
        }

        /** The map as Python drew it, pixel by pixel. */
        paint(map) {
            const paint = this.sized();
            if (map) paint.drawImage(map, 0, 0);
        }

        sized() {
            const [width, height] = this.panel.size();
            Object.assign(this.canvas, {width, height}); // clears it
            const narrow = Math.min(1, width / height); // a stage's longer side is LARGEST at most, in the output's proportions
            Object.assign(this.stage.style, {aspectRatio: `${width} / ${height}`, maxWidth: `calc(${narrow} * ${LARGEST})`});
            const paint = this.canvas.getContext("2d");
            if (this.backdrop.hidden) paint.fillRect(0, 0, width, height);
            return paint;
        }

        /** Quickly, and the handles over it. */
        draw() {
            this.painted = null;
            const paint = this.sized();
            for (const head of this.shown) if (head) instantid.drawHead(paint, instantid.head.points(head), this.panel.drawing);
            this.showHandles();
        }

        /** Bring the current head close, or show the whole picture again. */
        zoom() {
            this.zoomed = !this.zoomed;
            this.showHandles();
        }

        /** How many times the whole picture's width the ground is wide. */
        lay() {
            const head = this.headOf(this.panel.person);
            const [width, height] = this.panel.size();
            const near = this.zoomed && head ? instantid.clamp(CLOSE * Math.min(width, height) / instantid.head.reach(head), 1, 16) : 1;
            const [x, y] = head ? instantid.head.middle(head) : [0, 0];
            const start = (at, size) => instantid.clamp(0.5 - near * (at / size), 1 - near, 0);
            Object.assign(this.ground.style, {
                width: `${near * 100}%`, height: `${near * 100}%`, left: `${start(x, width) * 100}%`, top: `${start(y, height) * 100}%`,
            });
        }

        showHandles() {
            if (!this.dragging) this.lay();
            this.shown.forEach((head, index) => this.handlesOf(index).show(head));
            this.perPerson.slice(this.shown.length).forEach((handles) => handles.show(null));
            this.turns.show(this.headOf(this.panel.person));
        }

        /** Made once, so that a drag survives drawing. */
        handlesOf(index) {
            if (!this.perPerson[index]) {
                this.perPerson[index] = new instantid.HeadHandles(this, index, COLOURS[index]);
                this.handles.append(...this.perPerson[index].elements);
            }
            return this.perPerson[index];
        }

        /** Show a picture behind the points: {url} or null. */
        setBackdrop(picture) {
            this.backdrop.hidden = !picture;
            this.stage.classList.toggle("instantid-over-picture", Boolean(picture));
            if (picture) this.backdrop.src = picture.url;
            this.painted = null;
            this.update();
        }
    };
})((window.instantid = window.instantid || {}));
