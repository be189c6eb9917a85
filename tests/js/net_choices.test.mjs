// Which nets a list offers, and how it names them.
import assert from "node:assert/strict";
import test from "node:test";

import { isWithoutNets, label, offered } from "../../js/lib/net_choices.js";
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

test("a file that is something else is left out, and named where it is the saved one", () => {
  const lora = { is: "LoRA", fits: null, is_net: false };
  const unknown = { is: "", fits: null };
  const table = { base: "", nets: { "a.safetensors": lora, "b.safetensors": unknown } };
  assert.deepEqual(offered(["a.safetensors", "b.safetensors"], table, "b.safetensors"), [
    "b.safetensors",
  ]);
  assert.deepEqual(offered(["b.safetensors", "a.safetensors"], table, "a.safetensors"), [
    ...["b.safetensors", "a.safetensors"],
  ]);
  assert.equal(label("a.safetensors", table), "a.safetensors  ·  LoRA, not a ControlNet");
  assert.equal(isWithoutNets(table), false);
  assert.equal(isWithoutNets({ nets: { "a.safetensors": lora } }), true);
  assert.equal(isWithoutNets({ nets: {} }), true);
});
