// The text forms, held to the fixture that the Python tests read too.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import * as layers from "../../js/lib/layers.js";
import * as schedule from "../../js/lib/schedule.js";
import { TextError } from "../../js/lib/grammar.js";
import * as unions from "../../js/lib/unions.js";

const CASES = JSON.parse(
  readFileSync(new URL("../fixtures/grammar.json", import.meta.url), "utf8"),
);
const near = (actual, expected) =>
  assert.ok(Math.abs(actual - expected) <= 1e-6, `${actual} is not ${expected}`);
const good = (cases) => cases.filter((one) => !one.error);

test("the fixture holds at least sixty texts, malformed ones among them", () => {
  const all = Object.values(CASES).flat();
  assert.ok(all.length >= 60 && all.filter((one) => one.error).length >= 20);
});

for (const [kind, read] of [
  ["schedule", schedule.parse],
  ["frame_strength", schedule.parseFrames],
]) {
  test(`${kind}: read, written and drawn as Python does`, () => {
    for (const { text, to_text: written, interpolation, keys, samples, steps } of good(
      CASES[kind],
    )) {
      const value = read(text);
      assert.deepEqual(
        value.points.map((point) => [point.at, point.unit, point.strength]),
        keys,
        text,
      );
      assert.equal(value.interpolation, interpolation, text);
      assert.equal(schedule.toText(value), written, text);
      assert.deepEqual(read(written), value, text);
      const valueAt = schedule.curve(schedule.placed(value, (step) => Math.min(step / steps, 1)));
      for (const [at, strength] of samples) near(valueAt(at), strength);
    }
  });
}

test("layers: read, written and weighed as Python does", () => {
  for (const { text, to_text: written, kind, weights, ...more } of good(CASES.layers)) {
    const value = layers.parse(text);
    assert.equal(value.kind, kind, text);
    assert.equal(layers.toText(value), written, text);
    assert.deepEqual(layers.parse(written), value, text);
    for (const [count, expected] of Object.entries(weights)) {
      layers.weights(value, Number(count)).forEach((weight, i) => near(weight, expected[i]));
    }
    for (const depth of ["spread", "features"]) {
      for (const [count, expected] of Object.entries(more[depth] ?? {})) {
        const drawn = layers.weights(value, Number(count), depth);
        drawn.forEach((weight, i) => near(weight, expected[i]));
      }
    }
  }
});

test("union_type: read as Python does", () => {
  for (const { text, types } of good(CASES.union_type)) {
    const actual = unions.parse(text, CASES.union_names[0].names);
    assert.deepEqual(
      actual.map(({ name, weight }) => [name, weight]),
      types,
      text,
    );
  }
});

const READERS = {
  union_type: (text) => unions.parse(text, CASES.union_names[0].names),
  schedule: schedule.parse,
  frame_strength: schedule.parseFrames,
  layers: layers.parse,
};
for (const [kind, read] of Object.entries(READERS)) {
  test(`${kind}: what Python refuses is refused`, () => {
    for (const { text } of CASES[kind].filter((one) => one.error))
      assert.throws(() => read(text), TextError, text);
  });
}

test("a refusal names the character, as Python's does", () => {
  const position = (read, text) => {
    try {
      read(text);
    } catch (error) {
      return error.position;
    }
  };
  assert.equal(position(schedule.parse, "0:1, half:0"), 5);
  assert.equal(position(schedule.parse, "0:1, 0.5:-1"), 9);
  assert.equal(position(schedule.parse, "0:1, 0.8:0, 4s:0, 2s:1"), 18);
  assert.equal(position(layers.parse, "soft x"), 5);
});

test("every preset parses, and is written as it is", () => {
  for (const [, text] of schedule.PRESETS)
    assert.equal(schedule.toText(schedule.parse(text)), text);
  for (const [, text] of layers.PRESETS) assert.equal(layers.toText(layers.parse(text)), text);
});

// A kind in one language alone would make the page mark valid texts as wrong, or the run fail.
const REMINDER =
  "a row is needed in js/lib, a row in control/, and cases in tests/fixtures/grammar.json";
const named = (cases, key) => [...new Set(cases.map((one) => one[key]).filter(Boolean))].sort();

test("the shared cases have every layers profile and no other", () => {
  assert.deepEqual(
    Object.keys(layers.PROFILES).sort(),
    named(CASES.layers, "kind"),
    `js/lib/layers.js: ${REMINDER}`,
  );
});

test("the shared cases have every interpolation and no other", () => {
  const interpolations = named([...CASES.schedule, ...CASES.frame_strength], "interpolation");
  assert.deepEqual(
    Object.keys(schedule.INTERPOLATIONS).sort(),
    interpolations,
    `js/lib/schedule.js: ${REMINDER}`,
  );
});
