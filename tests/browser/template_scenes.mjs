// Opens each template as the template browser does, in windows of several sizes, and prints how it
// is drawn as JSON. node template_scenes.mjs ASK.json, with browser.mjs's keys and {"workflows":
// {NAME: UI-form JSON}, "windows": [[width, height], ...], "looked": whether to read the prompts}
//   → {NAME: {"1600x1000": {"zoom", "smallest": [pixels, text], "red", "overlaps", "covered"},
//   ...}, "looks": {NAME: see look.mjs}, "errors": [...]}
import { join } from "node:path";
import { ask, atRest, frames, launch, openPage, settle } from "./browser.mjs";
import { look } from "./look.mjs";

const BADGE_PX = 6; // of ground around a badge's text

// Remembers the size and the place in which each text was drawn on the canvas, in pixels of the
// screen.
const watchTexts = (page) =>
  page.addInitScript((BADGE_PX) => {
    window.drawnTexts = [];
    for (const name of ["fillText", "strokeText"]) {
      const draw = CanvasRenderingContext2D.prototype[name];
      CanvasRenderingContext2D.prototype[name] = function (text, x, y, ...rest) {
        // Frames are drawn on a canvas of their own, which is then copied.
        const isGraph = [this.canvas.id, this.canvas].some((one) =>
          ["graph-canvas", window.app?.canvas?.bgcanvas].includes(one || null),
        );
        if (String(text).trim() && isGraph) {
          const at = this.getTransform(), ratio = window.devicePixelRatio;
          const zoom = Math.hypot(at.a, at.b) / ratio;
          const px = Number(/([\d.]+)px/.exec(this.font)?.[1] ?? 0) * zoom;
          const width = this.measureText(text).width * zoom;
          const left = (at.a * x + at.c * y + at.e) / ratio;
          const start = { right: width, end: width, center: width / 2 }[this.textAlign] ?? 0;
          const middle = (at.b * x + at.d * y + at.f) / ratio - px * 0.35;
          const place = { px, left: left - start, width, middle, pad: BADGE_PX * zoom };
          window.drawnTexts.push({ text: String(text), ...place });
        }
        return draw.call(this, text, x, y, ...rest);
      };
    }
  }, BADGE_PX);

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
    const drawn = window.drawnTexts;
    const sizes = drawn.map(({ text, px }) => [px, text]);
    const titles = graph.groups.map((group) => group.title);
    // A frame's title that something else is written over.
    const covered = drawn
      .filter(({ text }) => titles.includes(text))
      .filter(({ left, width, middle, px }) =>
        drawn.some(
          (one) =>
            !titles.includes(one.text) &&
            Math.abs(one.middle - middle) < (one.px + px) / 2 &&
            one.left - one.pad < left + width &&
            left < one.left + one.width + one.pad,
        ),
      )
      .map(({ text }) => text);
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
      titles: nodes
        .map((node) => node.title)
        .filter((title) => !drawn.some((one) => one.text === title)),
      covered: [...new Set(covered)],
      undrawn: titles.filter((title) => !drawn.some((one) => one.text === title)),
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
  outcomes.looks = {};
  for (const [index, [width, height]] of ask.windows.entries()) {
    await page.setViewportSize({ width, height });
    await frames(page, 4);
    for (const [name, workflow] of Object.entries(ask.workflows)) {
      await open(page, name, workflow);
      await atRest(page, () =>
        page.evaluate(() => [window.app.canvas.ds.scale, ...window.app.canvas.ds.offset]),
      );
      await page.evaluate(() => {
        window.drawnTexts.length = 0;
        window.app.canvas.setDirty(true, true);
      });
      await frames(page, 6);
      (outcomes[name] ??= {})[`${width}x${height}`] = await read(page);
      if (index === 0) {
        if (ask.looked) outcomes.looks[name] = { ...(await look(page)), errors: errors.slice() };
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
