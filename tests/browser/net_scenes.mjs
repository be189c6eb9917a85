// Scenes of what a net takes: the list of its union types, strength over frames as a curve, and the
// list of nets in a new loader. See editor_scenes.mjs.
import { join } from "node:path";
import { ask, atRest, frames, until } from "./browser.mjs";

const field = (page, name) => page.locator(`.controlstack-field[aria-label="${name}"]:visible`);
const text = (page, name) => field(page, name).locator("input.controlstack-text");

// A loader of `file` (or none) and an Add ControlNet beside it.
async function pair(page, empty, file) {
  await page.evaluate(
    async ({ empty, file }) => {
      const { app } = window;
      await app.loadGraphData(empty);
      const add = LiteGraph.createNode("ControlStackAdd");
      add.pos = [420, 60];
      app.graph.add(add);
      if (file) {
        const loader = LiteGraph.createNode("ControlStackLoad");
        loader.pos = [20, 60];
        app.graph.add(loader);
        const widget = loader.widgets.find((one) => one.name === "control_net_name");
        widget.value = file;
        widget.callback?.(file);
        loader.connect(0, add, 0);
      }
      Object.assign(app.canvas.ds, { scale: 1, offset: [80, 40] });
      app.canvas.setDirty(true, true);
      const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
      (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
    },
    { empty, file },
  );
  await field(page, "union_type").waitFor();
  await rest(page);
}

const rest = (page) =>
  atRest(
    page,
    () =>
      page.evaluate(() =>
        [...document.querySelectorAll(".controlstack-field")].map((one) => [
          JSON.stringify(one.getBoundingClientRect()),
          one.textContent,
        ]),
      ),
    { calmMs: 500 },
  );

// What the field of the union type offers and says, and what runs.
const look = (page) =>
  page.evaluate(async () => {
    const field = [...document.querySelectorAll('.controlstack-field[aria-label="union_type"]')]
      .filter((one) => one.checkVisibility())
      .at(-1);
    const list = field.querySelector("select");
    const { output } = await window.app.graphToPrompt();
    const add = Object.values(output).find((one) => one.class_type === "ControlStackAdd");
    return {
      offered: list.hidden
        ? []
        : [...list.options].filter((one) => !one.hidden).map((one) => one.value),
      groups: [...list.querySelectorAll("optgroup")].map((one) => one.label),
      note: field.querySelector(".controlstack-note").textContent,
      problem: [...field.querySelectorAll(".controlstack-error")]
        .filter((one) => !one.hidden)
        .map((one) => one.textContent)
        .join(),
      isWhole: [...field.querySelectorAll(".controlstack-error")].every(
        (one) => one.scrollHeight <= one.clientHeight + 1,
      ),
      prompt: add.inputs.union_type,
    };
  });

async function typed(page, words) {
  await text(page, "union_type").fill(words);
  await rest(page);
  return look(page);
}

async function chosen(page, choice) {
  await field(page, "union_type").locator("select").selectOption(choice);
  await rest(page);
  return look(page);
}

const value = (page, name) =>
  page.evaluate(
    (name) =>
      window.app.graph.nodes
        .find((one) => one.type === "ControlStackAdd")
        .widgets.find((one) => one.name === name).value,
    name,
  );

const picture = (page, name) =>
  page.screenshot({
    path: join(ask.pictures, `${name}-${ask.cell}.png`),
    clip: { x: 60, y: 40, width: 840, height: 820 },
  });

export const scenes = (empty) => ({
  async unionTypes(page) {
    const seen = {};
    await pair(page, empty, null);
    seen.noNet = await look(page);
    await pair(page, empty, "plain_sdxl.safetensors");
    seen.plain = await look(page);
    seen.plainWithType = await typed(page, "depth");
    await picture(page, "union-plain");
    await pair(page, empty, "union_flux.safetensors");
    seen.flux = await look(page);
    seen.fluxTwo = await typed(page, "canny, depth");
    await pair(page, empty, "union_sdxl.safetensors");
    seen.sdxl = await look(page);
    seen.one = await chosen(page, "depth");
    seen.two = await chosen(page, "depth, normal");
    seen.free = await typed(page, "pidi, openpose:0.5");
    seen.lacking = await typed(page, "tile");
    await picture(page, "union-lacking");
    seen.misspelt = await typed(page, "cany");
    await picture(page, "union-misspelt");
    return seen;
  },

  async frameStrength(page) {
    await pair(page, empty, null);
    const own = field(page, "frame_strength");
    const seen = { example: await text(page, "frame_strength").getAttribute("placeholder") };
    await own.locator("button[aria-expanded]").click();
    await rest(page);
    await own.locator('select[aria-label="preset"]').selectOption("fade out");
    await frames(page, 3);
    seen.preset = await value(page, "frame_strength");
    const point = await own.locator("circle").nth(1).boundingBox();
    const [x, y] = [point.x + point.width / 2, point.y + point.height / 2];
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x - 60, y - 40, { steps: 5 });
    await page.mouse.up();
    await frames(page, 3);
    seen.dragged = await value(page, "frame_strength");
    await own.getByLabel("add a point").click();
    await frames(page, 3);
    seen.added = await value(page, "frame_strength");
    await own.locator("circle").last().focus();
    await own.getByLabel("position of the point").fill("40");
    await frames(page, 3);
    seen.beyond = await value(page, "frame_strength");
    seen.words = await own
      .locator("svg.controlstack-plot text.axis")
      .evaluateAll((all) => all.map((one) => one.textContent).filter(Boolean));
    seen.label = await own.locator("circle").last().getAttribute("aria-label");
    await picture(page, "frames");
    await text(page, "frame_strength").fill("0.5:1");
    await rest(page);
    seen.problem = await own.locator(".controlstack-error").textContent();
    return seen;
  },

  // A new loader shows a net, though a file that is something else comes first by its name.
  async newLoader(page) {
    await page.evaluate(async (empty) => {
      const { app } = window;
      await app.loadGraphData(empty);
      app.graph.add(LiteGraph.createNode("ControlStackLoad"));
      const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
      (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
    }, empty);
    await until(page, () =>
      window.app.graph.nodes.every(({ widgets: [{ options }] }) => options.getOptionLabel),
    );
    return page.evaluate(() => {
      const [{ value, options }] = window.app.graph.nodes[0].widgets;
      return {
        value,
        values: [...options.values],
        labelOfOther: options.getOptionLabel("a_lora.safetensors"),
      };
    });
  },

  // What a loader says where the folders hold no net, by a table as the server would send it.
  async withoutNets(page) {
    await page.route("**/controlstack/nets", (route) =>
      route.fulfill({ json: { nets: {}, base: "", types: [] } }),
    );
    await page.evaluate(async (empty) => {
      const { app } = window;
      await app.loadGraphData(empty);
      const node = LiteGraph.createNode("ControlStackLoad");
      node.pos = [100, 60];
      app.graph.add(node);
      Object.assign(app.canvas.ds, { scale: 1, offset: [80, 40] });
      await app.refreshComboInNodes();
    }, empty);
    const says = (count) =>
      until(
        page,
        (count) =>
          [...document.querySelectorAll(".controlstack-remark")].filter((one) =>
            one.checkVisibility(),
          ).length === count,
        count,
      );
    await says(1);
    const sentences = await page.locator(".controlstack-remark:visible").allTextContents();
    await picture(page, "no-nets");
    await page.unroute("**/controlstack/nets");
    await page.evaluate(() => window.app.refreshComboInNodes());
    await says(0);
    const after = await page.locator(".controlstack-remark:visible").count();
    return { sentences, after };
  },
});
