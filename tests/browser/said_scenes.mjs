// What nodes say on themselves: errors, warnings, contradictions, what a net did, and the report.
// Prints {SCENE: what can be seen without a click} as JSON, and pictures each. node said_scenes.mjs
// ASK.json, with browser.mjs's keys and {"cell": NAME, "pictures": DIR, "single": UI-form JSON of a
// workflow with one net, "only": [SCENE, ...] or nothing}
import { join } from "node:path";
import { ask, atRest, frames, launch, openPage, settle, turn, until } from "./browser.mjs";
import { open, openWithReport, run, withoutWeights, withPhotograph } from "./runs.mjs";

const VIEW = { width: 1500, height: 1000 };
const SAID =
  ".controlstack-remark p, .controlstack-remark pre, .controlstack-result," +
  " .controlstack-field .controlstack-error:not([hidden])";

// The sentences and bars that stand on the node, where they can be seen; `awaited`: how many there
// will be at least, as late as the machine is slow.
async function spoken(page, type = "ControlStackAdd", awaited = 1) {
  const ends = performance.now() + 8000;
  const count = () => page.evaluate((rows) => document.querySelectorAll(rows).length, SAID);
  if (!awaited) await page.waitForTimeout(600); // for what is said all the same
  for (;;) {
    await atRest(page, count, { calmMs: awaited ? 500 : 800 });
    const seen = await look(page, type);
    const sum = seen.lines.length + seen.fields.length + seen.bars.length + seen.tables.length;
    if (sum >= awaited || performance.now() > ends) return seen;
    await frames(page, 4);
  }
}

const look = (page, type) =>
  page.evaluate((type) => {
    const { app } = window;
    const node = app.graph.nodes.find((one) => one.type === type);
    const [x, y, width, height] = node.getBounding(),
      { offset } = app.canvas.ds;
    const canvas = app.canvas.canvas.getBoundingClientRect();
    const drawn = new DOMRect(canvas.x + x + offset[0], canvas.y + y + offset[1], width, height);
    const element = document.querySelector(`[data-node-id="${node.id}"]`); // of Nodes 2.0
    const frame = element?.getBoundingClientRect() ?? drawn;
    const isHere = (one) => {
      const box = one.getBoundingClientRect();
      return (
        one.checkVisibility() &&
        box.x >= frame.x - 1 &&
        box.right <= frame.right + 1 &&
        box.y >= frame.y - 1 &&
        box.bottom <= frame.bottom + 1
      );
    };
    const all = (selector) => [...document.querySelectorAll(selector)].filter(isHere);
    const lines = all(".controlstack-remark p").map((line) => [
      line.className.replace("controlstack-", ""),
      line.lastChild.textContent,
    ]);
    const fields = all(".controlstack-field .controlstack-error").map((one) => one.textContent);
    const whole = all(".controlstack-remark, .controlstack-field .controlstack-error").every(
      (one) => one.scrollHeight <= one.clientHeight + 1,
    );
    // Words that are cut into two lines, though they would fit into one.
    const cut = all(".controlstack-remark p, .controlstack-field .controlstack-error").flatMap(
      (one) => {
        const words = [];
        const walker = document.createTreeWalker(one, NodeFilter.SHOW_TEXT);
        const topOf = (range) => range.getClientRects()[0]?.top ?? 0;
        while (walker.nextNode()) {
          const text = walker.currentNode;
          for (const { 0: word, index } of text.data.matchAll(/\w+/g)) {
            if (word.length > 24) continue; // it may not fit
            const range = document.createRange();
            const tops = [index, index + word.length - 1].map((at) => {
              range.setStart(text, at);
              range.setEnd(text, at + 1);
              return topOf(range);
            });
            if (Math.abs(tops[0] - tops[1]) > 4) words.push(word);
          }
        }
        return words;
      },
    );
    return {
      lines,
      fields,
      whole,
      cut,
      bars: all(".controlstack-result").map((one) => one.textContent),
      tables: all(".controlstack-remark pre").map((one) => one.textContent),
      previews: node.widgets?.filter((one) => one.name === "$$node-text-preview").length ?? 0,
    };
  }, type);

const ADD = "ControlStackAdd",
  NET = "ControlStackLoad";
const [STRENGTH, START, END, SCHEDULE, LAYERS, UNION, FRAMES] = [0, 1, 2, 5, 6, 7, 8];

