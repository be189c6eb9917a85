// Works Control Stack Panel as a user would, in one renderer of one page, and prints what became of
// it as JSON. node panel_scenes.mjs ASK.json, with browser.mjs's keys and {"cell": NAME,
// "pictures": DIR, "only": [SCENE, ...]}
import { join } from "node:path";
import { ask, clock, frames, launch, openPage, settle, until } from "./browser.mjs";
import { fromEmptyCanvas } from "./panel_job.mjs";
import { captured, look, panel, rest, row, start, text, undo } from "./panel_page.mjs";
import { presetScenes } from "./panel_presets.mjs";

const VIEW = { width: 1300, height: 900 };
const SDXL = "plain_sdxl.safetensors", UNION = "union_sdxl.safetensors";

const label = (page, number, name) => row(page, number).getByLabel(`row ${number}: ${name}`);
const handle = (page, number) => row(page, number).locator(".controlstack-handle");

const centre = async (locator) => {
  const box = await locator.boundingBox();
  return [box.x + box.width / 2, box.y + box.height / 2];
};

const THREE = [
  { id: "a1", net: SDXL, strength: 0.5, mine: { later: [1] } },
  { id: "a2", net: UNION, method: "canny" },
  { id: "a3", net: "union_flux.safetensors", on: false },
];

