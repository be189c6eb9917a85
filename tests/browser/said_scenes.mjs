// What nodes say on themselves: errors, warnings, contradictions, what a net did, and the report.
// Prints {SCENE: what can be seen without a click} as JSON, and pictures each. node said_scenes.mjs
// ASK.json, with browser.mjs's keys and {"cell": NAME, "pictures": DIR, "single": UI-form JSON of a
// workflow with one net, "only": [SCENE, ...] or nothing}
import { join } from "node:path";
import { ask, atRest, frames, launch, load, openPage, settle, unused, until } from "./browser.mjs";

const VIEW = { width: 1500, height: 1000 };

const set = (page, type, name, value) =>
  page.evaluate(
    ([type, name, value]) => {
      const node = window.app.graph.nodes.find((one) => one.type === type);
      const widget = node.widgets.find((one) => one.name === name);
      widget.value = value;
      widget.callback?.(value);
    },
    [type, name, value],
  );

// The workflow, small and quick, with changed values; a node of `type` in the middle of the window.
async function open(page, changes = {}, type = "ControlStackAdd") {
  const graph = JSON.parse(JSON.stringify(ask.single));
  const node = (kind) => graph.nodes.find((one) => one.type === kind);
  node("EmptyLatentImage").widgets_values = [64, 64, 1];
  Object.assign(node("KSampler").widgets_values, { 0: unused(), 2: 3 });
  for (const [kind, values] of Object.entries(changes)) {
    node(kind).widgets_values = Object.assign([...node(kind).widgets_values], values);
  }
  await load(page, graph);
  await centre(page, type);
}

async function centre(page, type) {
  await page.evaluate((type) => {
    const { app } = window;
    const { pos, size } = app.graph.nodes.find((one) => one.type === type);
    const offset = [600 - pos[0] - size[0] / 2, 120 - pos[1]];
    Object.assign(app.canvas.ds, { scale: 1, offset });
    app.canvas.setDirty(true, true);
  }, type);
  await frames(page, 4);
}

// Queues the workflow: how it ended ("refused" where ComfyUI did not take it).
async function run(page) {
  return page.evaluate(
    () =>
      new Promise((done) => {
        for (const end of ["execution_success", "execution_error"])
          window.app.api.addEventListener(end, () => done(end), { once: true });
        const refused = () => done("refused");
        // Older pages say that they queued nothing when they did.
        const look = () => Object.keys(window.app.lastNodeErrors ?? {}).length && refused();
        window.app.queuePrompt(0, 1).then((queued) => queued || look(), refused);
      }),
  );
}

// The sentences and bars that stand on the node, where they can be seen; `awaited`: how many there
// will be at least, as late as the machine is slow.
async function spoken(page, type = "ControlStackAdd", awaited = 1) {
  const ends = performance.now() + 8000;
  for (;;) {
    const seen = await look(page, type);
    const count = seen.lines.length + seen.fields.length + seen.bars.length + seen.tables.length;
    if (count >= awaited || performance.now() > ends) return seen;
  }
}

async function look(page, type) {
  await page.waitForTimeout(600);
  const count = () =>
    document.querySelectorAll(".controlstack-remark, .controlstack-result").length;
  await atRest(page, () => page.evaluate(count), { calmMs: 800 });
  return page.evaluate((type) => {
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
    return {
      lines,
      fields,
      whole,
      bars: all(".controlstack-result").map((one) => one.textContent),
      tables: all(".controlstack-remark pre").map((one) => one.textContent),
      previews: node.widgets?.filter((one) => one.name === "$$node-text-preview").length ?? 0,
    };
  }, type);
}

const ADD = "ControlStackAdd",
  NET = "ControlStackLoad";
const [STRENGTH, START, END, SCHEDULE, LAYERS, UNION, FRAMES] = [0, 1, 2, 5, 6, 7, 8];

const wrongText = (index, text) => async (page) => {
  await open(page, { [ADD]: { [index]: text } });
  return { end: await run(page), ...(await spoken(page)) };
};

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
    return { end: await run(page), ...(await spoken(page)) };
  },
  async damagedNet(page) {
    await open(page, { [NET]: ["other_family.safetensors"] }, NET);
    return { end: await run(page), ...(await spoken(page, NET)) };
  },
  async missingWeights(page) {
    await open(page);
    await page.evaluate(() => {
      const { graph } = window.app;
      const canny = graph.nodes.find((one) => one.type === "ControlStackCanny");
      const hed = LiteGraph.createNode("ControlStackHED");
      hed.pos = [...canny.pos];
      graph.add(hed);
      graph.nodes.find((one) => one.type === "LoadImage").connect(0, hed, 0);
      const add = graph.nodes.find((one) => one.type === "ControlStackAdd");
      hed.connect(0, add, add.inputs.findIndex((one) => one.name === "image"));
      graph.remove(canny);
    });
    await centre(page, "ControlStackHED");
    return { end: await run(page), ...(await spoken(page, "ControlStackHED")) };
  },
  async photograph(page) {
    await open(page);
    await page.evaluate(() => {
      const { graph } = window.app;
      const add = graph.nodes.find((one) => one.type === "ControlStackAdd");
      const slot = add.inputs.findIndex((one) => one.name === "image");
      graph.nodes.find((one) => one.type === "LoadImage").connect(0, add, slot);
    });
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
    await set(page, ADD, "end_percent", 1);
    await set(page, ADD, "schedule", "0:1; 100%:0.5");
    const after = await spoken(page, ADD, 0);
    return { end, before, after, again: await run(page), last: await spoken(page) };
  },
  async undone(page) {
    await open(page);
    await set(page, ADD, "strength", 0);
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
    await open(page);
    await page.evaluate(() => {
      const { graph } = window.app;
      const find = (type) => graph.nodes.find((one) => one.type === type);
      const report = LiteGraph.createNode("ControlStackReport");
      report.pos = [2100, 0];
      graph.add(report);
      find("ControlStackApply").connect(0, report, 0);
      find("KSampler").connect(0, report, 1);
    });
    await centre(page, "ControlStackReport");
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
  page.setDefaultTimeout(15_000);
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