const wrongText = (index, text) => async (page) => {
  await open(page, { [ADD]: { [index]: text } });
  return { end: await run(page), ...(await spoken(page)) };
};

// The sentence names the net, once the page has heard which file it is.
async function ofTheNet(page) {
  await until(page, () =>
    [...document.querySelectorAll(".controlstack-field .controlstack-error")].some((one) =>
      one.textContent.startsWith("ControlNet '"),
    ),
  );
  return spoken(page);
}

const ERRORS = {
  schedule: wrongText(SCHEDULE, "0:1, tomorrow:0"),
  layers: wrongText(LAYERS, "softly 0.8"),
  unionType: wrongText(UNION, "cany"),
  frames: wrongText(FRAMES, "0.5:1"),
  async endsBeforeStart(page) {
    await open(page, { [ADD]: { [START]: 0.8, [END]: 0.2 } });
    return spoken(page);
  },
  async noStrength(page) {
    await open(page, { [ADD]: { [STRENGTH]: 0 } });
    return spoken(page);
  },
  async plainNetWithType(page) {
    await open(page, { [ADD]: { [UNION]: "depth" } });
    return { end: await run(page), ...(await ofTheNet(page)) };
  },
  async damagedNet(page) {
    await open(page, { [NET]: ["other_family.safetensors"] }, NET);
    const seen = { end: await run(page), ...(await spoken(page, NET)) };
    return seen;
  },
  async missingWeights(page) {
    await withoutWeights(page);
    return { end: await run(page), ...(await spoken(page, "ControlStackHED")) };
  },
  async photograph(page) {
    await withPhotograph(page);
    return { end: await run(page), ...(await spoken(page)) };
  },
};

const SCENES = {
  ...ERRORS,
  // Cured: what was said goes, at once or with the next run.
  async cured(page) {
    await open(page, { [ADD]: { [SCHEDULE]: "0:1, tomorrow:0", [START]: 0.8, [END]: 0.2 } });
    const end = await run(page);
    const before = await spoken(page, ADD, 2);
    await turn(page, ADD, "end_percent", 1);
    await turn(page, ADD, "schedule", "0:1; 100%:0.5");
    const after = await spoken(page, ADD, 0);
    return { end, before, after, again: await run(page), last: await spoken(page) };
  },
  async undone(page) {
    await open(page);
    await turn(page, ADD, "strength", 0);
    await page.evaluate(() => {
      const tracker = window.app.extensionManager.workflow.activeWorkflow.changeTracker;
      (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
    });
    const before = await spoken(page);
    await page.keyboard.press("Control+z");
    await until(page, () =>
      window.app.graph.nodes.some((node) =>
        node.widgets?.some(({ name, value }) => name === "strength" && value === 1),
      ),
    );
    return { before, after: await spoken(page, ADD, 0) };
  },
  // What the net did, on its node, without a Control Report in the graph; and after undo.
  async bar(page) {
    await open(page);
    const end = await run(page);
    const after = await spoken(page);
    await open(page, { [ADD]: { [STRENGTH]: 0 }, KSampler: { 2: 2 } });
    const idle = { end: await run(page), ...(await spoken(page)) };
    await open(page, { [ADD]: { [START]: 0.97, [END]: 0.99 } });
    return { end, after, idle, never: { end: await run(page), ...(await spoken(page)) } };
  },
  // Control Report shows its plot and its table.
  async report(page) {
    await openWithReport(page);
    const end = await run(page);
    const seen = await spoken(page, "ControlStackReport");
    const images = await page.evaluate(() => {
      const node = window.app.graph.nodes.find((one) => one.type === "ControlStackReport");
      return (window.app.nodeOutputs[node.id]?.images ?? []).length;
    });
    return { end, images, ...seen };
  },
};

const browser = await launch();
const outcomes = {};
try {
  await settle();
  const { page, errors } = await openPage(browser, { viewport: VIEW });
  for (const [name, scene] of Object.entries(SCENES)) {
    if (ask.only && !ask.only.includes(name)) continue;
    outcomes[name] = await scene(page).catch((error) => ({ failed: String(error).slice(0, 400) }));
    outcomes[name].thrown = errors.splice(0);
    await page.screenshot({ path: join(ask.pictures, `said-${ask.cell}-${name}.png`) });
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(outcomes));
