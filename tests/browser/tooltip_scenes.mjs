// Hovers over every setting that a method brings, and prints the labels and the tooltips that the
// page shows as JSON. node tooltip_scenes.mjs ASK.json, with browser.mjs's keys and {"locale": "en"
// or "zh", "nodes": {NODE: [METHOD, ...]}}
//   → {NODE: {METHOD: {NAME: {"label", "slot", "value"}}}, "errors": [...]}; slot: over the label,
//   value: over the value
import { ask, frames, launch, openPage, post, settle, until } from "./browser.mjs";

const NAMES = { classic: ".node-tooltip", nodes2: ".p-tooltip-text" };
const TIP = NAMES[ask.vue ? "nodes2" : "classic"];

async function create(page, type, method) {
  await page.evaluate(
    async ({ type, method }) => {
      window.app.graph.clear();
      const node = LiteGraph.createNode(type);
      node.pos = [100, 60];
      window.app.graph.add(node);
      node.widgets.find((widget) => widget.name === "method").value = method;
      node.setSize([420, node.computeSize()[1]]);
      window.app.canvas.ds.scale = 1;
      window.app.canvas.ds.offset = [0, 60];
      window.app.canvas.setDirty(true, true);
    },
    { type, method },
  );
  await frames(page, 6);
}

// What the method brought: names, labels, and where each is hovered on the screen.
const settings = (page) =>
  page.evaluate((vue) => {
    const [node] = window.app.graph.nodes ?? window.app.graph._nodes;
    const { canvas, ds } = window.app.canvas;
    const frame = canvas.getBoundingClientRect();
    return node.widgets
      .filter((widget) => widget.name.startsWith("method."))
      .map((widget, index) => {
        const name = widget.name.slice("method.".length);
        if (vue) {
          const rows = [...document.querySelectorAll("[data-node-id] .lg-node-widget")];
          const at = node.widgets.indexOf(widget);
          const box = rows[at]?.getBoundingClientRect();
          if (!box) return { name, label: widget.label };
          return {
            name,
            label: widget.label,
            value: [box.x + box.width * 0.7, box.y + 10],
            slot: [box.x + 30, box.y + box.height / 2],
          };
        }
        const at = (x, y) => [
          frame.x + (node.pos[0] + x + ds.offset[0]) * ds.scale,
          frame.y + (node.pos[1] + y + ds.offset[1]) * ds.scale,
        ];
        const middle = widget.y + 10;
        return {
          name,
          label: widget.label,
          slot: at(12, middle),
          value: at(node.size[0] * 0.7, middle),
        };
      });
  }, ask.vue);

async function tooltip(page, spot) {
  if (!spot) return null;
  await page.mouse.move(5, 5);
  await until(
    page,
    (tip) =>
      ![...document.querySelectorAll(tip)].some(
        (one) => one.offsetParent !== null && one.textContent,
      ),
    TIP,
  );
  await page.mouse.move(...spot, { steps: 3 });
  const shown = () =>
    page.evaluate(
      (tip) =>
        [...document.querySelectorAll(tip)].map((one) => one.textContent.trim()).find(Boolean) ??
        "",
      TIP,
    );
  for (let wait = 0; wait < 25; wait += 1) {
    const text = await shown();
    if (text) return text;
    await page.waitForTimeout(20);
  }
  return "";
}

const browser = await launch();
const seen = {};
try {
  await settle();
  await post("/api/settings/Comfy.Locale", ask.locale);
  await post("/api/settings/LiteGraph.Node.TooltipDelay", 1);
  await post("/api/settings/Comfy.EnableTooltips", true);
  const { page, errors } = await openPage(browser, { viewport: { width: 1000, height: 900 } });
  for (const [type, methods] of Object.entries(ask.nodes)) {
    seen[type] = {};
    for (const method of methods) {
      await create(page, type, method);
      seen[type][method] = {};
      for (const { name, label, slot, value } of await settings(page)) {
        seen[type][method][name] = {
          label,
          slot: await tooltip(page, slot),
          value: await tooltip(page, value),
        };
      }
    }
  }
  if (ask.picture) await page.screenshot({ path: ask.picture });
  seen.errors = errors;
} finally {
  await post("/api/settings/Comfy.Locale", "en");
  await browser.close();
}
console.log(JSON.stringify(seen));
