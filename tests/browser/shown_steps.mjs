// The steps that build nodes anew, for the scenes that compare what is shown with what runs: undo,
// redo, tabs, renderers, copies, groups, subgraphs and a reload.
import { ask, frames, until } from "./browser.mjs";

const command = (page, name) =>
  page.evaluate((name) => window.app.extensionManager.command.execute(name), name);

const view = (page) =>
  page.evaluate(() => {
    Object.assign(window.app.canvas.ds, { scale: 1, offset: [200, 40] });
    window.app.canvas.setDirty(true, true);
  });

const keys = async (page, combination) => {
  await page.evaluate(() => document.activeElement?.blur());
  await page.mouse.click(1200, 800);
  await page.keyboard.press(combination);
};

const choose = (page, type) =>
  page.evaluate((type) => {
    const { canvas } = window.app;
    const node = canvas.graph.nodes.find((one) => one.type === type);
    canvas.deselectAll?.();
    canvas.select(node);
    return String(node.id);
  }, type);

async function removeTwin(page, type) {
  await page.evaluate((type) => {
    const { graph } = window.app;
    const [, twin] = graph.nodes.filter((one) => one.type === type);
    graph.remove(twin);
  }, type);
}

// `type`: of the one node; `rest(page)` waits until it is drawn; `start(page)` makes it in a new
// workflow; `change(page, turn)` is one step of undo, another one for each turn.
export const stepsOf = ({ type, rest, start, change }) => ({
  async undo(page) {
    for (const turn of [0, 1, 2]) await change(page, turn);
    await keys(page, "Control+z");
    await rest(page);
    await keys(page, "Control+z");
  },
  async redo(page) {
    for (const turn of [3, 4]) await change(page, turn);
    await keys(page, "Control+z");
    await rest(page);
    await keys(page, "Control+y");
  },
  async tabs(page) {
    await command(page, "Comfy.NewBlankWorkflow");
    await rest(page);
    await start(page);
    await change(page, 5);
    await command(page, "Workspace.PreviousOpenedWorkflow");
    await until(page, () => window.app.graph.nodes.length === 1);
    await view(page);
  },
  async renderer(page) {
    await page.evaluate((vue) => {
      window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", vue);
    }, !ask.vue);
    await rest(page);
  },
  async rendererBack(page) {
    await page.evaluate((vue) => {
      window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", vue);
    }, ask.vue);
    await rest(page);
  },
  async paste(page) {
    await choose(page, type);
    await page.evaluate(() => {
      const { canvas } = window.app;
      canvas.copyToClipboard();
      canvas.pasteFromClipboard({ position: [560, 60] });
    });
    await rest(page);
  },
  async removed(page) {
    await removeTwin(page, type);
    await rest(page);
  },
  async clone(page) {
    await page.evaluate((type) => {
      const { graph } = window.app;
      const node = graph.nodes.find((one) => one.type === type);
      const twin = node.clone();
      twin.pos = [560, 60];
      graph.add(twin);
    }, type);
    await rest(page);
  },
  async group(page) {
    await removeTwin(page, type);
    await rest(page);
    await choose(page, type);
    await command(page, "Comfy.Graph.GroupSelectedNodes");
    await frames(page, 4);
    await page.keyboard.press("Escape");
    await page.evaluate(() => document.activeElement?.blur());
  },
  async intoSubgraph(page) {
    await page.evaluate((type) => {
      const { app } = window;
      const node = app.graph.nodes.find((one) => one.type === type);
      const holder = app.graph.convertToSubgraph(new Set([node]));
      app.canvas.setGraph(holder.subgraph);
      const inside = holder.subgraph.nodes[0];
      inside.pos = [100, 60];
    }, type);
    await view(page);
    await rest(page);
    await view(page);
  },
  async inAgain(page) {
    await page.evaluate(() => {
      const { app } = window;
      app.canvas.setGraph(app.rootGraph ?? app.graph);
    });
    await rest(page);
    await page.evaluate(() => {
      const { app } = window;
      const [holder] = app.rootGraph.nodes.filter((one) => one.subgraph);
      app.canvas.setGraph(holder.subgraph);
    });
    await rest(page);
    await view(page);
  },
  async outAndUnpacked(page) {
    await page.evaluate(() => {
      const { app } = window;
      app.canvas.setGraph(app.rootGraph);
      const [holder] = app.rootGraph.nodes.filter((one) => one.subgraph);
      app.rootGraph.unpackSubgraph(holder);
      app.rootGraph.nodes[0].pos = [100, 60];
    });
    await rest(page);
    await view(page);
  },
  async reload(page) {
    await page.evaluate(() => {
      const tracker = window.app.extensionManager.workflow.activeWorkflow.changeTracker;
      (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
    });
    await page.waitForTimeout(1500); // the frontend saves drafts after a while
    await page.reload();
    await page.waitForFunction(
      (type) => window.app?.graph?.nodes?.some((one) => one.type === type),
      type,
      { timeout: 60000 }, // a busy machine loads the whole page slowly
    );
    await rest(page);
    await view(page);
  },
});
