// Photographs step by step how Control Stack Panel leads from a photo to a controlled picture.
// node panel_walk.mjs ASK.json, with the keys of tests/browser/browser.mjs and {"pictures": DIR,
// "checkpoint": FILE, "positive": TEXT, "size": PX}
import { join } from "node:path";
import { ask, frames, launch, openPage, settle, until } from "../tests/browser/browser.mjs";

const VIEW = { width: 1500, height: 640 };
const LOADER = "CheckpointLoaderSimple", PANEL = "ControlStackPanel";
const SEED = { seed: 1, control_after_generate: "fixed" };
const SAMPLER = { steps: 20, cfg: 2, sampler_name: "euler", scheduler: "normal" };
// Nodes: type, place, size, values by name, and wires [type, nth, output, input].
const NODES = [
  [LOADER, [0, 40], [270, 98], { ckpt_name: ask.checkpoint }, []],
  ["LoadImage", [0, 190], [270, 330], { image: "house.png" }, []],
  ["CLIPTextEncode", [300, 40], [270, 150], { text: ask.positive }, [[LOADER, 0, 1, "clip"]]],
  ["CLIPTextEncode", [300, 240], [270, 110], { text: "" }, [[LOADER, 0, 1, "clip"]]],
  ["EmptyLatentImage", [300, 400], [270, 106], { width: ask.size, height: ask.size }, []],
  [PANEL, [600, 40], [690, 330], {}, [
    ["LoadImage", 0, 0, "images.image0"], [LOADER, 0, 0, "model"],
    ["CLIPTextEncode", 0, 0, "positive"], ["CLIPTextEncode", 1, 0, "negative"]]],
  ["KSampler", [1320, 40], [250, 262], { ...SEED, ...SAMPLER }, [
    [LOADER, 0, 0, "model"], [PANEL, 0, 1, "positive"], [PANEL, 0, 2, "negative"],
    ["EmptyLatentImage", 0, 0, "latent_image"]]],
  ["VAEDecode", [1320, 350], [250, 46], {}, [
    ["KSampler", 0, 0, "samples"], [LOADER, 0, 2, "vae"]]],
  ["PreviewImage", [1600, 40], [340, 440], {}, [["VAEDecode", 0, 0, "images"]]],
];
const RESULT = "PreviewImage";

const place = (page) =>
  page.evaluate(async ({ list }) => {
    const { app } = window;
    await app.loadGraphData({
      ...{ nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 },
      ...{ last_node_id: 0, last_link_id: 0 },
    });
    for (const [type, pos, size, values, wires] of list) {
      const node = LiteGraph.createNode(type);
      node.pos = pos;
      app.graph.add(node);
      for (const [name, value] of Object.entries(values)) {
        const widget = node.widgets.find((one) => one.name === name);
        widget.value = value;
        widget.callback?.(value);
      }
      for (const [from, nth, output, input] of wires) {
        const source = app.graph.nodes.filter((one) => one.type === from)[nth];
        source.connect(output, node, node.inputs.findIndex(({ name }) => name === input));
      }
      node.setSize(size);
    }
    Object.assign(app.canvas.ds, { scale: 0.74, offset: [80, 110] });
    app.canvas.setDirty(true, true);
    const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
    (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
  }, { list: NODES });

async function walk(page) {
  await page.setViewportSize(VIEW);
  await place(page);
  await until(page, () => window.app.graph.nodes
    .find((one) => one.type === "ControlStackPanel").widgets.find((one) => one.name === "rows")
    .controlstack.services.known().table?.base);
  const shot = async (name) => {
    await page.mouse.move(700, 630);
    await frames(page, 20);
    const clip = { x: 56, y: 84, width: 1440, height: 400 };
    await page.screenshot({ path: join(ask.pictures, `${name}.png`), clip });
  };
  const panel = page.locator(".controlstack-panel:visible").last();
  const field = (number, name) => panel.getByLabel(`row ${number}: ${name}`).first();
  await shot("connected");
  for (let i = 0; i < 2; i++) {
    await panel.getByRole("button", { name: "add a row" }).click();
    await frames(page, 4);
  }
  for (const [number, kind] of [[1, "edges"], [2, "scribble"]]) {
    await field(number, "ControlNet").selectOption(`"drawn_world_${kind}_fp16.safetensors"`);
  }
  await shot("rows");
  await field(1, "preprocessor").selectOption('"canny"');
  await field(2, "preprocessor").selectOption('"xdog"');
  await field(2, "strength").fill("0.5");
  await field(2, "end").fill("0.7");
  await shot("settings");
  const ended = page.evaluate(() => new Promise((done) => {
    for (const end of ["execution_success", "execution_error"])
      window.app.api.addEventListener(end, ({ detail }) =>
        done([end, detail?.exception_message ?? ""]), { once: true });
  }));
  await page.evaluate(() => window.app.queuePrompt(0, 1));
  const end = await ended;
  await until(page, (type) => {
    const isThere = (one) => one.complete && one.naturalWidth;
    const node = window.app.graph.nodes.find((one) => one.type === type);
    return node.imgs?.some(isThere) && [...document.querySelectorAll(".controlstack-thumb")]
      .every((one) => isThere(one) && !one.classList.contains("controlstack-source"));
  }, RESULT);
  await page.waitForTimeout(8000); // the page's own message is gone
  await shot("run");
  return end;
}

const browser = await launch();
try {
  await settle({ "Comfy.Minimap.Visible": false });
  const { page } = await openPage(browser, { viewport: VIEW });
  page.setDefaultTimeout(20_000);
  console.log(JSON.stringify({ end: await walk(page) }));
} finally {
  await browser.close();
}
