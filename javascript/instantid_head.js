"use strict";
// A head as five points in three dimensions, and how it is moved. Pure functions: new heads come out, old ones stay.
//
// A head is {base, yaw, pitch}: base holds five [x, y, z] in pixels of the output (x to the right, y down, z towards the
// viewer; eyes, nose, mouth corners, the viewer's left first), which are turned about their middle by yaw (to the viewer's
// right) and pitch (up), in degrees. What is shown and generated is x and y after the turn.
(function (instantid) {
    const RADIANS = Math.PI / 180;
    const MIRRORED = [1, 0, 2, 4, 3];
    const SMALLEST = 4;

    const middleOf = (points) => [0, 1, 2].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);

    function turned([x, y, z], yaw, pitch) {
        const [cy, sy, cp, sp] = [Math.cos(yaw * RADIANS), Math.sin(yaw * RADIANS), Math.cos(pitch * RADIANS), Math.sin(pitch * RADIANS)];
        const [x1, z1] = [x * cy + z * sy, z * cy - x * sy];
        return [x1, y * cp - z1 * sp, z1 * cp + y * sp];
    }

    function unturned([x, y, z], yaw, pitch) {
        const [cy, sy, cp, sp] = [Math.cos(yaw * RADIANS), Math.sin(yaw * RADIANS), Math.cos(pitch * RADIANS), Math.sin(pitch * RADIANS)];
        const [y1, z1] = [y * cp + z * sp, z * cp - y * sp];
        return [x * cy - z1 * sy, y1, z1 * cy + x * sy];
    }

    function about(points, change) {
        const middle = middleOf(points);
        return points.map((point) => change(point.map((value, axis) => value - middle[axis])).map((value, axis) => value + middle[axis]));
    }

    const shown = (head) => about(head.base, (point) => turned(point, head.yaw, head.pitch));
    const ofShown = (points, yaw, pitch) => ({base: about(points, (point) => unturned(point, yaw, pitch)), yaw, pitch});
    const edited = (head, change) => ofShown(change(shown(head)), head.yaw, head.pitch);

    instantid.head = {
        /** keypoints: five [x, y] px; depths: five px. */
        of: (keypoints, depths) => ({base: keypoints.map(([x, y], i) => [x, y, depths[i]]), yaw: 0, pitch: 0}),
        points: (head) => shown(head).map(([x, y]) => [x, y]),
        middle: (head) => middleOf(head.base).slice(0, 2),
        /** Width of the five points' surroundings, px: the frame is drawn at this distance from the middle. */
        reach(head) {
            const [cx, cy] = middleOf(head.base);
            return Math.max(SMALLEST, ...shown(head).map(([x, y]) => Math.hypot(x - cx, y - cy)));
        },
        withPoint: (head, index, x, y) => edited(head, (points) => points.map(([px, py, z], i) => (i === index ? [x, y, z] : [px, py, z]))),
        moved: (head, dx, dy) => edited(head, (points) => points.map(([x, y, z]) => [x + dx, y + dy, z])),
        scaled(head, factor) {
            const least = SMALLEST / instantid.head.reach(head);
            return edited(head, (points) => about(points, (point) => point.map((value) => value * Math.max(factor, least))));
        },
        rotated(head, degrees) {
            const [c, s] = [Math.cos(degrees * RADIANS), Math.sin(degrees * RADIANS)];
            return edited(head, (points) => about(points, ([x, y, z]) => [x * c - y * s, x * s + y * c, z]));
        },
        mirrored(head) {
            const points = about(shown(head), ([x, y, z]) => [-x, y, z]);
            return ofShown(MIRRORED.map((index) => points[index]), -head.yaw, head.pitch);
        },
        centred(head, width, height) {
            const [x, y] = middleOf(head.base);
            return instantid.head.moved(head, width / 2 - x, height / 2 - y);
        },
        /** Keep the middle inside the output. */
        inside(head, width, height) {
            const [x, y] = middleOf(head.base);
            return instantid.head.moved(head, instantid.clamp(x, 0, width) - x, instantid.clamp(y, 0, height) - y);
        },
        /** For an output of another size: the middle at the same fraction, the face at the same share of the shorter change. */
        resized(head, [width, height], [newWidth, newHeight]) {
            const scale = Math.min(newWidth / width, newHeight / height);
            const [x, y] = middleOf(head.base);
            const moved = instantid.head.moved(instantid.head.scaled(head, scale), (x / width) * newWidth - x, (y / height) * newHeight - y);
            return instantid.head.inside(moved, newWidth, newHeight);
        },
        fractions: (head, width, height) => instantid.head.points(head).map(([x, y]) => [x / width, y / height]),
    };
})((window.instantid = window.instantid || {}));
