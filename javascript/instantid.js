"use strict";
// Small tools for building the page; the WebUI loads this file before the others, by name. Everything of InstantID lives in the one namespace `window.instantid`.
(function (instantid) {
    const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "src", "type", "min", "max", "step", "files", "multiple", "textContent", "htmlFor", "width", "height"]);
    let lastId = 0;

    /** An element. attributes: properties, listeners (`onclick`), `style` objects and attributes; children: nodes or text. */
    instantid.el = function (tag, attributes = {}, ...children) {
        const element = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes)) {
            if (value === undefined || value === null) continue;
            if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
            else if (name === "style") Object.assign(element.style, value);
            else if (PROPERTIES.has(name)) element[name] = value;
            else element.setAttribute(name, value);
        }
        element.append(...children.filter((child) => child !== null && child !== undefined));
        return element;
    };

    instantid.button = (text, onclick, attributes = {}) =>
        instantid.el("button", {type: "button", class: "instantid-button", onclick, ...attributes}, text);

    /** An id that no other element of the page has. */
    instantid.freshId = (name) => `instantid-${name}-${++lastId}`;

    instantid.clamp = (value, low, high) => Math.min(high, Math.max(low, value));

    /** Replace children only; the element and its focus ring stay. */
    instantid.fill = (element, ...children) => element.replaceChildren(...children.filter(Boolean));

    /** Follow a pointer from a pointerdown on: move(dx, dy, event) in CSS pixels since the start, then end(). */
    instantid.follow = function (event, move, end = () => {}) {
        const target = event.currentTarget;
        const start = {x: event.clientX, y: event.clientY};
        event.preventDefault();
        target.focus({preventScroll: true});
        target.setPointerCapture(event.pointerId);
        const onMove = (moved) => move(moved.clientX - start.x, moved.clientY - start.y, moved);
        const onEnd = () => {
            target.removeEventListener("pointermove", onMove);
            target.removeEventListener("pointerup", onEnd);
            target.removeEventListener("pointercancel", onEnd);
            end();
        };
        target.addEventListener("pointermove", onMove);
        target.addEventListener("pointerup", onEnd);
        target.addEventListener("pointercancel", onEnd);
    };

    /** Arrow keys as a step in pixels, ten with Shift; null for other keys. */
    instantid.arrowStep = function (event) {
        const step = event.shiftKey ? 10 : 1;
        const steps = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]};
        return steps[event.key] || null;
    };
})((window.instantid = window.instantid || {}));
