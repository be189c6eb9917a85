// What a node says of what its net did or will not do, and of why it was refused.
import assert from "node:assert/strict";
import test from "node:test";

import { IDLE, bar, contradiction, refusals, withoutRepeats } from "../../js/lib/results.js";
import { WORDS, english } from "../../js/lib/words.js";

const FINE = { strength: 1, start_percent: 0, end_percent: 1 };

test("a bar tells the share of the step and the size of what was added", () => {
  const net = { share: 0.314, size: 0.1296, is_relative: true, reason: "" };
  assert.deepEqual(bar(net, english), {
    text: "31 % of the step · adds 0.130 of a block", fill: 0.314, isIdle: false,
  });
  assert.equal(bar({ ...net, is_relative: false, size: 123.456 }, english).text,
    "31 % of the step · adds 123.5");
  assert.equal(bar({ ...net, share: null }, english).text, "adds 0.130 of a block");
  assert.equal(bar({ ...net, share: 1.2 }, english).fill, 1);
});

test("a net that did nothing says why", () => {
  const reasons = IDLE.map((key) => key.replace("idle_", "")).filter((key) => key !== "instant");
  for (const reason of reasons) {
    const { text, isIdle } = bar({ share: null, size: null, is_relative: false, reason }, english);
    assert.ok(isIdle && /^(Does|Did|Added) nothing: /.test(text), text);
    assert.ok(WORDS.zh[`idle_${reason}`], reason);
  }
});

test("settings that contradict each other are found, others are not", () => {
  assert.equal(contradiction({ ...FINE, schedule: "", layers: "", frame_strength: "" }), "");
  assert.equal(contradiction({ ...FINE, strength: 0 }), "idle_strength");
  assert.equal(contradiction({ ...FINE, start_percent: 0.8, end_percent: 0.2 }), "idle_range");
  assert.equal(contradiction({ ...FINE, start_percent: 0.5, end_percent: 0.5 }), "idle_instant");
  assert.equal(contradiction({ ...FINE, schedule: "0:0, 1:0" }), "idle_schedule");
  assert.equal(contradiction({ ...FINE, schedule: "0：0" }), "idle_schedule");
  assert.equal(contradiction({ ...FINE, schedule: "0:0, 1:0.1" }), "");
  assert.equal(contradiction({ ...FINE, schedule: "no such text" }), "");
  assert.equal(contradiction({ ...FINE, frame_strength: "0:0, 8:0" }), "idle_frames");
  assert.equal(contradiction({ ...FINE, layers: "linear 0..0" }), "idle_layers");
  assert.equal(contradiction({ ...FINE, layers: "soft 0" }), "", "its middle block acts");
  assert.equal(contradiction({}), "", "everything comes over wires");
});

test("a refusal is one sentence, though ComfyUI repeats it for every input", () => {
  const error = (name) => ({
    type: "custom_validation_failed", message: "Custom validation failed for node",
    details: `${name} - layers: expected 'soft' - or not`, extra_info: { input_name: name },
  });
  assert.deepEqual(
    refusals([error("schedule"), error("layers")]),
    ["layers: expected 'soft' - or not"],
  );
  assert.deepEqual(
    refusals([{ message: "Required input is missing", details: "image", extra_info: {} }]),
    ["Required input is missing: image"],
  );
  assert.deepEqual(
    refusals([{
      ...{ type: "value_not_in_list", message: "Value not in list" },
      details: "control_net_name: 'gone.safetensors' not in ['a.safetensors']",
      extra_info: { input_name: "control_net_name", received_value: "gone.safetensors" },
    }]),
    ["control_net_name: 'gone.safetensors' was not found in models/controlnet or"
      + " models/model_patches. Put it there and press R, or choose another ControlNet."],
  );
  const two = { ...error("schedule"), details: "schedule - schedule: wrong. layers: wrong." };
  assert.deepEqual(refusals([two]), ["schedule: wrong.", "layers: wrong."]);
});

test("only the inputs that are wrong are marked", () => {
  const sentence = "layers: expected 'soft'. Write for example 'x'. union_type: expected 'auto'.";
  const errors = ["schedule", "layers", "union_type"].map((name) => ({
    message: "Custom validation failed for node", details: `${name} - ${sentence}`,
    extra_info: { input_name: name },
  }));
  const names = (list) => list.map(({ extra_info: more }) => more.input_name);
  assert.deepEqual(names(withoutRepeats(errors)), ["layers", "union_type"]);
  const other = [{ message: "Required input is missing", details: "image", extra_info: {} }];
  assert.deepEqual(withoutRepeats(other), other);
});