const SCENES = {
  // A row by clicks and keys: what is shown runs, and each act is a step of undo.
  async edited(page) {
    await start(page, null, { picture: true });
    const created = await look(page);
    const add = panel(page).getByRole("button", { name: "add a row" });
    await add.click();
    await frames(page, 3);
    await label(page, 1, "ControlNet").selectOption(JSON.stringify(SDXL));
    await frames(page, 3);
    await label(page, 1, "preprocessor").last().selectOption('"canny"');
    await frames(page, 3);
    await label(page, 1, "strength").fill("0.35");
    await page.keyboard.press("Tab");
    await captured(page);
    await label(page, 1, "mode").selectOption('"prompt"');
    await frames(page, 3);
    await label(page, 1, "settings").click();
    await label(page, 1, "low_threshold").fill("42");
    await page.keyboard.press("Tab");
    await captured(page);
    const edited = await look(page);
    await undo(page);
    const undone = await look(page);
    await undo(page, "Control+y");
    const redone = await look(page);
    await label(page, 1, "strength").fill("0.7");
    await frames(page, 3);
    return { created, edited, undone, redone, after: await look(page) };
  },

  // What is typed, then undone over the canvas: the page's undo takes it back, and the browser's
  // own, which would do so once more wherever the focus is, nothing.
  async typed(page) {
    await start(page, THREE);
    const first = await look(page);
    await label(page, 1, "strength").click();
    await page.keyboard.press("Control+a");
    await page.keyboard.type("0.31");
    await page.mouse.click(1240, 860);
    await captured(page);
    const written = await look(page);
    await undo(page);
    const undone = await look(page);
    await undo(page, "Control+y");
    const redone = await look(page);
    await page.evaluate(() => document.execCommand("undo"));
    await frames(page, 3);
    const own = await look(page);
    await label(page, 2, "strength").click();
    await page.keyboard.press("Control+a");
    await page.keyboard.type("0.6");
    await frames(page, 3);
    return { first, written, undone, redone, own, last: await look(page) };
  },

  async ordered(page) {
    await start(page, THREE, { picture: true });
    const before = await look(page);
    const [x, y] = await centre(handle(page, 1));
    const [, below] = await centre(handle(page, 3));
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x, below + 12, { steps: 8 });
    await page.mouse.up();
    await frames(page, 4);
    const dragged = await look(page);
    await undo(page);
    const undone = await look(page);
    const seen = {};
    await handle(page, 1).focus();
    for (const key of ["ArrowDown", "End", "Home", "d", "m", "s", "Delete"]) {
      await page.keyboard.press(key);
      await frames(page, 2);
      const { runs } = await look(page);
      seen[key] = runs.map(({ net, on }) => `${net.split(".")[0]}${on ? "" : " off"}`);
    }
    const nodes = await page.evaluate(() => window.app.graph.nodes.length);
    return { before, dragged, undone, seen, nodes, last: await look(page) };
  },

  // A row made and set with the keyboard alone; the name that each stop of the Tab key has.
  async walked(page) {
    await start(page, [{ id: "a1", net: SDXL }], { picture: true });
    await panel(page).getByRole("button", { name: "add a row" }).focus();
    await page.keyboard.press("Enter");
    await frames(page, 4);
    const [, { net: offered }] = (await look(page)).runs;
    await panel(page).getByRole("button", { name: "add a row" }).focus();
    const stops = [];
    const focused = () => page.evaluate(() => {
      const one = document.activeElement;
      if (!one?.closest(".controlstack-panel")) return null;
      return one.ariaLabel ?? one.labels?.[0]?.textContent ?? one.textContent.trim();
    });
    for (let tabs = 0; tabs < 60; tabs++) {
      await page.keyboard.press("Tab");
      const name = await focused();
      if (name === null) break;
      stops.push(name);
      if (name === "row 2: ControlNet") await page.keyboard.press("ArrowDown");
      if (name === "row 2: mode") await page.keyboard.press("ArrowDown");
      if (name === "row 2: strength") {
        await page.keyboard.press("Control+a");
        await page.keyboard.type("0.55");
      }
      if (name === "row 2: on") await page.keyboard.press("Space");
    }
    await frames(page, 3);
    return { offered, stops, last: await look(page) };
  },

  // After whatever builds nodes anew, what is shown is what runs, and stays so when it is edited.
  async built(page) {
    await start(page, THREE, { picture: true });
    const seen = {};
    const check = async (name) => {
      await until(page, () => {
        const node = window.app.canvas.graph.nodes.find((one) => one.type === "ControlStackPanel");
        const { element } = node.widgets.find((one) => one.name === "rows");
        const panels = [...document.querySelectorAll(".controlstack-panel")];
        const shown = panels.filter((one) => one.checkVisibility());
        return shown.length === 1 && shown[0] === element;
      });
      await rest(page);
      const first = await look(page);
      await label(page, 2, "strength").fill(`0.${10 + Object.keys(seen).length}`);
      await frames(page, 3);
      seen[name] = { first, then: await look(page) };
    };
    const renderer = (vue) =>
      page.evaluate(
        (vue) => window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", vue), vue,
      );
    const reload = () =>
      page.evaluate(() => {
        const saved = JSON.parse(JSON.stringify(window.app.graph.serialize()));
        return window.app.loadGraphData(saved);
      });
    const clone = () =>
      page.evaluate(() => {
        const { graph } = window.app;
        const node = graph.nodes.find((one) => one.type === "ControlStackPanel");
        const twin = node.clone();
        twin.pos = [...node.pos];
        graph.remove(node);
        graph.add(twin);
      });
    const subgraph = () =>
      page.evaluate(() => {
        const { app } = window;
        const node = app.graph.nodes.find((one) => one.type === "ControlStackPanel");
        const holder = app.graph.convertToSubgraph(new Set([node]));
        (holder.subgraph ?? holder.node.subgraph).nodes[0].pos = [100, 40];
        app.canvas.setGraph(holder.subgraph ?? holder.node.subgraph);
        Object.assign(app.canvas.ds, { scale: 1, offset: [120, 40] });
      });
    const steps = {
      reload, clone, renderer: () => renderer(!ask.vue), back: () => renderer(ask.vue), subgraph,
    };
    for (const [name, step] of Object.entries(steps)) {
      await step();
      await check(name);
    }
    return { seen };
  },

  // The rows of a panel in a subgraph, which its node shows.
  async promoted(page) {
    await start(page, THREE, { picture: true });
    await page.evaluate(async () => {
      const { app } = window;
      const panel = app.graph.nodes.find((one) => one.type === "ControlStackPanel");
      const { node } = app.graph.convertToSubgraph(new Set([panel]));
      node.properties.proxyWidgets = [[String(node.subgraph.nodes[0].id), "rows"]];
      const saved = JSON.parse(JSON.stringify(app.graph.serialize()));
      for (const one of saved.nodes) {
        if (one.id === node.id) Object.assign(one, { pos: [100, 40], size: [690, 600] });
      }
      await app.loadGraphData(saved);
      Object.assign(app.canvas.ds, { scale: 1, offset: [120, 40] });
      app.canvas.setDirty(true, true);
    });
    await panel(page).locator(".controlstack-panel-row").nth(2).waitFor();
    await rest(page);
    const first = await look(page);
    await label(page, 2, "strength").fill("0.77");
    await frames(page, 3);
    await page.screenshot({ path: join(ask.pictures, `panel-promoted-${ask.cell}.png`) });
    return { first, then: await look(page) };
  },

  // With live hints, a row of a method without a network shows its hint at once.
  async live(page) {
    const live = (isOn) => page.evaluate((isOn) =>
      window.app.extensionManager.setting.set("ControlStack.LiveHint", isOn), isOn);
    await live(true);
    await start(page, [{ id: "a1", net: SDXL, method: "canny" }], { picture: true });
    const shown = (before = "") => until(page, (before) => {
      const hint = document.querySelector(".controlstack-thumb:not(.controlstack-source)");
      return hint?.src.startsWith("blob:") && hint.src !== before && hint.complete;
    }, before);
    const source = () => row(page, 1).locator(".controlstack-thumb").getAttribute("src");
    await shown();
    const first = await source();
    await label(page, 1, "settings").click();
    await label(page, 1, "low_threshold").fill("250");
    await shown(first);
    const second = await source();
    await live(false);
    return { first, second };
  },

  // Files that are gone, nets that do not fit, markup in names.
  async marked(page) {
    const nasty = '<img src=x onerror="window.hit=1">';
    await start(page, [
      { id: "a1", net: "gone.safetensors" }, { id: "a2", net: `${nasty}.pth`, method: nasty },
      { id: nasty, net: "a_lora.safetensors", strength: "much", image: 3 },
      { id: "a4", net: SDXL, mode: nasty },
    ]);
    await until(page, () => document.querySelector(".controlstack-marks p"));
    const marks = await panel(page).locator(".controlstack-marks").allTextContents();
    const before = await text(page);
    await label(page, 1, "strength").fill("0.4");
    await frames(page, 2);
    const images = await panel(page).locator("img:not(.controlstack-thumb)").count();
    await page.screenshot({ path: join(ask.pictures, `panel-marks-${ask.cell}.png`) });
    return {
      marks, before, images, after: await look(page),
      hit: await page.evaluate(() => window.hit ?? 0),
    };
  },

  // A text that is not a panel is shown, said to be so, and never thrown away.
  async broken(page) {
    await start(page, THREE);
    await panel(page).getByRole("button", { name: "show the panel as the text" }).click();
    const raw = panel(page).locator("textarea");
    const written = await raw.inputValue();
    const wrong = `${written.slice(0, -1)}`;
    await raw.fill(wrong);
    await frames(page, 3);
    const alert = await panel(page).getByRole("alert").textContent();
    const stays = await page.evaluate(async () =>
      Object.values((await window.app.graphToPrompt()).output)[0].inputs.rows,
    );
    const rows = await panel(page).locator(".controlstack-panel-row:visible").count();
    await raw.fill('{"v":1,"rows":[{"net":"x"}],"note":1}');
    await frames(page, 3);
    return { written, wrong, stays, alert, rows, right: await look(page) };
  },

  async wired(page) {
    await start(page, THREE);
    await page.evaluate(() => {
      const node = window.app.graph.nodes[0], source = LiteGraph.createNode("PrimitiveString");
      source.pos = [-250, 300];
      window.app.graph.add(source);
      source.widgets[0].value = '{"v":1,"rows":[]}';
      source.connect(0, node, node.inputs.findIndex((one) => one.name === "rows"));
      const tracker = window.app.extensionManager.workflow.activeWorkflow.changeTracker;
      (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
    });
    await until(page, () => document.querySelector(".controlstack-panel-body")?.inert !== false);
    return {
      isLive: await page.evaluate(
        () => [...document.querySelectorAll(".controlstack-panel-body:not([inert])")].filter(
          (one) => one.checkVisibility(),
        ).length,
      ),
    };
  },

  // Work of the page for one step of a number, with twenty rows.
  async fluid(page) {
    const rows = Array.from({ length: 20 }, (_, i) => ({ id: `a${i}`, net: SDXL, strength: 1 }));
    await start(page, rows, { picture: true });
    const busyMs = await clock(page);
    await label(page, 3, "strength").focus();
    await page.keyboard.press("ArrowUp");
    await frames(page, 4);
    const before = await busyMs();
    for (let i = 0; i < 30; i++) {
      await page.keyboard.press("ArrowDown");
      await frames(page, 1);
    }
    const stepMs = ((await busyMs()) - before) / 30;
    const { height } = await panel(page).boundingBox();
    const view = await page.evaluate(() => {
      const body = document.querySelector(".controlstack-panel-body");
      return [body.scrollHeight, body.clientHeight];
    });
    return { stepMs, height, view, ...(await look(page)) };
  },

  async pictures(page) {
    await start(page, [
      { ...THREE[0], method: "canny", params: { low_threshold: 60 } },
      { id: "a2", net: UNION, method: "auto", start: 0.1, end: 0.8, mode: "prompt" },
      { id: "a3", net: "gone.safetensors", on: false },
    ], { picture: true });
    await label(page, 1, "settings").click();
    await label(page, 2, "schedule").click();
    await rest(page);
    await row(page, 2).locator('.controlstack-field[aria-label="schedule"] button').first().click();
    await row(page, 2).locator('select[aria-label="preset"]').first().selectOption("bell");
    await rest(page);
    const clip = { x: 0, y: 0, width: 1100, height: 900 };
    for (const palette of ["dark", "light"]) {
      await page.evaluate(
        (name) => window.app.extensionManager.setting.set("Comfy.ColorPalette", name), palette,
      );
      await frames(page, 20);
      const path = join(ask.pictures, `panel-${ask.cell}-${palette}.png`);
      await page.screenshot({ path, clip });
    }
    await page.evaluate(() =>
      window.app.extensionManager.setting.set("Comfy.ColorPalette", "dark"));
    return look(page);
  },
};

// The newest page's own: it counts the sockets of a node that was removed just before.
const isOurs = (error) => !error.includes("autogrowInputDisconnected");

const browser = await launch();
const outcomes = {};
try {
  await settle();
  const { page, errors } = await openPage(browser, { viewport: VIEW });
  const scenes = { ...SCENES, fromEmptyCanvas, ...presetScenes };
  for (const [name, scene] of Object.entries(scenes)) {
    if (ask.only && !ask.only.includes(name)) continue;
    const began = performance.now();
    outcomes[name] = await scene(page).catch(async (error) => {
      await page.screenshot({ path: join(ask.pictures, `panel-${ask.cell}-${name}-failed.png`) });
      return { failed: String(error).slice(0, 600) };
    });
    const ms = Math.round(performance.now() - began);
    outcomes[name] = { ...outcomes[name], errors: errors.splice(0).filter(isOurs), ms };
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(outcomes));
