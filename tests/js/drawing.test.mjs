// Drawings: their text form, the pen, undo, fills, and the names of their files.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import test from "node:test";

import { History, Pen, lineTo, parse, pressureOf, toText } from "../../js/lib/drawing.js";
import { DrawingStore } from "../../js/lib/drawing_store.js";
import { flood } from "../../js/lib/flood.js";
import { inLanguage } from "../../js/lib/sentences.js";
import { SheetView } from "../../js/lib/sheet_view.js";
import { sha256 } from "../../js/lib/sha256.js";

const cases = JSON.parse(
  readFileSync(new URL("../fixtures/drawings.json", import.meta.url), "utf8"),
);
const CANVAS = { width: 512, height: 512 };

test("right texts are read, and written as they were", () => {
  for (const text of cases.valid) {
    const drawing = parse(text);
    assert.deepEqual({ v: 1, ...drawing }, JSON.parse(text));
    const written = toText(drawing);
    assert.equal(written, drawing.strokes.length ? text.trim() : "");
  }
});

test("wrong texts are refused in the server's sentences, which have Chinese", () => {
  for (const { text, error } of cases.invalid) {
    assert.throws(() => parse(text), { message: error });
    const spoken = inLanguage(`drawing: ${error}`, "zh").replace(/"[^"]*"/g, "");
    assert.doesNotMatch(spoken, /expected|found|Update|Draw/, spoken);
  }
});

test("what is too much is refused, read or written", () => {
  const fill = { tool: "fill", points: [1, 1, 1] };
  const many = { ...CANVAS, strokes: Array(10_001).fill(fill) };
  assert.throws(() => toText(many), /has 10,001 strokes: expected at most 10,000/);
  assert.throws(() => parse(JSON.stringify({ v: 1, ...many })), /has 10,001 strokes/);
  const points = Array(50_001).fill([1, 1, 1]).flat();
  const long = { ...CANVAS, strokes: Array(4).fill({ tool: "brush", size: 1, points }) };
  assert.throws(() => toText(long), /has 200,004 points: expected at most 200,000/);
  assert.throws(() => parse(" ".repeat(5 << 20)), /has 5,242,880 characters/);
});

test("the names are SHA-256, whatever the length and the signs", () => {
  for (const text of ["", "abc", "é日本🎨", "x".repeat(55), "x".repeat(56), "y".repeat(100_000)])
    assert.equal(sha256(text), createHash("sha256").update(text).digest("hex"));
});

test("a pen without smoothing passes through every place, in tenths", () => {
  const pen = new Pen({ tool: "brush", size: 8, canvas: CANVAS });
  for (const place of [[10.04, 20.06], [30, 40], [30.2, 40.1], [50, 60]]) pen.move(...place);
  pen.end(50.1, 60.1);
  assert.deepEqual(pen.stroke.points, [10, 20.1, 1, 30, 40, 1, 50, 60, 1]);
});

test("smoothing straightens a trembling line, which ends where the pointer is lifted", () => {
  const length = ({ points }) => {
    let sum = 0;
    for (let i = 3; i < points.length; i += 3)
      sum += Math.hypot(points[i] - points[i - 3], points[i + 1] - points[i - 2]);
    return sum;
  };
  const drawn = (smoothing) => {
    const pen = new Pen({ tool: "brush", size: 8, smoothing, canvas: CANVAS });
    for (let x = 0; x <= 300; x += 5) pen.move(100 + x, 200 + (x % 2 ? 8 : -8));
    pen.end(400, 200);
    return pen.stroke;
  };
  assert.ok(length(drawn(0.8)) < 350);
  assert.ok(length(drawn(0)) > 900);
  assert.deepEqual(drawn(0.8).points.slice(-3), [400, 200, 1]);
});

test("points stay within reach of the canvas, as the server asks", () => {
  const pen = new Pen({ tool: "brush", size: 8, canvas: { width: 100, height: 64 } });
  pen.move(1e9, -1e9);
  assert.deepEqual(pen.stroke.points, [200, -128, 1]);
  parse(toText({ width: 100, height: 64, strokes: [pen.stroke] }));
});

test("a pen draws as broad as it is pressed, mouse and finger at full width", () => {
  assert.equal(pressureOf({ pointerType: "mouse", pressure: 0.5 }), 1);
  assert.equal(pressureOf({ pointerType: "touch", pressure: 0 }), 1);
  assert.equal(pressureOf({ pointerType: "pen", pressure: 0 }), 0.1);
  assert.equal(pressureOf({ pointerType: "pen", pressure: 0.5 }), 0.55);
  assert.equal(pressureOf({ pointerType: "pen", pressure: 7 }), 1);
});

