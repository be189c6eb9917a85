// Draw Scribble: strokes by mouse, pen, finger and keys; undo in the widget and of the page; what
// is shown is what runs. Prints the scenes as JSON. node canvas_scenes.mjs ASK.json, with
// browser.mjs's keys and {"cell": NAME, "pictures": DIR}
import { join } from "node:path";
import { ask, atRest, clock, frames, launch, openPage, settle, until } from "./browser.mjs";

const EMPTY = {
  ...{ nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 },
  ...{ last_node_id: 0, last_link_id: 0 },
};
const TYPE = "ControlStackScribbleCanvas";

// What a canvas shows, and what would run: `value` runs, `content` is the drawing that it names or
// holds, `ink` the pixels that the shown canvas covers.
const look = (page, { withPicture = false } = {}) =>
  page.evaluate(
    async ({ TYPE, withPicture }) => {
      const { app } = window;
      const { output } = await app.graphToPrompt();
      const run = Object.values(output).find((one) => one.class_type === TYPE)?.inputs ?? {};
      const value = run.drawing ?? "";
      const answer = value.endsWith(".json")
        ? await app.api.fetchApi(`/controlstack/drawings/${value}`)
        : null;
      const content = answer?.ok === false ? "" : ((await answer?.text()) ?? value);
      const strokes = content ? JSON.parse(content).strokes : [];
      const graphs = [app.graph, ...(app.graph.subgraphs?.values() ?? [])];
      const node = graphs.flatMap((graph) => graph.nodes).find((one) => one.type === TYPE);
      const view = node?.widgets[0].controlstack;
      const canvas = [...document.querySelectorAll(".controlstack-sheet canvas")].find((one) =>
        one.checkVisibility(),
      );
      const { data } = canvas
        ? canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
        : { data: [] };
      const alphas = data.filter((_, i) => i % 4 === 3);
      return {
        value, content, status: answer?.status ?? 0, run,
        strokes: Array.isArray(strokes) ? strokes.map(({ tool }) => tool) : strokes,
        shown: view?.drawing?.strokes.map(({ tool }) => tool) ?? [],
        ink: alphas.reduce((sum, alpha) => sum + alpha, 0) / 255,
        isOwn: canvas === view?.painter.canvas,
        problem: view?.message.textContent,
        size: canvas ? [canvas.width, canvas.height] : [],
        picture: withPicture ? canvas.toDataURL() : "",
        pos: node ? [...node.pos] : [],
        view: [app.canvas.ds.scale, ...app.canvas.ds.offset],
        buttons: [...(view?.tools.bar.querySelectorAll("button") ?? [])].map((one) => one.disabled),
      };
    },
    { TYPE, withPicture },
  );

const steps = (page) =>
  page.evaluate(
    () =>
      window.app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.length,
  );

const sheetBox = (page) => page.locator(".controlstack-sheet canvas:visible").first().boundingBox();

const rest = (page) => atRest(page, () => sheetBox(page), { calmMs: 300 });

async function oneNode(page, width = 512, height = 512) {
  await page.evaluate((graph) => window.app.loadGraphData(graph), EMPTY);
  await page.evaluate(
    async ({ TYPE, width, height }) => {
      const node = LiteGraph.createNode(TYPE);
      node.pos = [100, 120];
      window.app.graph.add(node);
      await new Promise((done) => setTimeout(done));
      node.widgets.find(({ name }) => name === "width").value = width;
      node.widgets.find(({ name }) => name === "height").value = height;
      node.setSize([420, 640]);
      Object.assign(window.app.canvas.ds, { scale: 1, offset: [60, 20] });
      window.app.canvas.setDirty(true, true);
      const { changeTracker } = window.app.extensionManager.workflow.activeWorkflow;
      (changeTracker.captureCanvasState ?? changeTracker.checkState).call(changeTracker);
    },
    { TYPE, width, height },
  );
  await page.locator(".controlstack-sheet canvas").first().waitFor();
  await rest(page);
}

