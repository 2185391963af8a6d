"use strict";
// What the panel holds, and the settings that the generation gets: the object of the API.
(function (instantid) {
    const EQUAL = 1 + 1e-9; // areas of fractions are not exact
    const defaultsOf = (instantid.defaultsOf = (table, owner) =>
        Object.fromEntries(table.filter((field) => field.owner === owner).map((field) => [field.name, field.default])));

    /** A photo is {file, name, url, path, size, faces, which, keypoints, error}: `which` counts its faces from the left. */
    instantid.newPerson = (table) => ({
        source: "photos",
        photos: [],
        identity: null,
        posePicture: null,
        region: null,
        head: null, // placed by hand, see instantid_head.js
        expected: {face: [], keypoints: []}, // of photos that are to be added again, in their order
        keypoints: null, // fractions from elsewhere, until the editor has made a head of them
        ...defaultsOf(table, "people"),
    });

    instantid.newState = (table) => ({settings: defaultsOf(table, "whole"), people: [instantid.newPerson(table)], prompts: [], controls: []});

    /** Whether a list of entries is in use: people, unless something else is all that is wanted. */
    instantid.uses = function ({people, prompts, controls}, list) {
        if (list === "people") return !(prompts.length + controls.length) || !people.every(isUntouched);
        return (list === "controls" ? controls : prompts).length > 0;
    };

    const isUntouched = (person) => person.source === "photos" && !person.photos.length;

    instantid.isComplete = (person) =>
        person.source === "identity" ? Boolean(person.identity) : person.photos.some((photo) => photo.path && !photo.error);

    /** The chosen face of a photo, or null. */
    instantid.chosenFace = function (photo) {
        if (!photo.faces || !photo.faces.length) return null;
        const area = ({box}) => (box[2] - box[0]) * (box[3] - box[1]);
        if (photo.which) return photo.faces[photo.which - 1];
        return photo.faces.reduce((best, face) => (area(face) > area(best) * EQUAL ? face : best)); // the leftmost of equals
    };

    function personSettings(person, table, [width, height]) {
        const own = Object.fromEntries(table.filter((field) => field.owner === "people").map((field) => [field.name, person[field.name]]));
        const uploaded = person.photos.filter((photo) => photo.path);
        const good = uploaded.filter((photo) => !photo.error);
        const photos = good.length ? good : uploaded; // where none is good, the refusal says what is wrong with the first
        if (person.source === "identity") own.identity = person.identity;
        else {
            own.photos = photos.map((photo) => photo.path);
            if (photos.some((photo) => photo.which)) own.face = photos.map((photo) => photo.which || "largest");
            if (photos.some((photo) => photo.keypoints)) own.photo_keypoints = photos.map((photo) => photo.keypoints || null);
        }
        if (own.pose === "pose picture" && person.posePicture) own.pose_picture = person.posePicture.path;
        if (own.pose === "keypoints") own.keypoints = person.head ? instantid.head.fractions(person.head, width, height) : person.keypoints;
        if (person.region) own.region = person.region.path;
        return own;
    }

    /** size: [width, height] of the output. Nobody is left out in silence: a person without a photo is for Python to refuse, unless
     * something else is all that is wanted. */
    instantid.settingsOf = function (state, table, size, people = state.people) {
        const {prompts, controls} = state;
        const own = instantid.uses({...state, people}, "people") ? people : [];
        return {
            ...state.settings,
            people: own.map((person) => personSettings(person, table, size)),
            ...(prompts.length ? {image_prompts: prompts.map((prompt) => instantid.promptSettings(prompt, table))} : {}),
            ...(controls.length ? {controls: controls.map((control) => instantid.controlSettings(control, table))} : {}),
        };
    };

    /** {which, keypoints} that a picture's settings said of a photo. */
    instantid.asExpected = function ({expected: {face, keypoints}}, index) {
        return {which: Number(face[face.length > 1 ? index : 0]) || null, keypoints: keypoints[index] || null};
    };

    /** The picture that settings from elsewhere name: another panel of this page by its path, an infotext by its hash. Null if
     * it is not among the pictures. */
    instantid.stored = (name, pictures) => pictures.find((picture) => picture && name && [picture.path, `#${picture.hash}`].includes(name)) || null;

    /** All pictures that a panel holds. */
    instantid.picturesOf = ({people, prompts, controls}) =>
        [...people.flatMap((person) => [...person.photos, person.posePicture]), ...prompts.flatMap((prompt) => prompt.pictures),
            ...controls.map((control) => control.picture), ...[...people, ...prompts, ...controls].map((entry) => entry.region)].filter(Boolean);

    /** Take the photos and pictures that are still in the page, from the people of all panels. A photo is copied, since each panel
     * looks at it, chooses and removes on its own. */
    function takeOver(person, given, known) {
        const of = instantid.stored;
        const photos = known.flatMap((other) => other.photos);
        person.photos = (given.photos || []).map((path) => of(path, photos)).filter(Boolean).map((photo) => ({...photo}));
        if (person.photos.length < (given.photos || []).length) person.photos = []; // all are to be added again, in their order
        person.photos.forEach((photo, index) => Object.assign(photo, instantid.asExpected(person, index)));
        person.posePicture = of(given.pose_picture, known.map((other) => other.posePicture));
        person.region = of(given.region, known.map((other) => other.region));
    }

    /** A state from settings that something else put into the page: a picture's infotext, or another tab's panel. known: the
     * states of the page's panels. */
    instantid.stateOf = function (settings, table, known) {
        const state = instantid.newState(table);
        for (const name of Object.keys(state.settings)) if (name in settings) state.settings[name] = settings[name];
        const people = (settings.people || []).map((given) => {
            const person = instantid.newPerson(table);
            for (const name of Object.keys(defaultsOf(table, "people"))) if (name in given) person[name] = given[name];
            person.source = given.identity ? "identity" : "photos";
            person.identity = given.identity || null;
            person.keypoints = given.keypoints || null;
            if (given.identity && !given.pose) person.pose = "none"; // as the API's default
            person.expected = {face: [].concat(given.face || []), keypoints: given.photo_keypoints || []};
            takeOver(person, given, known.flatMap((other) => other.people));
            return person;
        });
        if (people.length) state.people = people;
        const prompts = known.flatMap((other) => other.prompts);
        state.prompts = (settings.image_prompts || []).map((given) => instantid.promptOf(given, table, prompts));
        const controls = known.flatMap((other) => other.controls);
        state.controls = (settings.controls || []).map((given) => instantid.controlOf(given, table, controls));
        return state;
    };
})((window.instantid = window.instantid || {}));
