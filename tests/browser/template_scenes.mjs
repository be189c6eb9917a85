// Opens each template as the template browser does, in windows of several sizes, and prints how it
// is drawn as JSON. node template_scenes.mjs ASK.json, with browser.mjs's keys and {"workflows":
// {NAME: UI-form JSON}, "windows": [[width, height], ...], "pictured": [NAME, ...]}
//   → {NAME: {"1600x1000": {"zoom", "smallest": [pixels, text], "red", "overlaps"}, ...},
//      "errors": [...]}
import { join } from "node:path";
import { ask, atRest, frames, launch, openPage, settle } from "./browser.mjs";

// Remembers the size in which each text was drawn on the canvas, in pixels of the screen.
const watchTexts = (page) =>
  page.addInitScript(() => {
    window.drawnTexts = new Map();
    for (const name of ["fillText", "strokeText"]) {
      const draw = CanvasRenderingContext2D.prototype[name];
      CanvasRenderingContext2D.prototype[name] = function (text, ...rest) {
        const { a, b } = this.getTransform();
        const px = Number(/([\d.]+)px/.exec(this.font)?.[1] ?? 0) * Math.hypot(a, b);
        if (String(text).trim() && this.canvas.id === "graph-canvas")
          window.drawnTexts.set(String(text), px / window.devicePixelRatio);
        return draw.call(this, text, ...rest);
      };
    }
  });

const open = (page, name, workflow) =>
  page.evaluate(
    ({ name, workflow }) =>
      window.app.loadGraphData(workflow, true, true, name, { openSource: "template" }),
    { name, workflow },
  );

const read = (page) =>
  page.evaluate(() => {
    const { graph, canvas } = window.app;
    const nodes = graph.nodes ?? graph._nodes;
    const sizes = [...window.drawnTexts].map(([text, px]) => [px, text]);
    // What has text of its own in a node: those of the page, and ours.
    const inNodes = document.querySelectorAll(".dom-widget *, [data-node-id] *");
    for (const element of inNodes) {
      const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
      const words = (element.value ?? text.map((node) => node.data).join("")).trim();
      const box = element.getBoundingClientRect();
      if (!words || !box.width || !box.height || !element.checkVisibility()) continue;
      const { scale } = canvas.ds;
      sizes.push([parseFloat(getComputedStyle(element).fontSize) * scale, words.slice(0, 40)]);
    }
    sizes.sort((a, b) => a[0] - b[0]);
    const boxes = nodes.map((node) => [node.title, ...node.getBounding()]);
    return {
      zoom: canvas.ds.scale,
      texts: sizes.length,
      titles: nodes.map((node) => node.title).filter((title) => !window.drawnTexts.has(title)),
      smallest: sizes[0] ?? null,
      small: sizes.slice(0, 6),
      red: nodes
        .filter((node) => node.has_errors || !(node.type in window.LiteGraph.registered_node_types))
        .map((node) => node.title),
      overlaps: boxes.flatMap(([a, ax, ay, aw, ah], i) =>
        boxes
          .slice(i + 1)
          .filter(([, x, y, w, h]) => ax < x + w && x < ax + aw && ay < y + h && y < ay + ah)
          .map(([b]) => [a, b]),
      ),
      size: [
        Math.max(...boxes.map((b) => b[1] + b[3])) - Math.min(...boxes.map((b) => b[1])),
        Math.max(...boxes.map((b) => b[2] + b[4])) - Math.min(...boxes.map((b) => b[2])),
      ],
    };
  });

const browser = await launch();
const outcomes = {};
try {
  await settle();
  const { page, errors } = await openPage(browser, { prepare: watchTexts });
  for (const [width, height] of ask.windows) {
    await page.setViewportSize({ width, height });
    await frames(page, 4);
    for (const [name, workflow] of Object.entries(ask.workflows)) {
      await open(page, name, workflow);
      await atRest(page, () =>
        page.evaluate(() => [window.app.canvas.ds.scale, ...window.app.canvas.ds.offset]),
      );
      await page.evaluate(() => {
        window.drawnTexts.clear();
        window.app.canvas.setDirty(true, true);
      });
      await frames(page, 6);
      (outcomes[name] ??= {})[`${width}x${height}`] = await read(page);
      if (ask.pictured?.includes(name)) {
        const cell = `${ask.cell}-${width}x${height}`;
        const file = name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "_");
        await page.screenshot({ path: join(ask.pictures, `template_${file}_${cell}.png`) });
      }
    }
  }
  outcomes.errors = errors;
} finally {
  await browser.close();
}
console.log(JSON.stringify(outcomes));
