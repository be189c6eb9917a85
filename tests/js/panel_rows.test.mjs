// The panel's text: nothing is lost by reading and writing it, and every change does what it says.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import * as panels from "../../js/lib/panel_rows.js";

const FIXTURE = JSON.parse(
  readFileSync(new URL("../fixtures/panel.json", import.meta.url), "utf8"));
const TEXT = '{"v":1,"rows":[{"id":"a1","net":"canny.safetensors","strength":0.8},'
  + '{"id":"b","net":"model_patches/z.safetensors","on":false,"mine":{"x":[1,null]}},'
  + '{"net":"third.pth"}],"note":"of a later version"}';
const panel = () => panels.parse(TEXT);
const nets = ({ rows }) => rows.map(({ net }) => net.slice(0, 1));
const KNOWN = {
  ...{ table: null, pictures: { 0: true }, masks: {}, methods: ["canny"] },
  ...{ modes: ["balanced", "prompt"], fits: ["crop"] },
};
const keys = (row, known = {}) => panels.marks(row, { ...KNOWN, ...known }).map(({ key }) => key);

test("a row without an id has the one that the server gives it by its place", () => {
  const ids = panel().rows.map((row, i) => panels.read(row, i).id);
  assert.deepEqual(ids, ["a1", "b", "row3"]);
  assert.equal(panels.read({ net: "a" }).id, "");
});

test("a text is written as it was read", () => {
  assert.equal(panels.format(panel()), TEXT);
  const strange = '{"v":1,"rows":[{"__proto__":{"x":1},"net":"a","constructor":2}]}';
  assert.equal(panels.format(panels.changed(panels.parse(strange), 0, {})), strange);
});

test("what the server accepts is read, with the same rows, and written as it was", () => {
  for (const { text, rows: wanted } of FIXTURE.good) {
    const read = panels.parse(text), rows = read.rows.map(panels.read);
    const keys = Object.keys(panels.DEFAULTS);
    const own = rows.map((row) => Object.fromEntries(keys.map((key) => [key, row[key]])));
    assert.deepEqual(own, wanted, text);
    if (text.trim()) assert.deepEqual(JSON.parse(panels.format(read)), JSON.parse(text), text);
  }
});

test("what the server refuses as a panel is refused by the page", () => {
  for (const { text } of FIXTURE.no_panel) {
    assert.throws(() => panels.parse(text), panels.PanelError, text);
  }
});

test("a row that the server refuses can be opened here, to be put right", () => {
  for (const { text } of FIXTURE.wrong_rows) assert.ok(panels.parse(text).rows.length, text);
});

test("an empty text is an empty panel", () => {
  assert.deepEqual(panels.parse("  "), { v: 1, rows: [] });
  assert.equal(panels.format(panels.parse(panels.EMPTY)), panels.EMPTY);
});

test("texts that are not a panel are refused by name", () => {
  const cases = {
    "{": "panelNotJson", "[]": "panelNotPanel", "3": "panelNotPanel", "null": "panelNotPanel",
    '{"v":2,"rows":[]}': "panelVersion", '{"v":"1","rows":[]}': "panelVersion",
    '{"v":1}': "panelNotPanel", '{"v":1,"rows":{}}': "panelNotPanel",
    '{"v":1,"rows":[{},7]}': "panelNotRow", '{"v":1,"rows":[[]]}': "panelNotRow",
    [`{"v":1,"rows":[${"{},".repeat(100)}{}]}`]: "panelTooMany",
    [`"${"x".repeat(1_000_000)}"`]: "panelTooLong",
  };
  for (const [text, key] of Object.entries(cases)) {
    assert.throws(() => panels.parse(text), { name: "Error", key }, text.slice(0, 40));
  }
});

test("any text is read or refused, never anything else", () => {
  let seed = 1;
  const next = (most) => {
    seed = (seed * 48271) % 2147483647;
    return seed % most;
  };
  const signs = '{}[]":,0123456789.-+eEtrufalsn \\\u0000é中<>"v"rows';
  for (let turn = 0; turn < 10_000; turn++) {
    const letters = [...TEXT];
    for (let i = 0; i <= next(6); i++) letters[next(letters.length)] = signs[next(signs.length)];
    const text = letters.join("").slice(0, next(3) ? undefined : next(letters.length));
    try {
      const read = panels.parse(text);
      assert.ok(read.rows.every((row) => Array.isArray(panels.marks(row, KNOWN))));
      assert.deepEqual(panels.parse(panels.format(read)), read);
    } catch (error) {
      assert.ok(error instanceof panels.PanelError, `${text}: ${error}`);
    }
  }
});

test("a change keeps everything else", () => {
  const { rows, note } = panels.changed(panel(), 1, { strength: 2 });
  assert.deepEqual(rows[1], { ...panel().rows[1], strength: 2 });
  assert.deepEqual(rows[1].mine, { x: [1, null] });
  assert.deepEqual([rows[0], rows[2], note], [panel().rows[0], panel().rows[2], panel().note]);
});

