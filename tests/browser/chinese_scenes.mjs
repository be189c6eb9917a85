// What our nodes show where the page speaks Chinese: every text on every node, names for screen
// readers and tooltips of our widgets, what nodes say after runs, and the report. Prints {"nodes":
// {TYPE: [TEXT, ...]}, "fields": [TEXT, ...], "said": {SCENE: [TEXT, ...]}, "errors": [...]} as
// JSON.
// node chinese_scenes.mjs ASK.json, with browser.mjs's keys and {"cell": NAME, "pictures": DIR,
// "single": UI-form JSON of a workflow with one net, "types": [TYPE, ...]}
import { join } from "node:path";
import { ask, atRest, frames, launch, openPage, settle, until } from "./browser.mjs";
import { panel, rest, start } from "./panel_page.mjs";
import { centre, open, openWithReport, run } from "./runs.mjs";
import { watchTexts, withoutWeights, withPhotograph } from "./runs.mjs";

const VIEW = { width: 2100, height: 1400 };
const EMPTY = {
  ...{ nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 },
  ...{ last_node_id: 0, last_link_id: 0 },
};
const SAID = ".controlstack-remark p, .controlstack-remark td, .controlstack-result";
const ADD = "ControlStackAdd";

// Every text of a type's nodes: drawn on the canvas within them, and in elements over them.
async function textsOf(page, types) {
  await page.evaluate(() => {
    window.drawnTexts.length = 0;
    window.app.canvas.setDirty(true, true);
  });
  await frames(page, 4);
  return page.evaluate((types) => {
    const { graph, canvas: frame, ds } = window.app.canvas;
    const page = frame.getBoundingClientRect();
    const seen = {};
    const NAMES = ["aria-label", "aria-valuetext", "title", "placeholder"];
    for (const node of graph.nodes.filter((one) => types.includes(one.type))) {
      const [x, y, width, height] = node.getBounding();
      const box = new DOMRect(
        page.x + (x + ds.offset[0]) * ds.scale, page.y + (y + ds.offset[1]) * ds.scale,
        width * ds.scale, height * ds.scale,
      );
      const isIn = (left, top) =>
        left >= box.x - 2 && left <= box.right && top >= box.y - 2 && top <= box.bottom;
      const texts = window.drawnTexts
        .filter(([, left, top]) => isIn(page.x + left, page.y + top))
        .map(([text]) => text);
      const own = document.querySelector(`[data-node-id="${node.id}"]`);
      const elements = own
        ? [...own.querySelectorAll("*")]
        : [...document.querySelectorAll(".dom-widget *")].filter((one) => {
            const { x, y, width, height } = one.getBoundingClientRect();
            return isIn(x + width / 2, y + height / 2);
          });
      // What is behind a click or outside of a view is read too.
      const whole = ".controlstack-field, .controlstack-report";
      const ours = elements.filter((one) => one.matches(whole));
      const inside = ours.flatMap((one) => [...one.querySelectorAll("*")]);
      const visible = elements.filter((one) => one.checkVisibility());
      for (const one of new Set([...visible, ...inside])) {
        if (one.closest(".controlstack-field, .controlstack-compare, .controlstack-switch"))
          texts.push(...NAMES.map((name) => one.getAttribute(name) ?? ""));
        for (const child of one.childNodes)
          if (child.nodeType === Node.TEXT_NODE) texts.push(child.data);
      }
      seen[node.type] = [...new Set(texts.map((text) => text.trim()).filter(Boolean))];
    }
    return seen;
  }, types);
}

async function everyNode(page) {
  await page.evaluate(
    async ([empty, types]) => {
      const { app } = window;
      await app.loadGraphData(empty);
      const bottoms = Array(7).fill(60);
      const tall = (node) => node.computeSize()[1] + (node.type === "ControlStackCanny" ? 320 : 60);
      for (const type of types) {
        const node = LiteGraph.createNode(type);
        const column = bottoms.indexOf(Math.min(...bottoms));
        node.pos = [40 + 340 * column, bottoms[column]];
        app.graph.add(node);
        node.setSize([310, node.computeSize()[1]]);
        const room = type === "ControlStackAdd" ? 720 : tall(node);
        bottoms[column] += Math.max(room, tall(node)) + 50;
      }
      const source = LiteGraph.createNode("LoadImage");
      source.pos = [-300, 60];
      app.graph.add(source);
      source.widgets.find((one) => one.name === "image").value = "example.png";
      const canny = app.graph.nodes.find((one) => one.type === "ControlStackCanny");
      source.connect(0, canny, 0);
      const add = app.graph.nodes.find((one) => one.type === "ControlStackAdd");
      add.widgets.find((one) => one.name === "schedule").value = "0:0, 0.5:1, 6s:0.5 | smooth";
      Object.assign(app.canvas.ds, { scale: 0.8, offset: [100, 60] });
      app.canvas.setDirty(true, true);
    },
    [EMPTY, ask.types],
  );
  await frames(page, 6);
  for (const index of [0, 1])
    await page.locator(".controlstack-field button[aria-expanded]").nth(index).click();
  await page.locator('.controlstack-switch button[value="compare"]').first().click();
  await until(page, () => document.querySelector(".controlstack-compare img[alt]")?.complete);
  await atRest(page, () =>
    page.evaluate(
      () => document.querySelectorAll(".controlstack-compare, .controlstack-plot").length,
    ),
  );
  const seen = await textsOf(page, ask.types);
  seen.menu = await page.evaluate(() => {
    const canny = window.app.graph.nodes.find((one) => one.type === "ControlStackCanny");
    const mine = window.app.extensions.find((one) => one.name === "ControlStack");
    return mine.getNodeMenuItems(canny).map((entry) => entry.content);
  });
  const fields = await page.evaluate(() => {
    const NAMES = ["aria-label", "aria-valuetext", "title", "placeholder"];
    const all = [...document.querySelectorAll(".controlstack-field, .controlstack-field *")];
    const texts = all.flatMap((one) => [
      ...NAMES.map((name) => one.getAttribute(name)),
      ...[...one.childNodes].map((child) => child.nodeType === Node.TEXT_NODE && child.data),
    ]);
    return [...new Set(texts.filter((text) => text && text.trim()))];
  });
  await page.screenshot({ path: join(ask.pictures, `chinese-${ask.cell}.png`) });
  return { nodes: seen, fields };
}

