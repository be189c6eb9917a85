// What a run left on nodes stays there: the bar of Add ControlNet and the table of Control Report,
// after everything that builds nodes anew. Prints {first, seen: {STEP: state}, failed, errors} as
// JSON. node stay_scenes.mjs ASK.json, with browser.mjs's keys and {"cell": NAME, "pictures": DIR,
// "single": UI-form JSON of a workflow with one net}
import { join } from "node:path";
import { ask, atRest, frames, launch, openPage, settle, unused, until } from "./browser.mjs";
import { openWithReport, run } from "./runs.mjs";

const ADD = "ControlStackAdd", REPORT = "ControlStackReport";
const SCREEN = { scale: 0.65, offset: [100, 80] };
const VIEW = { width: 1500, height: 1200 };

// The bars and the tables that are seen, and on how many nodes there are any.
const look = (page) =>
  page.evaluate(() => {
    const texts = (rows) =>
      [...document.querySelectorAll(rows)]
        .filter((one) => one.checkVisibility())
        .map((one) => one.textContent);
    const { nodes } = window.app.canvas.graph;
    const owners = (name) =>
      nodes.filter((node) => node.widgets?.some((one) => one.name === name)).length;
    return {
      bars: texts(".controlstack-result"),
      tables: texts(".controlstack-remark pre").map((text) => text.split("\n")[0]),
      owners: [owners("controlstack_result"), owners("controlstack_remark")],
    };
  });

const view = (page) =>
  page.evaluate((screen) => {
    Object.assign(window.app.canvas.ds, screen);
    window.app.canvas.setDirty(true, true);
  }, SCREEN);

// As it is once nothing changes any more.
async function atEnd(page) {
  await view(page);
  await atRest(page, () => look(page), { calmMs: 500 });
  return look(page);
}

// Run with another strength: Add ControlNet does not come from ComfyUI's cache, where it may lie
// under the name of another node.
async function ran(page) {
  await page.evaluate(
    ([type, share]) => {
      const root = window.app.rootGraph ?? window.app.graph;
      const all = [root, ...(root.subgraphs?.values() ?? [])].flatMap((graph) => graph.nodes);
      const add = all.find((one) => one.type === type);
      add.widgets.find((one) => one.name === "strength").value = 0.5 + share;
    },
    [ADD, (unused() % 4999) / 10_000],
  );
  const end = await run(page);
  await until(page, () => document.querySelector(".controlstack-result"));
  return { end, ...(await atEnd(page)) };
}

const command = (page, name) =>
  page.evaluate((name) => window.app.extensionManager.command.execute(name), name);

