// The hints of a panel's rows in ComfyUI's history.
import assert from "node:assert/strict";
import { test } from "node:test";
import { pastHints } from "../../js/lib/past_hints.js";

const hintsOf = (...given) => Object.fromEntries(pastHints(...given));

const row = (id, more = {}) => ({ id, on: true, net: "n", image: 0, method: "canny", ...more });
const prompt = (rows, file = "a.png", loader = "7") => ({
  [loader]: { class_type: "LoadImage", inputs: { image: file } },
  5: {
    class_type: "ControlStackPanel",
    inputs: { rows: JSON.stringify({ v: 1, rows }), "images.image0": [loader, 0] },
  },
});
const picture = (filename) => ({ filename, subfolder: "", type: "temp" });
const run = (number, nodes, outputs) =>
  ({ prompt: [number, `p${number}`, nodes, {}, []], outputs });
const ROWS = [row("a1"), row("a2", { method: "hed" })];
const BOTH = {
  "5.0.0.row.a1.hint": { images: [picture("one")] },
  "5.0.0.row.a2.hint": { images: [picture("two")] },
};

test("rows that are as they were get their pictures, whatever their strength", () => {
  const history = { x: run(3, prompt(ROWS), BOTH) };
  const now = prompt([row("a1", { strength: 0.2 }), ROWS[1]]);
  assert.deepEqual(hintsOf(history, now, "5"), { a1: picture("one"), a2: picture("two") });
});

test("another setting, another picture or none of the panel gives none", () => {
  const history = { x: run(3, prompt(ROWS), BOTH) };
  const others = [row("a1", { params: { low_threshold: 9 } }), row("a3")];
  assert.deepEqual(hintsOf(history, prompt(others), "5"), {});
  assert.deepEqual(hintsOf(history, prompt(ROWS, "b.png"), "5"), {});
  assert.deepEqual(hintsOf(history, prompt(ROWS), "4"), {});
});

test("the newest run counts, and one that was cached hides no older one", () => {
  const newer = { "5.0.0.row.a1.hint": { images: [picture("newer")] } };
  const history = { new: run(10, prompt(ROWS), newer), old: run(9, prompt(ROWS), BOTH) };
  history.cached = run(11, prompt(ROWS), {});
  const expected = { a1: picture("newer"), a2: picture("two") };
  assert.deepEqual(hintsOf(history, prompt(ROWS), "5"), expected);
});

test("nodes and the panel may have other names, and a broken text gives nothing", () => {
  const history = { x: run(3, prompt(ROWS, "a.png", "70"), BOTH) };
  assert.equal(hintsOf(history, prompt(ROWS), "5").a1.filename, "one");
  const copy = prompt(ROWS);
  copy[12] = copy[5];
  assert.equal(hintsOf(history, copy, "12").a2.filename, "two");
  history.x.prompt[2][5].inputs.rows = "{";
  assert.deepEqual(hintsOf(history, prompt(ROWS), "5"), {});
});
