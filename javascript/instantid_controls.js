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

    const MAKERS = {slider, choice, switch: toggle};

    /** {element, show(value)} for one field of the table. changed(value): a person set it. */
    instantid.control = function (field, changed) {
        const id = instantid.freshId(field.name);
        const {inputs, show} = MAKERS[field.kind](field, id, changed);
        const element = el("div", {class: `instantid-field instantid-${field.kind}`, "data-field": field.name},
            el("label", {htmlFor: id}, field.label), ...inputs, el("p", {id: `${id}-help`, class: "instantid-help"}, field.help));
        show(field.default);
        return {element, show};
    };

    /** {element, offer(names), show(name)} for one of several files; null stands for the first. Not there where there is no choice. */
    instantid.fileChoice = function (label, changed) {
        const id = instantid.freshId("file");
        const select = el("select", {id, onchange: () => changed(select.value || null)});
        const element = el("div", {class: "instantid-field instantid-choice", hidden: true}, el("label", {htmlFor: id}, label), select);
        let offered = [];
        return {
            element,
            offer(names) {
                if (names.join() === offered.join()) return; // a list that is open stays open
                offered = names;
                element.hidden = names.length < 2;
                instantid.fill(select, ...names.map((name, i) => el("option", {value: i ? name : ""}, name)));
            },
            show: (name) => (select.value = name && name !== offered[0] ? name : ""),
        };
    };

    /** Controls of all fields in one place. target(): the object that holds their values. */
    instantid.controls = function (table, place, target, changed) {
        const made = table.filter((field) => field.place === place).map((field) => {
            const control = instantid.control(field, (value) => {
                target()[field.name] = value;
                changed(field.name);
            });
            return {...control, name: field.name};
        });
        return {
            elements: made.map(({element}) => element),
            show: () => made.forEach(({name, show}) => show(target()[name])),
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
