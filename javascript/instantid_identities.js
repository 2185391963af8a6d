"use strict";
// A saved identity instead of photos, and saving, renaming and deleting identities.
(function (instantid) {
    const {el, button, fill} = instantid;

    /** {element, render()} to choose a saved identity for a person. */
    instantid.identityChooser = function (panel, person) {
        const id = instantid.freshId("identity");
        const select = el("select", {id, onchange: () => choose(select.value || null)});
        const picture = el("img", {class: "instantid-thumbnail", alt: ""});
        const name = el("input", {type: "text", "aria-label": "New name", class: "instantid-name"});
        const note = el("p", {class: "instantid-error", role: "alert"});
        const sure = button("Delete", () => remove(), {class: "instantid-button instantid-delete"});
        const change = el("div", {class: "instantid-row"}, "New name", name, button("Rename", () => rename()), sure);
        const none = el("p", {class: "instantid-help"}, "No identity is saved yet. Choose “Photos”, add photos of the person, and press “Save identity” below them.");
        const choice = el("div", {}, el("label", {htmlFor: id}, "Saved identity"), el("div", {class: "instantid-row"}, select, picture), change);
        const element = el("div", {}, none, choice, note);

        function choose(chosen) {
            person.identity = chosen;
            note.textContent = "";
            sure.textContent = "Delete";
            render();
            panel.changed();
        }

        async function ask(request, chosen) {
            try {
                panel.setIdentities((await panel.bridge.ask(request)).identities);
                choose(chosen);
            } catch (error) {
                note.textContent = error.message;
            }
        }

        const rename = () => ask({do: "rename identity", name: person.identity, new_name: name.value.trim()}, name.value.trim());

        function remove() {
            if (sure.textContent === "Delete") sure.textContent = `Delete ${person.identity} for good?`;
            else ask({do: "delete identity", name: person.identity}, null);
        }

        function render() {
            const known = panel.identities.map((identity) => identity.name);
            const gone = person.identity && !known.includes(person.identity) ? [person.identity] : [];
            none.hidden = known.length > 0 || gone.length > 0;
            choice.hidden = !none.hidden;
            fill(select, el("option", {value: ""}, "choose …"), ...known.map((value) => el("option", {value}, value)),
                ...gone.map((value) => el("option", {value}, `${value} (not in the list)`)));
            select.value = person.identity || "";
            const found = panel.identities.find((identity) => identity.name === person.identity);
            picture.hidden = !found || !found.thumbnail;
            if (!picture.hidden) Object.assign(picture, {src: found.thumbnail, alt: `Thumbnail of ${found.name}`});
            change.hidden = !found;
        }

        render();
        return {element, render};
    };

    /** A row that saves the person of the photos as an identity. */
    instantid.identitySaver = function (panel, person) {
        const name = el("input", {type: "text", "aria-label": "Name of the identity", class: "instantid-name"});
        const thumbnail = el("input", {type: "checkbox", checked: panel.beginning.thumbnails});
        const note = el("p", {class: "instantid-help", role: "status"});

        async function save() {
            const given = instantid.settingsOf(panel.state, panel.table, panel.size(), [person]).people[0];
            const {photos, face = "largest", photo_keypoints = []} = given;
            try {
                const request = {do: "save identity", name: name.value.trim(), thumbnail: thumbnail.checked, photos, face, photo_keypoints};
                panel.setIdentities((await panel.bridge.ask(request)).identities);
                person.identity = request.name;
                note.textContent = `Saved as ${request.name}; choose “A saved identity” above to use it without the photos.`;
                note.className = "instantid-help";
            } catch (error) {
                note.textContent = error.message;
                note.className = "instantid-error";
            }
        }

        const row = el("div", {class: "instantid-row"}, "Name", name, button("Save identity", save), el("label", {class: "instantid-inline"}, thumbnail, "with a thumbnail"));
        const element = el("div", {}, row, note);
        return {element, render: () => (row.hidden = !instantid.isComplete(person))};
    };
})((window.instantid = window.instantid || {}));