const capture = (page) =>
  page.evaluate(() => {
    const tracker = window.app.extensionManager.workflow.activeWorkflow.changeTracker;
    (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
  });

const keys = async (page, combination, title) => {
  await page.evaluate(() => document.activeElement?.blur());
  await page.mouse.click(1400, 900);
  await page.keyboard.press(combination);
  const hasTitle = (title) =>
    window.app.graph.nodes.find((one) => one.type === "KSampler")?.title === title;
  await until(page, hasTitle, title);
};

// A change that no setting of the nodes has to do with, as one step of undo.
const rename = async (page, title) => {
  await page.evaluate((title) => {
    window.app.graph.nodes.find((one) => one.type === "KSampler").title = title;
  }, title);
  await capture(page);
  await frames(page, 4);
};

const nodes2 = (page, on) =>
  page.evaluate(
    (on) => window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", on), on);

const twin = (page, isPasted) =>
  page.evaluate(
    ([type, isPasted]) => {
      const { canvas, graph } = window.app;
      const node = graph.nodes.find((one) => one.type === type);
      if (isPasted) {
        canvas.deselectAll?.();
        canvas.select(node);
        canvas.copyToClipboard();
        canvas.pasteFromClipboard({ position: [node.pos[0], node.pos[1] + 900] });
        return;
      }
      const copy = node.clone();
      copy.pos = [node.pos[0], node.pos[1] + 900];
      graph.add(copy);
    },
    [ADD, isPasted],
  );

const removeTwin = (page) =>
  page.evaluate((type) => {
    const { graph } = window.app;
    const [, ...twins] = graph.nodes.filter((one) => one.type === type);
    twins.forEach((one) => graph.remove(one));
  }, ADD);

const enter = (page, isInside) =>
  page.evaluate((isInside) => {
    const { app } = window;
    const root = app.rootGraph ?? app.graph;
    app.canvas.setGraph(isInside ? root.nodes.find((one) => one.subgraph).subgraph : root);
  }, isInside);

const STEPS = {
  async undo(page) {
    await rename(page, "one");
    await rename(page, "two");
    await keys(page, "Control+z", "one");
  },
  redo: (page) => keys(page, "Control+y", "two"),
  async tabs(page) {
    await command(page, "Comfy.NewBlankWorkflow");
    await until(page, () => !window.app.graph.nodes.length);
    await command(page, "Workspace.PreviousOpenedWorkflow");
    await until(page, () => window.app.graph.nodes.length > 3);
  },
  renderer: (page) => nodes2(page, !ask.vue),
  rendererBack: (page) => nodes2(page, ask.vue),
  paste: (page) => twin(page, true),
  removed: removeTwin,
  clone: (page) => twin(page, false),
  async group(page) {
    await removeTwin(page);
    await page.evaluate((type) => {
      const { canvas, graph } = window.app;
      canvas.deselectAll?.();
      canvas.select(graph.nodes.find((one) => one.type === type));
    }, ADD);
    await command(page, "Comfy.Graph.GroupSelectedNodes");
    await frames(page, 4);
    await page.keyboard.press("Escape");
    await page.evaluate(() => document.activeElement?.blur());
  },
  async intoSubgraph(page) {
    await page.evaluate(
      (types) => {
        const { app } = window;
        const all = app.graph.nodes.filter((one) => types.includes(one.type));
        app.canvas.setGraph(app.graph.convertToSubgraph(new Set(all)).subgraph);
      },
      [ADD, REPORT],
    );
  },
  async inAgain(page) {
    await enter(page, false);
    await frames(page, 6);
    await enter(page, true);
  },
  async outAndUnpacked(page) {
    await enter(page, false);
    await page.evaluate(() => {
      const root = window.app.rootGraph ?? window.app.graph;
      root.unpackSubgraph(root.nodes.find((one) => one.subgraph));
    });
  },
  async reload(page) {
    await capture(page);
    await page.waitForTimeout(1500); // the frontend saves drafts after a while
    await page.reload();
    await page.waitForFunction(
      () => window.app?.graph?.nodes?.some((one) => one.type === "ControlStackAdd"),
      null,
      { timeout: 60_000 },
    );
  },
};
const RUN_AFTER = ["intoSubgraph", "outAndUnpacked", "reload"]; // where nodes are others

const browser = await launch();
const seen = {}, failed = {};
try {
  await settle();
  const { page, errors } = await openPage(browser, { viewport: VIEW });
  await openWithReport(page);
  await page.evaluate((type) => {
    window.app.graph.nodes.find((one) => one.type === type).pos = [0, 900];
  }, REPORT);
  await capture(page);
  const first = await ran(page);
  for (const [name, step] of Object.entries(STEPS)) {
    try {
      await step(page);
      seen[name] = await atEnd(page);
      if (RUN_AFTER.includes(name)) seen[`${name} and run`] = await ran(page);
    } catch (error) {
      failed[name] = String(error).slice(0, 400);
    }
    await page.screenshot({ path: join(ask.pictures, `stay-${ask.cell}-${name}.png`) });
  }
  console.log(JSON.stringify({ first, seen, failed, errors }));
} finally {
  await browser.close();
}