// A place of the sheet in the page: x and y are shares of its sides.
async function at(page, x, y) {
  const box = await sheetBox(page);
  return [box.x + box.width * x, box.y + box.height * y];
}

async function drag(page, ...places) {
  const points = [];
  for (const place of places) points.push(await at(page, ...place));
  await page.mouse.move(...points[0]);
  await page.mouse.down();
  for (const point of points.slice(1)) await page.mouse.move(...point, { steps: 6 });
  await page.mouse.up();
  await frames(page, 3);
}

const press = async (page, ...keys) => {
  for (const key of keys) {
    await page.keyboard.press(key);
    await frames(page, 3);
  }
};

async function focus(page) {
  await page.locator(".controlstack-surface:visible").first().focus();
  await frames(page);
}

const scenes = {
  async created(page) {
    await oneNode(page);
    return look(page);
  },

  async mouse(page) {
    await oneNode(page);
    const before = { ...(await look(page)), steps: await steps(page) };
    await drag(page, [0.2, 0.2], [0.8, 0.3], [0.5, 0.8]);
    const after = { ...(await look(page, { withPicture: true })), steps: await steps(page) };
    await drag(page, [0.1, 0.9], [0.9, 0.9]);
    const two = { ...(await look(page)), steps: await steps(page) };
    return { before, after, two };
  },

  async undoInside(page) {
    await focus(page);
    await press(page, "Control+z");
    const undone = await look(page);
    await press(page, "Control+z");
    const empty = await look(page);
    await press(page, "Control+y", "Control+Shift+z");
    return { undone, empty, redone: await look(page) };
  },

  async undoOfThePage(page) {
    await oneNode(page);
    await drag(page, [0.2, 0.2], [0.8, 0.3]);
    await drag(page, [0.2, 0.8], [0.8, 0.7]);
    await page.mouse.click(1500, 1000);
    await frames(page, 4);
    await press(page, "Control+z");
    await rest(page);
    await until(page, () => document.querySelector(".controlstack-sheet canvas"));
    const undone = await look(page);
    await drag(page, [0.5, 0.1], [0.5, 0.9]);
    const drawn = await look(page);
    await focus(page);
    await press(page, "Control+z");
    const inside = await look(page);
    return { undone, drawn, inside };
  },

  async tools(page) {
    await oneNode(page);
    await focus(page);
    await press(page, "l");
    for (const [from, to] of [
      [[0.2, 0.2], [0.8, 0.2]], [[0.8, 0.2], [0.8, 0.8]],
      [[0.8, 0.8], [0.2, 0.8]], [[0.2, 0.8], [0.2, 0.2]],
    ]) await drag(page, from, to);
    await press(page, "f");
    await page.mouse.click(...(await at(page, 0.5, 0.5)));
    await frames(page, 3);
    const filled = await look(page);
    await press(page, "e", "]", "]", "]");
    await drag(page, [0.3, 0.5], [0.7, 0.5]);
    return { filled, erased: await look(page, { withPicture: true }) };
  },

  async penAndTouch(page) {
    await oneNode(page);
    await focus(page);
    await press(page, "b");
    const cdp = await page.context().newCDPSession(page);
    const pen = async (type, place, force) => {
      const [x, y] = await at(page, ...place);
      const button = type === "mouseMoved" ? { buttons: 1 } : { button: "left", clickCount: 1 };
      await cdp.send("Input.dispatchMouseEvent", {
        type, x, y, ...button, pointerType: "pen", force,
      });
    };
    await pen("mousePressed", [0.2, 0.3], 0.2);
    for (let i = 1; i <= 8; i++) await pen("mouseMoved", [0.2 + i * 0.075, 0.3], 0.2 + i * 0.1);
    await pen("mouseReleased", [0.8, 0.3], 0);
    await frames(page, 3);
    const penned = await look(page);
    const touch = async (type, ...places) => {
      const touchPoints = [];
      for (const [id, place] of places.entries()) {
        const [x, y] = await at(page, ...place);
        touchPoints.push({ x, y, id });
      }
      await cdp.send("Input.dispatchTouchEvent", { type, touchPoints });
      await frames(page);
    };
    await touch("touchStart", [0.2, 0.7]);
    for (let i = 1; i <= 4; i++) await touch("touchMove", [0.2 + i * 0.1, 0.7]);
    await touch("touchEnd");
    await frames(page, 3);
    const touched = await look(page);
    const zoom = () =>
      page.evaluate(() => window.app.graph.nodes[0].widgets[0].controlstack.sheetView.zoom);
    await touch("touchStart", [0.4, 0.4]);
    await touch("touchStart", [0.4, 0.4], [0.6, 0.6]);
    const [ax, ay] = await at(page, 0.3, 0.3), [bx, by] = await at(page, 0.7, 0.7);
    await cdp.send("Input.dispatchTouchEvent", {
      type: "touchMove", touchPoints: [{ x: ax, y: ay, id: 0 }, { x: bx, y: by, id: 1 }],
    });
    await frames(page, 2);
    await touch("touchEnd");
    await frames(page, 3);
    const pinched = { ...(await look(page)), zoom: await zoom() };
    await focus(page);
    await press(page, "f");
    await touch("touchStart", [0.5, 0.5]);
    await touch("touchStart", [0.5, 0.5], [0.6, 0.6]);
    await touch("touchEnd");
    await frames(page, 3);
    const tapped = await look(page);
    await press(page, "0", "b");
    return { penned, touched, pinched, tapped, whole: await zoom() };
  },

  async keys(page) {
    await oneNode(page);
    await focus(page);
    await press(page, "Space", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowDown", "Space");
    const drawn = await look(page);
    await press(page, "Delete", "Control+a");
    return { drawn, after: await look(page) };
  },

  async clearAndBack(page) {
    await oneNode(page);
    await drag(page, [0.2, 0.2], [0.8, 0.8]);
    const before = await look(page);
    await page.locator('.controlstack-tools button[aria-label^="clear"]').first().click();
    await frames(page, 3);
    const cleared = await look(page);
    await page.locator('.controlstack-tools button[aria-label^="take the last"]').first().click();
    await frames(page, 3);
    return { before, cleared, back: await look(page) };
  },

  async savedAndLoaded(page) {
    const before = await look(page);
    const saved = await page.evaluate(() => window.app.graph.serialize());
    await page.evaluate((graph) => window.app.loadGraphData(graph), saved);
    await rest(page);
    const after = await look(page);
    await page.evaluate((TYPE) => {
      const { app } = window;
      const node = app.graph.nodes.find((one) => one.type === TYPE);
      app.canvas.selectNode?.(node);
      app.canvas.copyToClipboard(new Set([node]));
      app.canvas.pasteFromClipboard();
    }, TYPE);
    await frames(page, 4);
    const copies = await page.evaluate(
      (TYPE) =>
        window.app.graph.nodes
          .filter((one) => one.type === TYPE)
          .map((node) => [
            node.widgets[0].value, node.widgets[0].controlstack.drawing.strokes.length,
          ]),
      TYPE,
    );
    return { before, after, copies, stored: saved.nodes[0].widgets_values };
  },

  async subgraph(page) {
    await oneNode(page);
    await drag(page, [0.2, 0.2], [0.8, 0.8]);
    const before = await look(page);
    await page.evaluate((TYPE) => {
      const { graph } = window.app;
      graph.convertToSubgraph(new Set(graph.nodes.filter((one) => one.type === TYPE)));
    }, TYPE);
    await frames(page, 4);
    return { before, after: await look(page) };
  },

  // The drawing of a node in a subgraph, which its node shows: drawn there, by mouse and by keys.
  async promoted(page) {
    await oneNode(page);
    await page.evaluate(async (TYPE) => {
      const { app } = window;
      const canvas = app.graph.nodes.find((one) => one.type === TYPE);
      const { node } = app.graph.convertToSubgraph(new Set([canvas]));
      node.properties.proxyWidgets = [[String(node.subgraph.nodes[0].id), "drawing"]];
      const saved = JSON.parse(JSON.stringify(app.graph.serialize()));
      for (const one of saved.nodes) Object.assign(one, { pos: [100, 120], size: [420, 520] });
      await app.loadGraphData(saved);
      Object.assign(app.canvas.ds, { scale: 1, offset: [60, 20] });
      app.canvas.setDirty(true, true);
    }, TYPE);
    const onNode = () =>
      page.evaluate(async (TYPE) => {
        const { app } = window, { output } = await app.graphToPrompt();
        const [input] = app.graph.nodes.find((one) => one.subgraph).inputs;
        const sheets = [...document.querySelectorAll(".controlstack-sheet canvas")];
        const shown = sheets.filter((one) => one.checkVisibility());
        const { data } = shown[0].getContext("2d")
          .getImageData(0, 0, shown[0].width, shown[0].height);
        return {
          shown: shown.length, value: input._widget.value,
          runs: Object.values(output).find((one) => one.class_type === TYPE).inputs.drawing,
          ink: data.filter((alpha, i) => i % 4 === 3 && alpha > 127).length,
        };
      }, TYPE);
    await until(page, () => [...document.querySelectorAll(".controlstack-sheet canvas")]
      .some((one) => one.checkVisibility()));
    await rest(page);
    const before = await onNode();
    await drag(page, [0.2, 0.2], [0.8, 0.8]);
    const drawn = await onNode();
    await focus(page);
    await press(page, "Control+z");
    const undone = await onNode();
    await press(page, "l", "Space", "Shift+ArrowRight", "Space");
    const again = await onNode();
    await press(page, "b"); // the tools are the same for all scenes
    await page.evaluate(() => {
      const { app } = window;
      return app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())));
    });
    await rest(page);
    await until(page, () => [...document.querySelectorAll(".controlstack-sheet canvas")]
      .some((one) => one.checkVisibility()));
    await page.waitForTimeout(300);
    const loaded = await onNode();
    await page.screenshot({ path: join(ask.pictures, `canvas-${ask.cell}-promoted.png`) });
    return { before, drawn, undone, again, loaded };
  },

  async rendererSwitched(page) {
    await oneNode(page);
    await drag(page, [0.2, 0.2], [0.8, 0.8]);
    const set = (on) =>
      page.evaluate(
        (on) => window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", on), on);
    await set(!ask.vue);
    await frames(page, 6);
    await until(page, () =>
      document.querySelector(".controlstack-sheet canvas")?.checkVisibility());
    await rest(page);
    const switched = await look(page);
    await drag(page, [0.2, 0.8], [0.8, 0.2]);
    const drawn = await look(page);
    await set(ask.vue);
    await frames(page, 6);
    await rest(page);
    return { switched, drawn, back: await look(page) };
  },

  async notStored(page) {
    await oneNode(page);
    await page.route("**/controlstack/drawings", (route) =>
      route.fulfill({ status: 507, json: { error: "drawing.json: the disk is full." } }));
    await drag(page, [0.13, 0.21], [0.77, 0.79]); // a stroke that no other scene has stored
    await until(page, () => window.app.graph.nodes[0].widgets[0].value.startsWith("{"));
    const inline = await look(page);
    await page.unroute("**/controlstack/drawings");
    await drag(page, [0.2, 0.8], [0.8, 0.2]);
    await frames(page, 4);
    return { inline, stored: await look(page) };
  },

  async gone(page) {
    await oneNode(page);
    await page.evaluate(() => {
      window.app.graph.nodes[0].widgets[0].value = "gone.json";
    });
    await until(page, () =>
      window.app.graph.nodes[0].widgets[0].controlstack.message.textContent.includes("gone"));
    const refused = await look(page);
    await page.evaluate(() => {
      const text = '{"v": 1, "width": 64, "height": 64, "strokes": "<img src=x>"}';
      window.app.graph.nodes[0].widgets[0].value = text;
    });
    await frames(page, 3);
    return { refused, markup: await look(page), images: await page.locator("p img").count() };
  },

  // What a move of the pointer draws, on 1024 x 1024 with 200 strokes: counted, not timed.
  async fluid(page) {
    await oneNode(page, 1024, 1024);
    await page.evaluate(() => {
      const strokes = Array.from({ length: 200 }, (_, i) => ({
        tool: "brush", size: 6,
        points: Array.from({ length: 50 }, (_, k) => [20 * k, 5 * i, 1]).flat(),
      }));
      const text = JSON.stringify({ v: 1, width: 1024, height: 1024, strokes });
      window.app.graph.nodes[0].widgets[0].value = text;
    });
    await frames(page, 4);
    const segments = () =>
      page.evaluate(() => window.app.graph.nodes[0].widgets[0].controlstack.painter.segments);
    await page.mouse.move(...(await at(page, 0.2, 0.5)));
    await page.mouse.down();
    await frames(page, 2);
    const before = await segments();
    const busyMs = await clock(page);
    const began = await busyMs();
    for (let i = 1; i <= 20; i++) {
      await page.mouse.move(...(await at(page, 0.2 + i * 0.02, 0.5 + 0.1 * Math.sin(i))));
      await frames(page, 1);
    }
    const moveMs = ((await busyMs()) - began) / 20;
    const moved = (await segments()) - before;
    await page.mouse.up();
    await frames(page, 3);
    const seen = await look(page);
    return { moveMs, moved, ended: (await segments()) - before - moved, count: seen.shown.length };
  },

  async pictures(page) {
    await oneNode(page);
    const palette = (name) =>
      page.evaluate(
        (name) => window.app.extensionManager.setting.set("Comfy.ColorPalette", name), name);
    await palette("dark");
    await page.evaluate(async () => {
      const { app } = window, node = app.graph.nodes[0];
      const loader = LiteGraph.createNode("LoadImage");
      loader.pos = [600, 120];
      app.graph.add(loader);
      loader.widgets.find(({ name }) => name === "image").value = "example.png";
      loader.connect(0, node, node.inputs.findIndex(({ name }) => name === "image"));
    });
    await until(page, () => document.querySelector(".controlstack-sheet img")?.naturalWidth > 0);
    await drag(page, [0.1, 0.7], [0.4, 0.3], [0.7, 0.6], [0.95, 0.4]);
    await page.mouse.move(...(await at(page, 0.5, 0.5)));
    await frames(page, 3);
    const shot = (name) =>
      page.screenshot({
        path: join(ask.pictures, `canvas-${ask.cell}-${name}.png`),
        clip: { x: 60, y: 60, width: 1100, height: 860 },
      });
    await shot("dark");
    await palette("light");
    await page.evaluate(() => {
      const { nodes } = window.app.graph;
      const node = nodes.find((one) => one.widgets.some(({ name }) => name === "invert"));
      const widget = node.widgets.find(({ name }) => name === "invert");
      widget.value = true;
      widget.callback?.(true);
    });
    await frames(page, 6);
    await shot("light");
    await palette("dark");
    const source = await page.evaluate(
      () => document.querySelector(".controlstack-sheet img").src);
    return { source, ...(await look(page)) };
  },
};

const browser = await launch();
const seen = {};
try {
  await settle();
  const { page, errors } = await openPage(browser);
  for (const [name, scene] of Object.entries(scenes)) {
    if (ask.only && !ask.only.includes(name)) continue;
    try {
      seen[name] = await scene(page);
    } catch (error) {
      seen[name] = { failed: String(error.stack ?? error).slice(0, 800) };
    }
  }
  seen.errors = errors;
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