test("a line ends at the pointer, or at the nearest multiple of 15 degrees", () => {
  const start = { tool: "line", size: 4, points: [100, 100, 1] };
  assert.deepEqual(lineTo(start, [150, 103], CANVAS).points, [100, 100, 1, 150, 103, 1]);
  assert.deepEqual(lineTo(start, [150, 103], CANVAS, true).points, [100, 100, 1, 150.1, 100, 1]);
});

test("undo and redo go step by step, and a new stroke forgets what was undone", () => {
  const history = new History();
  for (const value of ["a", "b", "c"]) history.push(value);
  assert.deepEqual([history.step(-1), history.step(-1), history.step(-1)], ["b", "a", ""]);
  assert.equal(history.step(-1), null);
  assert.equal(history.step(1), "a");
  history.push("d");
  assert.equal(history.can(1), false);
  assert.deepEqual(history.values, ["", "a", "d"]);
});

test("undo of the page moves in the same steps; another drawing begins anew", () => {
  const history = new History();
  for (const value of ["a", "b", "a", "c"]) history.push(value);
  history.visit("a");
  assert.equal(history.index, 3, "the nearest of two");
  assert.equal(history.step(1), "c");
  history.visit("other");
  assert.deepEqual([history.values, history.index], [["other"], 0]);
});

// A picture of signs: '#' holds a fill back, '+' is a soft edge of it.
const ALPHA = { "#": 255, "+": 60, ".": 0 };
const pixels = (rows) => Uint8ClampedArray.from(
  [...rows.join("")].flatMap((sign) => [0, 0, 0, ALPHA[sign]]));
const alphas = (data) => [...data].filter((_, i) => i % 4 === 3);

test("a fill stops at strokes and takes their soft edges, not the other side", () => {
  const rows = [".....", ".###.", ".#.#.", ".#+#.", ".###.", "....."];
  const inside = pixels(rows);
  assert.equal(flood(inside, 5, 6, 2, 2), true);
  const filled = [".....", ".###.", ".###.", ".###.", ".###.", "....."];
  assert.deepEqual(alphas(inside), alphas(pixels(filled)));
  const outside = pixels(rows);
  flood(outside, 5, 6, 0, 0);
  const around = ["#####", "#####", "##.##", "##+##", "#####", "#####"];
  assert.deepEqual(alphas(outside), alphas(pixels(around)));
});

test("a fill on a stroke or beside the canvas does nothing", () => {
  const data = pixels(["#.", ".."]);
  for (const [x, y] of [[0, 0], [-1, 0], [2, 0], [0, 2]])
    assert.equal(flood(data, 2, 2, x, y), false);
});

test("a fill reaches around corners", () => {
  const rows = [".#...", ".#.#.", ".#.#.", "...#."];
  const data = pixels(rows);
  flood(data, 5, 4, 0, 0);
  assert.deepEqual(new Set(alphas(data)), new Set([255]));
});

test("a drawing is sent once, and what could not be stored is sent again", async () => {
  const sent = [], problems = ["the disk is full.", "", ""];
  const send = async (text) => {
    sent.push(text);
    return { problem: problems.shift() };
  };
  const store = new DrawingStore({ send, fetch: null });
  const name = store.name("{}");
  assert.match(name, /^[0-9a-f]{64}\.json$/);
  const both = await Promise.all([store.keep(name), store.keep(name)]);
  assert.deepEqual([both, sent.length], [["the disk is full.", "the disk is full."], 1]);
  assert.equal(await store.keep(name), "");
  assert.equal(await store.keep(name), "");
  assert.deepEqual([sent.length, store.text(name)], [2, "{}"]);
  await store.settled();
});

test("a drawing is read once; one that is not there is asked for again", async () => {
  let asked = 0;
  const fetch = async (name) => {
    asked += 1;
    return name === "a" ? { text: "{}", problem: "" } : { problem: "it is gone" };
  };
  const store = new DrawingStore({ send: null, fetch });
  for (let i = 0; i < 2; i++) assert.deepEqual(await store.read("a"), { text: "{}", problem: "" });
  for (let i = 0; i < 2; i++) assert.equal((await store.read("b")).problem, "it is gone");
  assert.equal(asked, 3);
  assert.equal(await store.keep("a"), "", "it came from the server");
});

test("a sheet lies whole in its stage, and zooms around the pointer", () => {
  const view = new SheetView();
  assert.deepEqual(view.place([200, 100], [400, 400]),
    { left: 0, top: 100, width: 400, height: 200 });
  const under = ({ left, top, width }) => [(300 - left) / width, (200 - top) / width];
  const before = under(view.place([200, 100], [400, 400]));
  view.zoomBy(2, [100, 0]); // 300, 200 of the stage
  assert.deepEqual(under(view.place([200, 100], [400, 400])), before);
  view.moveBy(10, 5);
  assert.deepEqual(view.shift, [-90, 5]);
  view.zoomBy(0.1);
  assert.deepEqual(view.place([200, 100], [400, 400]),
    { left: 0, top: 100, width: 400, height: 200 });
});
