// What is asked of the server, and the prompt for one hint.
import assert from "node:assert/strict";
import test from "node:test";

import { hintRequest, promptFor } from "../../js/lib/hint_request.js";

test("a node's settings become a request for its picture's hint", () => {
  const values = { low_threshold: 50, high_threshold: 90, resolution: 512 };
  const canny = hintRequest("ControlStackCanny", values, "a.png");
  const params = { low_threshold: 50, high_threshold: 90 };
  const expected = { image: "a.png", method: "ControlStackCanny", resolution: 512, params };
  assert.deepEqual(canny, expected);
});

test("any method's settings lose the name of their list", () => {
  const values = { method: "xdog", "method.threshold": 9, resolution: 0 };
  const any = hintRequest("ControlStackPreprocess", values, "a.png");
  const params = { threshold: 9 };
  assert.deepEqual(any, { image: "a.png", method: "xdog", resolution: 0, params });
});

test("without a picture of its own there is nothing to ask", () => {
  assert.equal(hintRequest("ControlStackCanny", { resolution: 0 }, null), null);
});

test("the prompt for one hint has every node and the one that previews it", () => {
  const output = {
    1: { class_type: "LoadImage", inputs: {} }, 7: { class_type: "ControlStackCanny", inputs: {} },
  };
  const prompt = promptFor(output, "7");
  const preview = { class_type: "PreviewImage", inputs: { images: ["7", 0] } };
  assert.deepEqual(prompt.output[prompt.target], preview);
  assert.deepEqual(Object.keys(prompt.output).length, 3);
  assert.equal(Object.keys(output).length, 2);
});