test("rows are moved, duplicated and removed", () => {
  assert.deepEqual(nets(panels.moved(panel(), 0, 2)), ["m", "t", "c"]);
  assert.deepEqual(nets(panels.moved(panel(), 2, 0)), ["t", "c", "m"]);
  assert.deepEqual(nets(panels.moved(panel(), 1, 9)), ["c", "t", "m"]);
  assert.deepEqual(nets(panels.moved(panel(), 1, -9)), ["m", "c", "t"]);
  assert.deepEqual(panels.moved(panel(), 7, 0), panel());
  assert.deepEqual(nets(panels.removed(panel(), 1)), ["c", "t"]);
  const twice = panels.duplicated(panel(), 1);
  assert.deepEqual(nets(twice), ["c", "m", "m", "t"]);
  assert.deepEqual(twice.rows[2], { ...panel().rows[1], id: "a2" });
  assert.notEqual(twice.rows[2].mine, twice.rows[1].mine);
});

test("every row gets an id of its own, and keeps one that it has", () => {
  const rows = [{ id: "a1" }, {}, { id: "a1" }, { id: 7 }, { id: "a2" }, { id: "" }];
  const ids = panels.withIds({ v: 1, rows }).rows.map(({ id }) => id);
  assert.deepEqual([ids[0], ids[4]], ["a1", "a2"]);
  assert.equal(new Set(ids).size, ids.length);
  assert.ok(ids.every((id) => typeof id === "string" && id));
  const more = panels.appended(panel(), [{ id: "a1", net: "x" }]).rows.at(-1);
  assert.equal(more.net, "x");
  assert.equal(more.id, "a3");
});

test("a row is muted alone, and solo leaves it alone on", () => {
  const on = ({ rows }) => rows.map(panels.isOn);
  assert.deepEqual(on(panels.muted(panel(), 0)), [false, false, true]);
  assert.deepEqual(on(panels.muted(panel(), 1)), [true, true, true]);
  const alone = panels.solo(panel(), 2);
  assert.deepEqual(on(alone), [false, false, true]);
  assert.ok(panels.isSolo(alone, 2) && !panels.isSolo(panel(), 0));
  assert.deepEqual(on(panels.solo(alone, 2)), [true, true, true]);
  assert.deepEqual(on(panels.solo(alone, 0)), [true, false, false]);
});

test("a row's file is marked where it is gone, not a net, or does not fit", () => {
  const table = {
    base: "SDXL",
    nets: {
      "fits.pth": { is: "ControlNet for SDXL", fits: true, is_net: true },
      "other.pth": { is: "ControlNet for SD1.5", fits: false, is_net: true },
      "lora.pth": { is: "LoRA", fits: null, is_net: false },
    },
  };
  assert.deepEqual(keys({ net: "fits.pth" }, { table }), []);
  assert.deepEqual(keys({ net: "other.pth" }, { table }), ["rowOther"]);
  assert.deepEqual(keys({ net: "lora.pth" }, { table }), ["rowNotANet"]);
  assert.deepEqual(keys({ net: "gone.pth" }, { table }), ["rowGone"]);
  assert.deepEqual(keys({ net: "toString" }, { table }), ["rowGone"]);
  assert.deepEqual(keys({ net: "gone.pth" }), []);
  assert.deepEqual(keys({}), ["rowNoNet"]);
  const rows = [{ net: "gone.pth" }, { net: "fits.pth" }, { net: "gone.pth" }, { net: 3 }];
  assert.deepEqual(panels.filesThatAreGone(rows, table), ["gone.pth"]);
});

test("sockets without a wire and values that cannot be are marked", () => {
  const marks = (changes) => keys({ net: "n", ...changes });
  assert.deepEqual(marks({ image: 0 }), []);
  assert.deepEqual(marks({ image: 1 }), ["rowNoPicture"]);
  assert.deepEqual(keys({ net: "n", image: 1 }, { pictures: { 1: false } }), ["rowNoPicture"]);
  const masks = { 0: false };
  assert.deepEqual(keys({ net: "n", effect_mask: 0 }, { masks }), ["rowNoMask"]);
  assert.deepEqual(marks({ start: 0.8, end: 0.2 }), ["rowRange"]);
  const wrong = [
    { strength: "1" }, { strength: 11 }, { strength: null }, { start: -1 }, { end: 2 },
    { resolution: -1 }, { image: 0.5 }, { image: "0" }, { effect_mask: -1 }, { inpaint_mask: "a" },
    { mode: "loud" }, { fit: 3 }, { method: "nothing" }, { schedule: null }, { union_type: [] },
  ];
  for (const change of wrong) assert.deepEqual(marks(change), ["rowValue"], JSON.stringify(change));
  assert.deepEqual(marks({ method: "auto" }), []);
  assert.deepEqual(marks({ method: "canny" }), []);
});
