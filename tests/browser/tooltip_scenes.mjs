// Hovers over every setting that a method brings, and prints the labels and the tooltips that the
// page shows as JSON, for all renderers and languages side by side. node tooltip_scenes.mjs
// ASK.json, with browser.mjs's keys (no "vue") and {"locales": ["en", "zh"], "nodes": {NODE:
// [METHOD, ...]}}
//   → {LOCALE: {RENDERER: {NODE: {METHOD: {NAME: {"label", "slot", "value"}}}, "errors": [...]}}};
//   slot: over the label (only in classic), value: over the value
import { ask, frames, launch, openPage, settle } from "./browser.mjs";

const NAMES = { classic: ".node-tooltip", nodes2: ".p-tooltip-text" };
const VIEW = { width: 1000, height: 900 };
const NOTHING = [700, 450]; // bare canvas: buttons of the page have tooltips too
const APPEARS_FRAMES = 15; // the delay of a tooltip is set to 1 ms

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
const settings = (page, vue) =>
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
  }, vue);

// Until a tooltip is there (or none is), for so many frames at most: its text.
const watch = (page, tip, isThere, count) =>
  page.evaluate(
    ({ tip, isThere, count }) => {
      const text = () =>
        [...document.querySelectorAll(tip)]
          .filter((one) => one.offsetParent !== null)
          .map((one) => one.textContent.trim())
          .find(Boolean) ?? "";
      return new Promise((done) => {
        const look = (left) => {
          const now = text();
          if (Boolean(now) === isThere || !left) done(now);
          else requestAnimationFrame(() => look(left - 1));
        };
        requestAnimationFrame(() => look(count));
      });
    },
    { tip, isThere, count },
  );

async function tooltip(page, tip, spot) {
  if (!spot) return null;
  await page.mouse.move(...NOTHING);
  await watch(page, tip, false, 200);
  await page.mouse.move(...spot, { steps: 3 });
  return watch(page, tip, true, APPEARS_FRAMES);
}

// A page of each renderer and language, each in a browser of its own: hovering needs the one that
// is in front.
async function open(vue, locale) {
  const browser = await launch();
  const changed = { "Comfy.VueNodes.Enabled": vue, "Comfy.Locale": locale };
  return { browser, vue, locale, ...(await openPage(browser, { viewport: VIEW, changed })) };
}

async function hover({ page, errors, vue }) {
  const seen = {};
  const tip = NAMES[vue ? "nodes2" : "classic"];
  for (const [type, methods] of Object.entries(ask.nodes)) {
    seen[type] = {};
    for (const method of methods) {
      await create(page, type, method);
      seen[type][method] = {};
      for (const { name, label, slot, value } of await settings(page, vue)) {
        seen[type][method][name] = {
          label,
          slot: await tooltip(page, tip, slot),
          value: await tooltip(page, tip, value),
        };
      }
    }
  }
  return { ...seen, errors };
}

const opened = [];
const seen = {};
try {
  await settle({ "LiteGraph.Node.TooltipDelay": 1, "Comfy.EnableTooltips": true });
  for (const locale of ask.locales)
    for (const vue of [false, true]) opened.push(await open(vue, locale));
  await Promise.all(
    opened.map(async (one) => {
      (seen[one.locale] ??= {})[one.vue ? "nodes2" : "classic"] = await hover(one);
    }),
  );
} finally {
  await Promise.all(opened.map(({ browser }) => browser.close()));
}
console.log(JSON.stringify(seen));
