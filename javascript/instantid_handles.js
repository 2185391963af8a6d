"use strict";
// What a person takes hold of in the editor: five points, the face around them, a corner that scales and rotates; and the
// sliders and buttons below.
(function (instantid) {
    const {el, button} = instantid;
    const ROOM = 1.45;
    const CLEAR = 40; // CSS pixels from the middle of a head to its frame, at the least: the corner's handle hides no point
    const CORNER = Math.PI / 4;
    const STEP = 5;

    /** A quick drawing of five points, much like the map that Python draws. */
    instantid.drawHead = function (paint, points, {colours, limbs, radius, half_width: halfWidth, brightness}) {
        paint.globalAlpha = brightness;
        for (const [start, end] of limbs) {
            const [[x1, y1], [x2, y2]] = [points[start], points[end]];
            paint.fillStyle = colours[start];
            paint.beginPath();
            paint.ellipse((x1 + x2) / 2, (y1 + y2) / 2, Math.hypot(x2 - x1, y2 - y1) / 2, halfWidth, Math.atan2(y2 - y1, x2 - x1), 0, 2 * Math.PI);
            paint.fill();
        }
        paint.globalAlpha = 1;
        points.forEach(([x, y], index) => {
            paint.fillStyle = colours[index];
            paint.beginPath();
            paint.arc(x, y, radius, 0, 2 * Math.PI);
            paint.fill();
        });
    };

    instantid.HeadHandles = class {
        constructor(editor, index, colour) {
            Object.assign(this, {editor, index});
            const style = {borderColor: colour};
            const who = `person ${index + 1}`;
            this.frame = this.handle("instantid-grip", `Face of ${who}: arrow keys move it, plus and minus scale it, comma and full stop rotate it`, style);
            this.points = instantid.POINTS.map((point) => this.handle("instantid-point", `${point} of ${who}, arrow keys move it`, style));
            this.corner = this.handle("instantid-corner", `Scale and rotate the face of ${who}: up and down scale, left and right rotate`, {...style, background: colour});
            this.elements = [this.frame, ...this.points, this.corner];
            this.drags(this.frame, (from, dx, dy) => instantid.head.moved(from, dx, dy));
            this.points.forEach((point, i) => this.drags(point, (from, dx, dy) => {
                const [x, y] = instantid.head.points(from)[i];
                return instantid.head.withPoint(from, i, x + dx, y + dy);
            }));
            this.drags(this.corner, (from, dx, dy) => this.pulled(from, dx, dy));
            this.frame.addEventListener("keydown", (event) => this.frameKey(event));
        }

        handle(kind, label, style) {
            return button("", () => {}, {class: kind, "aria-label": label, style, "data-person": this.index});
        }

        /** change(head, dx, dy): the head after the handle was moved so many pixels of the output. */
        drags(handle, change) {
            handle.addEventListener("pointerdown", (event) => {
                this.editor.panel.select(this.index);
                const from = this.editor.headOf(this.editor.panel.person);
                const scale = this.editor.canvas.width / this.editor.canvas.clientWidth;
                this.editor.remember();
                this.editor.dragging = true;
                instantid.follow(event, (dx, dy) => this.editor.apply(change(from, dx * scale, dy * scale)), () => {
                    this.editor.dragging = false;
                    this.editor.settle();
                });
            });
            handle.addEventListener("keydown", (event) => {
                const step = instantid.arrowStep(event);
                if (step) this.key(event, (head) => change(head, ...step));
            });
        }

        key(event, change) {
            event.preventDefault();
            this.editor.panel.select(this.index);
            this.editor.edit(change);
        }

        frameKey(event) {
            const changes = {
                "+": (head) => instantid.head.scaled(head, 1.05),
                "=": (head) => instantid.head.scaled(head, 1.05),
                "-": (head) => instantid.head.scaled(head, 1 / 1.05),
                ",": (head) => instantid.head.rotated(head, -STEP),
                ".": (head) => instantid.head.rotated(head, STEP),
            };
            if (changes[event.key]) this.key(event, changes[event.key]);
        }

        /** The corner follows the pointer: its distance from the middle scales, its angle rotates. */
        pulled(head, dx, dy) {
            const away = this.away(head);
            const [x, y] = [away * Math.cos(CORNER) + dx, away * Math.sin(CORNER) + dy];
            const degrees = ((Math.atan2(y, x) - CORNER) * 180) / Math.PI;
            return instantid.head.rotated(instantid.head.scaled(head, Math.max(0.05, Math.hypot(x, y) / away)), degrees);
        }

        /** Pixels of the output from a head's middle to its frame. */
        away(head) {
            const {canvas} = this.editor;
            return Math.max(instantid.head.reach(head) * ROOM, (CLEAR * canvas.width) / (canvas.clientWidth || canvas.width));
        }

        show(head) {
            for (const element of this.elements) element.hidden = !head;
            if (!head) return;
            const [width, height] = this.editor.panel.size();
            const [cx, cy] = instantid.head.middle(head);
            const away = this.away(head);
            const put = (element, x, y) => Object.assign(element.style, {left: `${(x / width) * 100}%`, top: `${(y / height) * 100}%`});
            put(this.frame, cx, cy);
            Object.assign(this.frame.style, {width: `${((2 * away) / width) * 100}%`, height: `${((2 * away) / height) * 100}%`});
            instantid.head.points(head).forEach(([x, y], index) => put(this.points[index], x, y));
            put(this.corner, cx + away * Math.cos(CORNER), cy + away * Math.sin(CORNER));
        }
    };

    /** Sliders that turn the head, and the buttons. */
    instantid.editorTurns = function (editor, limits) {
        function turn(name, label, words) {
            const id = instantid.freshId(name);
            const range = el("input", {type: "range", id, min: -limits[name], max: limits[name], step: 1, value: 0});
            let dragging = false;
            range.addEventListener("input", () => {
                const head = editor.headOf(editor.panel.person);
                if (!head) return;
                if (!dragging) editor.remember();
                dragging = true;
                editor.apply({...head, [name]: Number(range.value)});
            });
            range.addEventListener("change", () => {
                dragging = false;
                editor.settle();
            });
            const degrees = el("output", {htmlFor: id});
            const show = (head) => {
                range.disabled = !head;
                range.value = head ? head[name] : 0;
                degrees.textContent = `${range.value}°`;
            };
            return {show, element: el("div", {class: "instantid-field"}, el("label", {htmlFor: id}, label), range, degrees, el("p", {class: "instantid-help"}, words))};
        }

        const yaw = turn("yaw", "Turn", "to the left and to the right");
        const pitch = turn("pitch", "Nod", "down and up");
        const size = () => editor.panel.size();
        const buttons = [
            button("Mirror", () => editor.edit(instantid.head.mirrored)),
            button("Centre", () => editor.edit((head) => instantid.head.centred(head, ...size()))),
            button("Reset", () => editor.reset()),
            button("Undo", () => editor.undo()),
            button("Redo", () => editor.redo()),
            button("Zoom", () => editor.zoom(), {"aria-pressed": "false"}),
        ];
        const [undo, redo, zoom] = buttons.slice(3);
        return {
            element: el("div", {}, el("div", {class: "instantid-row", role: "group", "aria-label": "Edit the head"}, ...buttons), el("div", {class: "instantid-columns"}, yaw.element, pitch.element)),
            show(head) {
                yaw.show(head);
                pitch.show(head);
                undo.disabled = !editor.done.length;
                redo.disabled = !editor.undone.length;
                zoom.setAttribute("aria-pressed", String(editor.zoomed));
            },
        };
    };
})((window.instantid = window.instantid || {}));
