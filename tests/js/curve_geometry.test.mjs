// Points in a box of pixels, and what dragging makes of them.
import assert from "node:assert/strict";
import test from "node:test";

import * as curve from "../../js/lib/curve_geometry.js";

const BOX = { width: 220, height: 120, margin: 10 };
const point = (at, strength, unit = "percent") => ({ at, unit, strength });
const THREE = [point(0, 1), point(0.5, 0.5), point(1, 0)];

test("pixels and back", () => {
  assert.deepEqual(curve.toPixels(0, 0, BOX, 1), [10, 110]);
  assert.deepEqual(curve.toPixels(1, 2, BOX, 2), [210, 10]);
  assert.deepEqual(curve.fromPixels(110, 60, BOX, 1), [0.5, 0.5]);
  assert.deepEqual(curve.fromPixels(-50, 500, BOX, 1), [0, 0]);
});

test("the axis holds every point", () => {
  assert.equal(curve.axisTop([]), 1);
  assert.equal(curve.axisTop([1.01]), 2);
  assert.equal(curve.axisTop([10]), 10);
});

test("a grabbed point is the nearest within reach", () => {
  assert.equal(curve.nearest(THREE, 111, 61, BOX, 1, 20), 1);
  assert.equal(curve.nearest(THREE, 60, 60, BOX, 1, 20), -1);
  assert.equal(curve.nearest([point(0.5, 0.5), point(0.52, 0.5)], 115, 60, BOX, 1, 20), 1);
});

test("a moved point stays between its neighbours", () => {
  assert.deepEqual(curve.moved(THREE, 1, 0.25, 0.75, 20)[1], point(0.25, 0.75));
  assert.equal(
    curve.moved([point(0.4, 1), point(0.5, 1), point(0.6, 1)], 1, 0.9, 1, 20)[1].at,
    0.6,
  );
  assert.equal(curve.moved(THREE, 0, -3, 1, 20)[0].at, 0);
  assert.equal(curve.moved([point(1 / 3, 1), point(0.5, 1)], 1, 0.3333, 1, 20)[1].at, 1 / 3);
});

test("a sampler step moves by whole steps, and stays a step", () => {
  const points = [point(0, 1), point(6, 0.5, "step"), point(0.5, 0)];
  assert.deepEqual(curve.moved(points, 1, 0.26, 0.5, 20)[1], point(5, 0.5, "step"));
  assert.equal(curve.moved(points, 1, 0.9, 0.5, 20)[1].at, 10);
});

test("points come in their order, whatever their text's", () => {
  const mixed = [point(0, 1), point(0.8, 0), point(4, 0.5, "step")];
  assert.deepEqual(
    curve.ordered(mixed, 20).map((one) => one.at),
    [0, 4, 0.8],
  );
});

test("a new point goes where it belongs", () => {
  const [points, index] = curve.added(THREE, 0.25, 0.7, 20);
  assert.equal(index, 1);
  assert.deepEqual(points[1], point(0.25, 0.7));
  assert.deepEqual(curve.added([], 0.25, 0.7, 20), [[point(0.25, 0.7)], 0]);
  assert.equal(THREE.length, 3);
});

test("a point for the keyboard: half way on", () => {
  assert.equal(curve.between(THREE, 0, 20), 0.25);
  assert.equal(curve.between(THREE, 2, 20), 0.75);
  assert.equal(curve.between([point(1, 1)], 0, 20), 0.5);
  assert.equal(curve.between([], 0, 20), 0);
});
