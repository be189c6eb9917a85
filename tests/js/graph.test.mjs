// What the graph says, what is asked of the server, and what a list of nets offers: without a page.
import assert from "node:assert/strict";
import test from "node:test";

import { hintRequest, promptFor } from "../../js/lib/hint_request.js";
import { label, offered } from "../../js/lib/net_choices.js";
import * as graph from "../../js/lib/graph.js";
import { wordsOf } from "../../js/lib/words.js";

test("a node's settings become a question about its picture", () => {
  const canny = hintRequest(
    "ControlStackCanny",
    { low_threshold: 50, high_threshold: 90, resolution: 512 },
    "a.png",
  );
  assert.deepEqual(canny, {
    image: "a.png",
    method: "ControlStackCanny",
    resolution: 512,
    params: { low_threshold: 50, high_threshold: 90 },
  });
});

test("any method's settings lose the name of their list", () => {
  const any = hintRequest(
    "ControlStackPreprocess",
    { method: "xdog", "method.threshold": 9, resolution: 0 },
    "a.png",
  );
  assert.deepEqual(any, {
    image: "a.png",
    method: "xdog",
    resolution: 0,
    params: { threshold: 9 },
  });
});

test("without a picture of its own there is nothing to ask", () => {
  assert.equal(hintRequest("ControlStackCanny", { resolution: 0 }, null), null);
});

test("the prompt for one hint keeps every node and adds the one that asks", () => {
  const output = {
    1: { class_type: "LoadImage", inputs: {} },
    7: { class_type: "ControlStackCanny", inputs: {} },
  };
  const prompt = promptFor(output, "7");
  assert.deepEqual(prompt.output[prompt.target], {
    class_type: "PreviewImage",
    inputs: { images: ["7", 0] },
  });
  assert.deepEqual(Object.keys(prompt.output).length, 3);
  assert.equal(Object.keys(output).length, 2);
});

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
  assert.deepEqual(offered(NAMES, TABLE, "gone.safetensors"), [
    "gone.safetensors",
    "a.safetensors",
    "c.pth",
  ]);
});

test("where none is known to fit, all are offered", () => {
  const none = { base: "Flux", nets: { "b.safetensors": { is: "x", fits: false } } };
  assert.deepEqual(offered(NAMES, none, "a.safetensors"), NAMES);
});

test("a net is shown with its family", () => {
  assert.equal(label("a.safetensors", TABLE), "a.safetensors  ·  ControlNet for SDXL");
  assert.equal(
    label("b.safetensors", TABLE),
    "b.safetensors  ·  ControlNet for SD1.5, does not fit SDXL",
  );
  assert.equal(label("c.pth", TABLE), "c.pth");
  assert.equal(label("d", null), "d");
  const chinese = {
    base: "SDXL",
    nets: { "b.pth": { is: "union ControlNet for SD1.5", base: "SD1.5", fits: false } },
  };
  assert.equal(
    label("b.pth", chinese, wordsOf("zh")),
    "b.pth  ·  SD1.5 的 union ControlNet，不适用于 SDXL",
  );
});

// A graph of {name: {widgets, inputs: {input: name}}}.
function hostOf(graph) {
  const nodes = new Map(Object.entries(graph).map(([name, node]) => [name, { name, ...node }]));
  return {
    node: (name) => nodes.get(name),
    widget: (node, name) =>
      name in (node.widgets ?? {}) ? { value: node.widgets[name] } : undefined,
    source: (node, input) => nodes.get(node.inputs?.[input]) ?? null,
    targets: (node) =>
      [...nodes.values()].filter((one) => Object.values(one.inputs ?? {}).includes(node.name)),
  };
}

const GRAPH = hostOf({
  checkpoint: { widgets: { ckpt_name: "xl.safetensors" } },
  lora: { widgets: { lora_name: "l" }, inputs: { model: "checkpoint" } },
  load: { widgets: { control_net_name: "a.safetensors" } },
  add: { inputs: { control_net: "load" } },
  second: { inputs: { stack: "add" } },
  apply: { inputs: { stack: "second", model: "lora" } },
  sampler: { widgets: { steps: 24 }, inputs: { positive: "apply" } },
});

test("the sampler's steps, the net's file and the model are found along the wires", () => {
  assert.equal(graph.samplerSteps(GRAPH, GRAPH.node("add")), 24);
  assert.equal(graph.netFile(GRAPH, GRAPH.node("add")), "a.safetensors");
  assert.deepEqual(graph.baseModel(GRAPH, GRAPH.node("load")), {
    folder: "checkpoints",
    name: "xl.safetensors",
  });
});

test("steps that come over sigmas are found; none is null; a circle ends", () => {
  const custom = hostOf({
    add: {},
    guider: { inputs: { conditioning: "add" } },
    scheduler: { widgets: { steps: 9 } },
    sampler: { inputs: { guider: "guider", sigmas: "scheduler" } },
  });
  assert.equal(graph.samplerSteps(custom, custom.node("add")), 9);
  assert.equal(graph.samplerSteps(hostOf({ add: {} }), { name: "add" }), null);
  const circle = hostOf({
    a: { inputs: { x: "b", model: "b" } },
    b: { inputs: { x: "a", model: "a" } },
  });
  assert.equal(graph.samplerSteps(circle, circle.node("a")), null);
  assert.equal(graph.baseModel(circle, circle.node("a")), null);
});
