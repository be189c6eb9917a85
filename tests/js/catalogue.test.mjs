// What a declaration of ComfyUI tells about methods and choices.
import assert from "node:assert/strict";
import test from "node:test";

import { choicesOf, methodsOf } from "../../js/lib/catalogue.js";

const CANNY = {
  required: {
    low: ["INT", { default: 100, min: 0, max: 255, step: 1, tooltip: "weak" }],
    engine: ["COMBO", { options: ["a", "b"], tooltip: "which" }],
  },
  optional: { safe: ["BOOLEAN", { default: false }] },
};
const DECLARED = {
  required: {
    method: ["COMFY_DYNAMICCOMBO_V3", { options: [
      { key: "canny", inputs: CANNY }, { key: "plain", inputs: {} }] }],
    old: [["x", "y"], {}],
    mode: ["COMBO", { options: ["balanced"] }],
  },
};

test("methods have their settings, with kinds and limits", () => {
  const { canny, plain } = methodsOf(DECLARED);
  assert.deepEqual(plain, []);
  assert.deepEqual(canny.map(({ name, kind }) => [name, kind]),
    [["low", "INT"], ["engine", "COMBO"], ["safe", "BOOLEAN"]]);
  assert.deepEqual([canny[0].min, canny[0].max, canny[0].default], [0, 255, 100]);
  assert.deepEqual([canny[1].choices, canny[1].default], [["a", "b"], "a"]);
});

test("choices are read in both forms, and nothing breaks without a declaration", () => {
  assert.deepEqual(choicesOf(DECLARED, "old"), ["x", "y"]);
  assert.deepEqual(choicesOf(DECLARED, "mode"), ["balanced"]);
  assert.deepEqual(choicesOf(undefined, "mode"), []);
  assert.deepEqual(methodsOf(undefined), {});
});
