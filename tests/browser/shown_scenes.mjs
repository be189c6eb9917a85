// What is shown is what runs: after everything that builds nodes anew, the visible text of every
// field is compared with the prompt, then edited by mouse and by keys and compared again. Prints
// [{after, shown, prompt, ...}] for each step as JSON. node shown_scenes.mjs ASK.json, with
// browser.mjs's keys and {"cell": NAME, "pictures": DIR}
import { join } from "node:path";
import { ask, atRest, frames, launch, openPage, settle } from "./browser.mjs";
import { stepsOf } from "./shown_steps.mjs";

const VIEW = { width: 1500, height: 1000 };
const EMPTY = {
  ...{ nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 },
  ...{ last_node_id: 0, last_link_id: 0 },
};
const PLOTS = ["schedule", "layers"];
const FIELDS = [...PLOTS, "union_type", "frame_strength"];

// For every Add ControlNet of the graph on the screen: the texts that are seen and those that run.
const look = (page) =>
  page.evaluate(async (names) => {
    const { app } = window;
    const rootOf = (graph) => graph.rootGraph ?? graph;
    const { output } = await app.graphToPrompt();
    const shown = {},
      prompt = {},
      drawn = {};
    const canvas = app.canvas.canvas.getBoundingClientRect();
    for (const node of app.canvas.graph.nodes.filter((one) => one.type === "ControlStackAdd")) {
      const inside = app.canvas.graph !== rootOf(app.canvas.graph);
      const key = Object.keys(output).find((id) =>
        inside ? id.endsWith(`:${node.id}`) : id === String(node.id),
      );
      const [x, y, width, height] = node.getBounding(),
        { scale, offset } = app.canvas.ds;
      const left = canvas.x + (x + offset[0]) * scale,
        top = canvas.y + (y + offset[1]) * scale;
      const isHere = (element) => {
        const box = element.getBoundingClientRect();
        const [px, py] = [box.x + box.width / 2, box.y + 11];
        // Nodes 2.0 draws nodes as elements, which may be taller than LiteGraph has heard of yet.
        const owner = element.closest("[data-node-id]");
        const isIn = owner
          ? owner.dataset.nodeId === String(node.id)
          : px > left && px < left + width * scale && py > top && py < top + height * scale;
        return isIn && document.elementsFromPoint(px, py).some((one) => element.contains(one));
      };
      const text = (name) => {
        const fields = [...document.querySelectorAll(`.controlstack-field[aria-label="${name}"]`)];
        const visible = fields.filter((one) => one.checkVisibility() && isHere(one));
        const value = (one) => one.querySelector("input.controlstack-text").value;
        return visible.map(value).join(" AND ");
      };
      const label = `${node.pos.map(Math.round)}`;
      shown[label] = Object.fromEntries(names.map((name) => [name, text(name)]));
      prompt[label] = Object.fromEntries(names.map((name) => [name, output[key]?.inputs[name]]));
      drawn[label] = node.widgets
        .filter((one) => names.includes(one.name))
        .map((one) => one.element?.isConnected ?? null);
    }
    return { shown, prompt, drawn };
  }, FIELDS);

const visibleField = (page, name) =>
  page.locator(`.controlstack-field[aria-label="${name}"]:visible`).last();

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
    { calmMs: 350 },
  );

// The present state, and the state after an edit of each field by keys and by mouse.
async function check(page, after, seen) {
  await rest(page);
  const entry = { after, ...(await look(page)) };
  const turn = seen.length + 1;
  await visibleField(page, "schedule")
    .locator("input.controlstack-text")
    .fill(`0:1, 0.5:0.${turn + 10}, 1:0`);
  await visibleField(page, "union_type")
    .locator("input.controlstack-text")
    .fill(`depth, normal:0.${turn + 10}`);
  await visibleField(page, "frame_strength")
    .locator("input.controlstack-text")
    .fill(`0:1, ${turn + 10}:0.5`);
  await frames(page, 2);
  entry.byKeys = await look(page);
  for (const [name, handle] of [
    ["schedule", "circle"],
    ["layers", "rect.slot"],
  ]) {
    const box = await visibleField(page, name)
      .locator(`svg.controlstack-plot ${handle}`)
      .nth(1)
      .boundingBox();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x + 2, y + (turn % 2 ? 12 : -12), { steps: 4 });
    await page.mouse.up();
    await frames(page, 3);
  }
  entry.byMouse = await look(page);
  seen.push(entry);
}

async function start(page, empty = EMPTY) {
  await page.evaluate(async (empty) => {
    const { app } = window;
    if (empty) await app.loadGraphData(empty);
    const node = LiteGraph.createNode("ControlStackAdd");
    node.pos = [100, 60];
    app.graph.add(node);
    Object.assign(app.canvas.ds, { scale: 1, offset: [200, 40] });
    app.canvas.setDirty(true, true);
    app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState?.();
  }, empty);
  await rest(page);
  for (const name of PLOTS)
    await visibleField(page, name).locator("button[aria-expanded]").click();
  await rest(page);
}

// A choice from the presets is one step of undo for each field.
async function preset(page, name, label) {
  await visibleField(page, name).locator('select[aria-label="preset"]').selectOption(label);
  await frames(page, 3);
}

const CHANGES = [
  ...[["schedule", "bell"], ["schedule", "fade out"], ["layers", "details"]],
  ...[["schedule", "early"], ["schedule", "late"], ["schedule", "step"]],
];
const STEPS = stepsOf({
  ...{ type: "ControlStackAdd", rest, start: (page) => start(page, null) },
  change: (page, turn) => preset(page, ...CHANGES[turn]),
});

const browser = await launch();
const seen = [];
const failed = {};
let thrown = [];
try {
  await settle();
  const { page, errors } = await openPage(browser, { viewport: VIEW });
  thrown = errors;
  await start(page);
  for (const [name, step] of Object.entries(STEPS)) {
    if (ask.only && !ask.only.includes(name)) continue;
    try {
      await step(page);
      await check(page, name, seen);
    } catch (error) {
      failed[name] = String(error).slice(0, 400);
      await page.screenshot({ path: join(ask.pictures, `shown-${ask.cell}-${name}-failed.png`) });
    }
  }
  await page.screenshot({ path: join(ask.pictures, `shown-${ask.cell}.png`) });
} finally {
  await browser.close();
}
console.log(JSON.stringify({ seen, failed, thrown }));
