// What a graph tells about a control, without a page.
import assert from "node:assert/strict";
import test from "node:test";

import * as graph from "../../js/lib/graph.js";

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

test("the sampler's steps, the net's file and the model are read along the wires", () => {
  assert.equal(graph.samplerSteps(GRAPH, GRAPH.node("add")), 24);
  assert.equal(graph.netFile(GRAPH, GRAPH.node("add")), "a.safetensors");
  assert.deepEqual(graph.baseModel(GRAPH, GRAPH.node("load")), {
    folder: "checkpoints",
    name: "xl.safetensors",
  });
});

test("steps are read through sigmas; without a sampler null; a cycle ends", () => {
  const custom = hostOf({
    add: {},
    guider: { inputs: { conditioning: "add" } },
    scheduler: { widgets: { steps: 9 } },
    sampler: { inputs: { guider: "guider", sigmas: "scheduler" } },
  });
  assert.equal(graph.samplerSteps(custom, custom.node("add")), 9);
  assert.equal(graph.samplerSteps(hostOf({ add: {} }), { name: "add" }), null);
  const cycle = hostOf({
    a: { inputs: { x: "b", model: "b" } },
    b: { inputs: { x: "a", model: "a" } },
  });
  assert.equal(graph.samplerSteps(cycle, cycle.node("a")), null);
  assert.equal(graph.baseModel(cycle, cycle.node("a")), null);
});
