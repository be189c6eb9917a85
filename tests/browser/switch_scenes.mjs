// The switch under a hint, its picture and the divider: after everything that builds nodes anew,
// what is seen is compared with what the node stores, then switched by mouse and by keys and
// compared again. Prints [{after, shown, stored, byMouse, byKeys}] for each step as JSON. node
// switch_scenes.mjs ASK.json, with browser.mjs's keys and {"cell": NAME, "pictures": DIR}
import { join } from "node:path";
import { ask, atRest, launch, openPage, settle } from "./browser.mjs";
import { stepsOf } from "./shown_steps.mjs";

const TYPE = "ControlStackCanny";
const EMPTY = {
  ...{ nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 },
  ...{ last_node_id: 0, last_link_id: 0 },
};
const MODES = ["live", "compare", "off", "compare", "live", "off"]; // of the turns

// For every node of the graph on the screen: the parts that are seen inside it, and what is stored.
const look = (page) =>
  page.evaluate((type) => {
    const { app } = window;
    const shown = {},
      stored = {};
    const canvas = app.canvas.canvas.getBoundingClientRect();
    for (const node of app.canvas.graph.nodes.filter((one) => one.type === type)) {
      const [x, y, width, height] = node.getBounding(),
        { scale, offset } = app.canvas.ds;
      const left = canvas.x + (x + offset[0]) * scale,
        top = canvas.y + (y + offset[1]) * scale;
      const isHere = (element) => {
        if (!element.checkVisibility()) return false;
        const box = element.getBoundingClientRect();
        const [px, py] = [box.x + box.width / 2, box.y + Math.min(11, box.height / 2)];
        const owner = element.closest("[data-node-id]");
        const isIn = owner
          ? owner.dataset.nodeId === String(node.id)
          : px > left && px < left + width * scale && py > top && py < top + height * scale;
        return isIn && document.elementsFromPoint(px, py).some((one) => element.contains(one));
      };
      const here = (selector) => [...document.querySelectorAll(selector)].filter(isHere);
      const label = `${node.pos.map(Math.round)}`;
      shown[label] = {
        modes: here('.controlstack-switch button[aria-checked="true"]').map((one) => one.value),
        pictures: here(".controlstack-compare").length,
        dividers: here(".controlstack-compare input[type=range]").length,
      };
      stored[label] = node.serialize().properties.controlstack_hint ?? "off";
    }
    return { shown, stored };
  }, TYPE);

const rest = (page) =>
  atRest(
    page,
    () =>
      page.evaluate(() =>
        [...document.querySelectorAll(".controlstack-switch, .controlstack-compare")].map((one) => {
          const { x, y, width, height } = one.getBoundingClientRect();
          return [x, y, width, height];
        }),
      ),
    { calmMs: 350 },
  );

const button = (page, mode) =>
  page.locator(`.controlstack-switch button[value="${mode}"]:visible`).last();

async function start(page) {
  await page.evaluate((type) => {
    const { app } = window;
    const node = LiteGraph.createNode(type);
    node.pos = [100, 60];
    app.graph.add(node);
    Object.assign(app.canvas.ds, { scale: 1, offset: [200, 40] });
    app.canvas.setDirty(true, true);
    app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState?.();
  }, TYPE);
  await button(page, "off").waitFor();
  await rest(page);
}

async function change(page, turn) {
  await button(page, MODES[turn]).click();
  await rest(page);
}

// The present state, and the state after another choice by mouse and by keys.
async function check(page, after, seen) {
  await rest(page);
  const entry = { after, ...(await look(page)) };
  const present = Object.values(entry.stored).at(-1);
  const [first, second] = ["live", "compare", "off"].filter((mode) => mode !== present);
  await button(page, first).click();
  await rest(page);
  entry.byMouse = await look(page);
  await button(page, second).focus();
  await page.keyboard.press("Enter");
  await rest(page);
  entry.byKeys = await look(page);
  seen.push(entry);
}

const browser = await launch();
const seen = [];
const failed = {};
let thrown = [];
try {
  await settle();
  const { page, errors } = await openPage(browser, { viewport: { width: 1500, height: 1000 } });
  thrown = errors;
  await page.evaluate((empty) => window.app.loadGraphData(empty), EMPTY);
  await start(page);
  for (const [name, step] of Object.entries(stepsOf({ type: TYPE, rest, start, change }))) {
    try {
      await step(page);
      await check(page, name, seen);
    } catch (error) {
      failed[name] = String(error).slice(0, 400);
      await page.screenshot({ path: join(ask.pictures, `switch-${ask.cell}-${name}.png`) });
    }
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify({ seen, failed, thrown }));
