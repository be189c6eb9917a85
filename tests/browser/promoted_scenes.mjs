// Texts of ours that a subgraph shows on its node: they are fields there, each copy its own, and
// what they show is what runs. Prints {atOnce: which fields can be seen once a workflow is loaded,
// before, keys, elsewhere: after the browser's own undo, mouse, undone, two, loaded} as JSON, each
// as look() gives it. node promoted_scenes.mjs ASK.json, with browser.mjs's keys and {"cell": NAME,
// "pictures": DIR}
import { join } from "node:path";
import { ask, atRest, frames, launch, openPage, settle, until } from "./browser.mjs";

const EMPTY = {
  ...{ nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 },
  ...{ last_node_id: 0, last_link_id: 0 },
};
const NAMES = ["strength", "schedule", "layers", "union_type"];

// For every subgraph's node: the texts that can be seen on it, and those that run inside.
const look = (page) =>
  page.evaluate(async () => {
    const { app } = window;
    const { output } = await app.graphToPrompt();
    const canvas = app.canvas.canvas.getBoundingClientRect();
    return app.graph.nodes
      .filter((one) => one.subgraph)
      .map((node) => {
        const [x, y, width, height] = node.getBounding(),
          { scale, offset } = app.canvas.ds;
        const left = canvas.x + (x + offset[0]) * scale,
          top = canvas.y + (y + offset[1]) * scale;
        const isHere = (element) => {
          const box = element.getBoundingClientRect();
          const [px, py] = [box.x + box.width / 2, box.y + 11];
          const isIn =
            px > left && px < left + width * scale && py > top && py < top + height * scale;
          return isIn && document.elementsFromPoint(px, py).some((one) => element.contains(one));
        };
        const texts = (name) =>
          [...document.querySelectorAll(`.controlstack-field[aria-label="${name}"]`)]
            .filter((one) => one.checkVisibility() && isHere(one))
            .map((one) => one.querySelector("input.controlstack-text").value);
        const inside = Object.entries(output).find(([id]) => id.startsWith(`${node.id}:`));
        const { schedule, layers, union_type: type } = inside?.[1].inputs ?? {};
        return {
          shown: {
            schedule: texts("schedule"),
            layers: texts("layers"),
            union_type: texts("union_type"),
          },
          prompt: { schedule: [schedule], layers: [layers], union_type: [type] },
          names: node.widgets.map((widget) => widget.name),
        };
      });
  });

const rest = (page) =>
  atRest(
    page,
    () =>
      page.evaluate(() =>
        [...document.querySelectorAll(".controlstack-field, .controlstack-plot")].map((one) => {
          const { x, y, width, height } = one.getBoundingClientRect();
          return [x, y, width, height];
        }),
      ),
    { calmMs: 500 },
  );

const field = (page, name, nth = 0) =>
  page.locator(`.controlstack-field[aria-label="${name}"]:visible`).nth(nth);

const visible = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll(".controlstack-field")]
      .filter((one) => one.checkVisibility())
      .map((one) => one.getAttribute("aria-label")),
  );

const view = (page) =>
  page.evaluate(() => {
    Object.assign(window.app.canvas.ds, { scale: 1, offset: [200, 40] });
    window.app.canvas.setDirty(true, true);
  });

async function reload(page) {
  await page.evaluate(async () => {
    const saved = JSON.parse(JSON.stringify(window.app.graph.serialize()));
    await window.app.loadGraphData(saved);
  });
  await view(page);
  await rest(page);
}

const browser = await launch();
const seen = {};
try {
  await settle();
  const { page, errors } = await openPage(browser, { viewport: { width: 1500, height: 1000 } });
  await page.evaluate(
    async ({ empty, names }) => {
      const { app } = window;
      await app.loadGraphData(empty);
      const add = LiteGraph.createNode("ControlStackAdd");
      add.pos = [100, 60];
      app.graph.add(add);
      const { node } = app.graph.convertToSubgraph(new Set([add]));
      const inside = node.subgraph.nodes[0];
      node.properties.proxyWidgets = names.map((name) => [String(inside.id), name]);
      const saved = JSON.parse(JSON.stringify(app.graph.serialize()));
      for (const one of saved.nodes) Object.assign(one, { pos: [100, 60], size: [360, 400] });
      await app.loadGraphData(saved);
    },
    { empty: EMPTY, names: NAMES },
  );
  await frames(page, 20);
  seen.atOnce = await visible(page); // nothing was moved since, which would draw the page anew
  await view(page);
  await field(page, "schedule").waitFor().catch(() => {});
  await rest(page);
  seen.before = await look(page);
  await page.screenshot({ path: join(ask.pictures, `promoted-${ask.cell}.png`) });
  await field(page, "schedule").locator("input.controlstack-text").fill("0:1, 0.5:0.2, 1:0");
  await field(page, "layers").locator("input.controlstack-text").fill("1 1 0.5");
  await field(page, "union_type").locator("select").selectOption("depth");
  await frames(page, 3);
  seen.keys = await look(page);
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press("Shift"); // a key that goes to the page, as Ctrl+Z would
  await page.evaluate(() => {
    document.execCommand("undo"); // what a browser does with Ctrl+Z besides, wherever the focus is
  });
  await frames(page, 3);
  seen.elsewhere = await look(page);
  await field(page, "schedule").locator("button[aria-expanded]").click();
  await rest(page);
  const point = await field(page, "schedule").locator("svg.controlstack-plot circle").nth(1)
    .boundingBox();
  const [x, y] = [point.x + point.width / 2, point.y + point.height / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + 20, y - 20, { steps: 5 });
  await page.mouse.up();
  await frames(page, 4);
  seen.mouse = await look(page);
  await page.screenshot({ path: join(ask.pictures, `promoted-${ask.cell}-open.png`) });
  await page.evaluate(() => document.activeElement?.blur());
  await page.mouse.click(1200, 800);
  await frames(page, 10);
  await page.keyboard.press("Control+z");
  await until(
    page,
    (text) =>
      [...document.querySelectorAll('.controlstack-field[aria-label="schedule"]')].some(
        (one) =>
          one.checkVisibility() && one.querySelector("input.controlstack-text").value === text,
      ),
    "0:1, 0.5:0.2, 1:0",
  );
  await rest(page);
  seen.undone = await look(page);
  await page.evaluate(() => {
    const { canvas, graph } = window.app;
    canvas.select(graph.nodes.find((one) => one.subgraph));
    canvas.copyToClipboard();
    canvas.pasteFromClipboard({ position: [600, 60] });
  });
  await rest(page);
  await page.waitForTimeout(1200);
  await field(page, "schedule", 1).locator("input.controlstack-text").fill("0:0.5");
  await frames(page, 3);
  seen.two = await look(page);
  await reload(page);
  seen.loaded = await look(page);
  await page.screenshot({ path: join(ask.pictures, `promoted-${ask.cell}-two.png`) });
  seen.errors = errors;
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
