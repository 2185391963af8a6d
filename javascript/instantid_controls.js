"use strict";
// Controls built from the table of fields: sliders with a number beside them, choices and switches.
(function (instantid) {
    const {el} = instantid;

    function slider(field, id, changed) {
        const limits = {min: field.low, max: field.high, step: field.step};
        const range = el("input", {...limits, type: "range", id, "aria-describedby": `${id}-help`, value: field.default});
        const number = el("input", {...limits, type: "number", "aria-label": `${field.label}, as a number`, value: field.default});
        const set = (text) => {
            const value = instantid.clamp(Number(text), field.low, field.high);
            if (text === "" || Number.isNaN(value)) return;
            changed(value);
            range.value = number.value = value;
        };
        range.addEventListener("input", () => set(range.value));
        number.addEventListener("change", () => set(number.value));
        return {inputs: [range, number], show: (value) => (range.value = number.value = value)};
    }

    function choice(field, id, changed) {
        const select = el("select", {id, "aria-describedby": `${id}-help`, onchange: () => changed(select.value)},
            ...field.options.map(([value, label]) => el("option", {value}, label)));
        return {inputs: [select], show: (value) => (select.value = value)};
    }

    function toggle(field, id, changed) {
        const box = el("input", {type: "checkbox", id, "aria-describedby": `${id}-help`, onchange: () => changed(box.checked)});
        return {inputs: [box], show: (value) => (box.checked = value)};
    }

    /** One of several files, by name; null stands for the first, or for what `field.none` says. Not there where there is no choice. */
    function file(field, id, changed) {
        const select = el("select", {id, "aria-describedby": `${id}-help`, onchange: () => changed(select.value || null)});
        let offered = [];
        const show = (name) => (select.value = name && (field.none || name !== offered[0]) ? name : "");
        const offer = (stored, element, name) => {
            const names = [...new Set([...field.builtin, ...stored])];
            if (names.join() === offered.join()) return; // a list that is open stays open
            offered = names;
            element.hidden = names.length < 2;
            const options = names.map((own, i) => el("option", {value: i || field.none ? own : ""}, own));
            instantid.fill(select, field.none && el("option", {value: ""}, field.none), ...options);
            show(name);
        };
        return {inputs: [select], show, offer};
    }

    const MAKERS = {number: slider, choice, switch: toggle, name: file};

    /** {element, show(value), offer(names, element, value) for files} for one field of the table. changed(value): a person set it. */
    instantid.control = function (field, changed) {
        const id = instantid.freshId(field.name);
        const {inputs, show, offer} = MAKERS[field.kind](field, id, changed);
        const element = el("div", {class: `instantid-field instantid-${field.kind}`, "data-field": field.name, hidden: Boolean(offer)},
            el("label", {htmlFor: id}, field.label), ...inputs, el("p", {id: `${id}-help`, class: "instantid-help"}, field.help));
        show(field.default);
        return {element, show, offer};
    };

    /** Controls of an owner's fields in one place. target(): the object that holds their values. */
    instantid.controls = function (table, owner, place, target, changed) {
        const made = table.filter((field) => field.owner === owner && field.place === place).map((field) => {
            const control = instantid.control(field, (value) => {
                target()[field.name] = value;
                changed(field.name);
            });
            return {...control, name: field.name, of: field.of};
        });
        return {
            elements: made.map(({element}) => element),
            show: () => made.forEach(({name, show}) => show(target()[name])),
            /** files: names by what they are. */
            offer: (files) => made.filter(({offer}) => offer).forEach(({name, of, offer, element}) => offer(files[of] || [], element, target()[name])),
        };
    };

    /** Go through tabs with the keyboard's arrows, as ARIA asks. */
    instantid.tabKeys = function (event, tabs) {
        const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
        if (!step) return;
        const next = tabs[(tabs.indexOf(event.currentTarget) + step + tabs.length) % tabs.length];
        event.preventDefault();
        next.click();
        next.focus();
    };
})((window.instantid = window.instantid || {}));
