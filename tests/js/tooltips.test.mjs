import assert from "node:assert/strict";
import test from "node:test";
import { Tooltips } from "../../js/tooltips.js";

const OPTIONS = [
  { key: "canny", inputs: { required: { threshold: ["INT", { tooltip: "of canny" }] } } },
  {
    key: "xdog",
    inputs: {
      required: { threshold: ["INT", { tooltip: "of xdog" }] },
      optional: { new: ["INT", { tooltip: "new" }] },
    },
  },
];
const NODES = {
  ControlStackPreprocess: {
    required: { image: ["IMAGE", {}], method: ["COMFY_DYNAMICCOMBO_V3", { options: OPTIONS }] },
  },
  ControlStackCanny: { required: { threshold: ["INT", { tooltip: "of canny" }] } },
  ControlStackXDoG: { required: { threshold: ["INT", { tooltip: "of xdog" }] } },
};
const CHINESE = {
  ControlStackCanny: { inputs: { threshold: { tooltip: "坎尼" } } },
  ControlStackXDoG: { inputs: {} },
};

async function tooltips(language) {
  const host = {
    setting: () => language,
    translations: async () => ({ zh: { nodeDefs: CHINESE } }),
    comfyClass: (node) => node.type,
    widget: (node, name) => node.widgets.find((widget) => widget.name === name),
  };
  const loaded = new Tooltips(host);
  for (const [id, declared] of Object.entries(NODES)) loaded.declare(id, declared);
  await loaded.load();
  return loaded;
}

function node(type = "ControlStackPreprocess") {
  return {
    type,
    widgets: [{ name: "method", value: "canny" }, { name: "method.threshold" }],
    addCustomWidget(widget) {
      this.widgets.push(widget);
      return widget;
    },
  };
}

test("a setting shows the text of the chosen method", async () => {
  const preprocess = node();
  (await tooltips("en")).watch(preprocess);
  assert.equal(preprocess.widgets[1].tooltip, "of canny");
  preprocess.widgets[0].value = "xdog";
  assert.equal(preprocess.widgets[1].tooltip, "of xdog");
});

test("settings that a choice brings later show theirs, whatever the frontend writes", async () => {
  const preprocess = node();
  (await tooltips("en")).watch(preprocess);
  preprocess.widgets[0].value = "xdog";
  const added = preprocess.addCustomWidget({ name: "method.new" });
  added.tooltip = "written by the frontend";
  assert.equal(added.tooltip, "new");
});

test("a translation is that of the method's own node, and English where it has none", async () => {
  const preprocess = node();
  (await tooltips("zh")).watch(preprocess);
  assert.equal(preprocess.widgets[1].tooltip, "坎尼");
  preprocess.widgets[0].value = "xdog";
  assert.equal(preprocess.widgets[1].tooltip, "of xdog");
});

test("nodes without such a choice, and nodes of others, are left alone", async () => {
  const canny = node("ControlStackCanny"),
    stranger = node("SomeNode");
  const ours = await tooltips("en");
  ours.watch(canny);
  ours.watch(stranger);
  assert.ok(!("tooltip" in canny.widgets[1]) && !("tooltip" in stranger.widgets[1]));
});
