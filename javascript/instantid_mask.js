"use strict";
// Where a person or pictures act: painted with a brush in the output's proportions, or an uploaded mask. White is inside.
(function (instantid) {
    const {el, button} = instantid;
    const SIDE = 512;

    /** {element, render()}. The mask is uploaded after each stroke. owner: whose `region` it is. what: in words. */
    instantid.maskField = function (panel, owner, what) {
        const canvas = el("canvas", {class: "instantid-mask", tabindex: 0, role: "img", "aria-label": `${what}; paint with the pointer, or upload a mask below`});
        const brush = el("input", {type: "range", min: 8, max: 128, value: 48, id: instantid.freshId("brush")});
        const upload = instantid.pictureField(panel, "Or drop a mask picture here, white is inside", () => null, (picture) => picture && given(picture));
        const note = el("p", {class: "instantid-error", role: "alert"});
        const element = el("div", {class: "instantid-region"}, el("h4", {}, what), canvas,
            el("div", {class: "instantid-row"}, el("label", {htmlFor: brush.id}, "Brush"), brush, button("Everything", () => cover("white")), button("Clear", () => cover("black"))),
            upload.element, note);

        function context() {
            const [width, height] = panel.size();
            const scale = SIDE / Math.max(width, height);
            const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
            const paint = canvas.getContext("2d");
            if (canvas.width !== w || canvas.height !== h) {
                const before = owner.region ? canvas.cloneNode() : null;
                if (before) before.getContext("2d").drawImage(canvas, 0, 0);
                Object.assign(canvas, {width: w, height: h});
                paint.fillRect(0, 0, w, h);
                if (before) paint.drawImage(before, 0, 0, w, h);
            }
            return paint;
        }

        function cover(colour) {
            const paint = context();
            paint.fillStyle = colour;
            paint.fillRect(0, 0, canvas.width, canvas.height);
            store(colour === "black");
        }

        async function show(picture) {
            const image = await createImageBitmap(await (await fetch(picture.url)).blob());
            context().drawImage(image, 0, 0, canvas.width, canvas.height);
        }

        async function given(picture) {
            await show(picture);
            owner.region = picture;
            panel.changed();
        }

        function store(empty) {
            if (empty) {
                owner.region = null;
                panel.changed();
                return;
            }
            canvas.toBlob(async (blob) => {
                try {
                    owner.region = await instantid.storePicture(panel.bridge, blob);
                    note.textContent = "";
                } catch (error) {
                    note.textContent = error.message;
                }
                panel.changed();
            });
        }

        canvas.addEventListener("pointerdown", (event) => {
            const paint = context();
            const scale = canvas.width / canvas.clientWidth;
            const at = ({offsetX, offsetY}) => [offsetX * scale, offsetY * scale];
            let last = at(event);
            const dab = (moved) => {
                const now = at(moved);
                Object.assign(paint, {strokeStyle: "white", lineWidth: Number(brush.value), lineCap: "round"});
                paint.beginPath();
                paint.moveTo(...last);
                paint.lineTo(...now);
                paint.stroke();
                last = now;
            };
            dab(event);
            instantid.follow(event, (dx, dy, moved) => dab(moved), () => store(false));
        });
        return {element, render: () => element.hidden || context()};
    };
})((window.instantid = window.instantid || {}));
