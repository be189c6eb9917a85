// What scenes of Control Stack Panel share: one panel in the page, and what it shows.
import { atRest, until } from "./browser.mjs";

const EMPTY = {
  ...{ nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 },
  ...{ last_node_id: 0, last_link_id: 0 },
};
export const panel = (page) => page.locator(".controlstack-panel:visible").last();
export const row = (page, number) =>
  panel(page).locator(".controlstack-panel-row").nth(number - 1);
// Until the panel has come to rest where it is.
export const rest = (page) =>
  atRest(
    page,
    () =>
      page.evaluate(() =>
        [...document.querySelectorAll(".controlstack-panel, .controlstack-panel-row")].map(
          (one) => {
            const { x, y, width, height } = one.getBoundingClientRect();
            return [x, y, width, height];
          },
        ),
      ),
    { calmMs: 150 },
  );

// One panel with these rows, alone or with a picture connected.
export async function start(page, rows = null, { picture = false, keep = false } = {}) {
  await page.evaluate(
    async ({ empty, rows, picture, keep }) => {
      const { app } = window;
      if (!keep) await app.loadGraphData(empty);
      const node = LiteGraph.createNode("ControlStackPanel");
      node.pos = [100, 40];
      app.graph.add(node);
      const widget = node.widgets.find((one) => one.name === "rows");
      if (rows) widget.value = JSON.stringify({ v: 1, rows });
      if (picture) {
        const source = LiteGraph.createNode("LoadImage");
        source.pos = [-300, 40];
        app.graph.add(source);
        source.widgets.find((one) => one.name === "image").value = "example.png";
        source.connect(0, node, node.inputs.findIndex((one) => one.name.endsWith("image0")));
      }
      Object.assign(app.canvas.ds, { scale: 1, offset: [120, 40] });
      app.canvas.setDirty(true, true);
      const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
      (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
    },
    { empty: EMPTY, rows, picture, keep },
  );
  await panel(page).waitFor();
  await until(page, () => {
    const select = document.querySelector(".controlstack-panel .net select");
    return !select || select.options.length > 1;
  });
  await rest(page);
}

// What is seen in the panel, and what would run: the same keys of every row.
export const look = (page) =>
  page.evaluate(async () => {
    const { app } = window;
    const { output } = await app.graphToPrompt();
    const text = Object.values(output).find((one) => one.class_type === "ControlStackPanel").inputs
      .rows;
    const panels = [...document.querySelectorAll(".controlstack-panel")];
    const element = panels.filter((one) => one.checkVisibility()).at(-1);
    const choice = (row, place) => {
      const { value } = row.querySelector(place);
      return value && JSON.parse(value);
    };
    const seen = [...element.querySelectorAll(".controlstack-panel-row")].map((row) => ({
      on: row.querySelector('.controlstack-main > input[type="checkbox"]').checked,
      net: choice(row, ".net select"),
      image: choice(row, ".hint select"),
      method: choice(row, ".hint select + select"),
      strength: row.querySelectorAll(".when input")[0].valueAsNumber,
      start: row.querySelectorAll(".when input")[1].valueAsNumber,
      end: row.querySelectorAll(".when input")[2].valueAsNumber,
      mode: choice(row, ".when select"),
    }));
    const defaults = {
      ...{ on: true, net: "", image: 0, method: "none", strength: 1, start: 0, end: 1 },
      mode: "balanced",
    };
    let runs = null;
    try {
      runs = JSON.parse(text).rows.map((one) =>
        Object.fromEntries(
          Object.entries(defaults).map(([key, value]) => [key, one[key] ?? value]),
        ),
      );
    } catch {
      runs = text;
    }
    const node = app.canvas.graph.nodes.find((one) => one.type === "ControlStackPanel");
    return { seen, runs, text, connected: element.isConnected, pos: [...(node?.pos ?? [])] };
  });

export const text = async (page) => (await look(page)).text;

export async function undo(page, key = "Control+z") {
  const before = await text(page);
  await page.evaluate(() => document.activeElement?.blur());
  await page.mouse.click(1240, 860);
  await page.keyboard.press(key);
  await until(
    page,
    (before) => {
      const node = window.app.canvas.graph.nodes.find((one) => one.type === "ControlStackPanel");
      return node?.widgets.find((one) => one.name === "rows").value !== before;
    },
    before,
  );
  await rest(page);
}

// The change is a step of undo: numbers wait for the last of several keys.
export const captured = (page) =>
  until(page, () => {
    const { activeState } = window.app.extensionManager.workflow.activeWorkflow.changeTracker;
    const node = window.app.graph.nodes.find((one) => one.type === "ControlStackPanel");
    const { value } = node.widgets.find((one) => one.name === "rows");
    return JSON.stringify(activeState).includes(JSON.stringify(value));
  });
