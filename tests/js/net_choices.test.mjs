// Which nets a list offers, and how it names them.
import assert from "node:assert/strict";
import test from "node:test";

import { label, offered } from "../../js/lib/net_choices.js";
import { wordsOf } from "../../js/lib/words.js";

const TABLE = {
  base: "SDXL",
  nets: {
    "a.safetensors": { is: "ControlNet for SDXL", fits: true },
    "b.safetensors": { is: "ControlNet for SD1.5", fits: false },
    "c.pth": { is: "", fits: null },
  },
};
const NAMES = ["a.safetensors", "b.safetensors", "c.pth"];

test("nets of another family are left out, unknown ones stay", () => {
  assert.deepEqual(offered(NAMES, TABLE, "a.safetensors"), ["a.safetensors", "c.pth"]);
});

test("the saved net is never dropped, be it of another family or gone", () => {
  assert.deepEqual(offered(NAMES, TABLE, "b.safetensors"), NAMES);
  const withGone = ["gone.safetensors", "a.safetensors", "c.pth"];
  assert.deepEqual(offered(NAMES, TABLE, "gone.safetensors"), withGone);
});

test("where none is certain to fit, all are offered", () => {
  const none = { base: "Flux", nets: { "b.safetensors": { is: "x", fits: false } } };
  assert.deepEqual(offered(NAMES, none, "a.safetensors"), NAMES);
});

test("a net is shown with its family", () => {
  assert.equal(label("a.safetensors", TABLE), "a.safetensors  ·  ControlNet for SDXL");
  const other = "b.safetensors  ·  ControlNet for SD1.5, does not fit SDXL";
  assert.equal(label("b.safetensors", TABLE), other);
  assert.equal(label("c.pth", TABLE), "c.pth");
  assert.equal(label("d", null), "d");
});

test("a net's family is translated", () => {
  const net = { is: "union ControlNet for SD1.5", base: "SD1.5", fits: false };
  const chinese = label("b.pth", { base: "SDXL", nets: { "b.pth": net } }, wordsOf("zh"));
  assert.equal(chinese, "b.pth  ·  SD1.5 的 union ControlNet，不适用于 SDXL");
});