// What a node says once a run has ended.
async function afterRun(page, name, type) {
  const end = await run(page);
  await until(page, (rows) => document.querySelector(rows), SAID);
  await atRest(page, () =>
    page.evaluate((rows) => document.querySelectorAll(rows).length, SAID),
  );
  await page.screenshot({ path: join(ask.pictures, `chinese-${name}-${ask.cell}.png`) });
  return [end, ...(await textsOf(page, [type]))[type]];
}

const SAYING = {
  async bar(page) {
    await open(page);
    return afterRun(page, "bar", ADD);
  },
  async report(page) {
    await openWithReport(page);
    return afterRun(page, "report", "ControlStackReport");
  },
  async photograph(page) {
    await withPhotograph(page);
    return afterRun(page, "photograph", ADD);
  },
  async refused(page) {
    await open(page, { [ADD]: { 1: 0.8, 2: 0.2, 5: "0:1, tomorrow:0" } });
    return afterRun(page, "refused", ADD);
  },
  async weights(page) {
    await withoutWeights(page);
    return afterRun(page, "weights", "ControlStackHED");
  },
  async net(page) {
    await open(page, { ControlStackLoad: ["other_family.safetensors"] }, "ControlStackLoad");
    await centre(page, "ControlStackLoad");
    return afterRun(page, "net", "ControlStackLoad");
  },
};

const ROWS = [
  { id: "a1", net: "plain_sdxl.safetensors", method: "canny", strength: 0.5 },
  { id: "a2", net: "union_sdxl.safetensors", method: "auto", schedule: "0:0, 0.5:1 | smooth" },
  { id: "a3", net: "gone.safetensors", method: "none", image: 3, strength: "much" },
];

// Every text of the panel, its rows, all folds, the presets and its text, without names in lists.
async function wholePanel(page) {
  await start(page, ROWS, { picture: true });
  for (let folds = 0; folds < 20; folds++) {
    const closed = panel(page)
      .locator('.controlstack-panel-row [aria-expanded="false"]:enabled:visible');
    if (!(await closed.count())) break;
    await closed.first().click();
    await rest(page);
  }
  const texts = await textsInside(page, ".controlstack-panel");
  await page.screenshot({ path: join(ask.pictures, `chinese-panel-${ask.cell}.png`) });
  const [presets, text] = await panel(page)
    .locator(".controlstack-panel-head .controlstack-wide").all().then((all) => all.slice(-2));
  await presets.click();
  await rest(page);
  texts.push(...(await textsInside(page, ".controlstack-panel")));
  await text.click();
  await rest(page);
  texts.push(...(await textsInside(page, ".controlstack-panel")));
  return [...new Set(texts)];
}

async function textsInside(page, root) {
  return page.evaluate((root) => {
    const NAMES = ["aria-label", "aria-valuetext", "title", "placeholder"];
    const all = [...document.querySelectorAll(`${root}, ${root} *`)];
    const texts = all.filter((one) => one.checkVisibility() && !one.closest("option"))
      .flatMap((one) => [
        ...NAMES.map((name) => one.getAttribute(name)),
        ...[...one.childNodes].map((child) => child.nodeType === Node.TEXT_NODE && child.data),
      ]);
    return texts.filter((text) => text && text.trim()).map((text) => text.trim());
  }, root);
}

const browser = await launch();
const outcomes = { said: {} };
try {
  await settle({ "Comfy.Locale": "zh" });
  const { page, errors } = await openPage(browser, { viewport: VIEW, prepare: watchTexts });
  Object.assign(outcomes, await everyNode(page));
  for (const [name, scene] of Object.entries(SAYING)) outcomes.said[name] = await scene(page);
  outcomes.panel = await wholePanel(page);
  outcomes.errors = errors;
} finally {
  await browser.close();
}
console.log(JSON.stringify(outcomes));
