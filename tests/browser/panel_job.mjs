// From the host's own nodes to three nets with their hints from one picture: every node, wire and
// click is counted. The panel is found by the search, wired by the mouse, and run.
import { join } from "node:path";
import { ask, atRest, frames, unused, until } from "./browser.mjs";

const RESULTS = '[data-testid="result-item"]';
const CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors";
// The host's own nodes: type, place, values by name, and wires [type, output, input].
const HOSTS = [
  ["CheckpointLoaderSimple", [-560, 0], { ckpt_name: CHECKPOINT }, []],
  ["LoadImage", [-560, 180], { image: "example.png" }, []],
  ["CLIPTextEncode", [-220, 0], { text: "a house" }, [["CheckpointLoaderSimple", 1, "clip"]]],
  ["CLIPTextEncode", [-220, 220], { text: "blurry" }, [["CheckpointLoaderSimple", 1, "clip"]]],
  ["EmptyLatentImage", [-220, 440], { width: 64, height: 64 }, []],
  ["KSampler", [1000, 0], { steps: 2 }, [
    ["CheckpointLoaderSimple", 0, "model"], ["EmptyLatentImage", 0, "latent_image"]]],
  ["VAEDecode", [1000, 560], {}, [
    ["KSampler", 0, "samples"], ["CheckpointLoaderSimple", 2, "vae"]]],
  ["PreviewImage", [1000, 660], {}, [["VAEDecode", 0, "images"]]],
];
// Wires that a person pulls: [type, nth, output] → [type, input].
const PULLED = [
  [["LoadImage", 0, "IMAGE"], ["ControlStackPanel", /image0$/]],
  [["CheckpointLoaderSimple", 0, "MODEL"], ["ControlStackPanel", /^model$/]],
  [["CLIPTextEncode", 0, "CONDITIONING"], ["ControlStackPanel", /^positive$/]],
  [["CLIPTextEncode", 1, "CONDITIONING"], ["ControlStackPanel", /^negative$/]],
  [["ControlStackPanel", 0, "positive"], ["KSampler", /^positive$/]],
  [["ControlStackPanel", 0, "negative"], ["KSampler", /^negative$/]],
];

const place = (page, list, seed) =>
  page.evaluate(
    async ([list, seed]) => {
      const { app } = window;
      await app.loadGraphData({
        ...{ nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 },
        ...{ last_node_id: 0, last_link_id: 0 },
      });
      for (const [type, pos, values, wires] of list) {
        const node = LiteGraph.createNode(type);
        node.pos = pos;
        app.graph.add(node);
        for (const [name, value] of Object.entries({ ...values, seed })) {
          const widget = node.widgets?.find((one) => one.name === name);
          if (widget) widget.value = value;
        }
        for (const [from, output, input] of wires) {
          const source = app.graph.nodes.find((one) => one.type === from);
          source.connect(output, node, node.inputs.findIndex((one) => one.name === input));
        }
      }
      Object.assign(app.canvas.ds, { scale: 0.68, offset: [640, 150] });
      app.canvas.setDirty(true, true);
    },
    [list, seed],
  );

// Where a slot is on the screen: its dot in Nodes 2.0, where the graph draws it in classic.
const slot = (page, type, nth, name, isInput) =>
  page.evaluate(
    ([type, nth, name, isInput]) => {
      const { app } = window;
      const node = app.graph.nodes.filter((one) => one.type === type)[nth];
      const matches = ({ name: one }) => new RegExp(name).test(one);
      const index = (isInput ? node.inputs : node.outputs).findIndex(matches);
      const key = `${node.id}-${isInput ? "in" : "out"}-${index}`;
      const dot = document.querySelector(`[data-slot-key="${key}"]`)?.getBoundingClientRect();
      if (dot?.width) return [dot.x + dot.width / 2, dot.y + dot.height / 2];
      const [x, y] = node.getConnectionPos(isInput, index);
      const { scale, offset } = app.canvas.ds, frame = app.canvas.canvas.getBoundingClientRect();
      return [frame.x + (x + offset[0]) * scale, frame.y + (y + offset[1]) * scale];
    },
    [type, nth, name instanceof RegExp ? name.source : `^${name}$`, isInput],
  );

const wires = (page) => page.evaluate(() => [...window.app.graph.links.values()].length);

async function pull(page, [[type, nth, output], [target, input]]) {
  const before = await wires(page);
  await page.mouse.move(...(await slot(page, type, nth, output, false)));
  await page.mouse.down();
  await page.mouse.move(...(await slot(page, target, 0, input, true)), { steps: 6 });
  await page.mouse.up();
  await until(page, (before) => [...window.app.graph.links.values()].length > before, before);
  await frames(page, 4);
}

const isHanging = (page) =>
  page.evaluate(() =>
    Boolean(window.app.graph.nodes.find((one) => one.type === "ControlStackPanel")?.flags?.ghost));

async function find(page) {
  for (let tries = 0; tries < 4 && !(await page.locator("input:focus").count()); tries++) {
    await page.mouse.dblclick(640, 640); // a busy page takes two clicks for two single ones
    await until(page, () => document.activeElement?.tagName === "INPUT");
  }
  await page.keyboard.type("control stack panel");
  await until(page, (rows) => document.querySelector(rows), RESULTS);
  await atRest(page, () => page.locator(RESULTS).count(), { calmMs: 200 });
  await page.keyboard.press("Enter");
  await until(page, () => window.app.graph.nodes.some((one) => one.type === "ControlStackPanel"));
  // Newer pages let it hang on the pointer until a click, which must not meet the closing list.
  await until(page, (rows) => !document.querySelector(rows), RESULTS);
  for (let tries = 0; tries < 4 && (await isHanging(page)); tries++) {
    await page.mouse.click(641 + tries, 641);
    await frames(page, 4);
  }
  await page.evaluate(() => {
    const node = window.app.graph.nodes.find((one) => one.type === "ControlStackPanel");
    node.pos = [220, 0]; // a person sees where it falls; here the picture shall show all
    Object.assign(window.app.canvas.ds, { scale: 0.68, offset: [640, 150] });
    window.app.canvas.setDirty(true, true);
  });
  await frames(page, 6);
}

// Begins to listen; the function it gives waits for the end of the run.
async function ending(page) {
  const ended = page.evaluate(
    () =>
      new Promise((done) => {
        for (const end of ["execution_success", "execution_error"])
          window.app.api.addEventListener(end, ({ detail }) =>
            done([end, detail?.exception_message ?? ""]), { once: true });
      }),
  );
  return () => ended;
}

const HINTS = ".controlstack-panel .controlstack-thumb:not(.controlstack-source)";

const threeHints = (page) =>
  until(page, (hints) =>
    [...document.querySelectorAll(hints)].filter((one) => one.complete && one.naturalWidth)
      .length === 3, HINTS);

async function reload(page) {
  await page.waitForTimeout(1500); // the frontend saves drafts after a while
  await page.reload();
  await page.waitForFunction(
    () => window.app?.graph?.nodes?.some((one) => one.type === "ControlStackPanel"),
    null,
    { timeout: 60_000 },
  );
}

// How many rows show their hints in a new page: of a run that finds all of it cached, then at once.
async function afterReloads(page) {
  const isHistory = (url) => url.pathname.endsWith("/history");
  await page.route(isHistory, (route) => route.abort());
  await reload(page);
  await page.waitForTimeout(1500);
  const before = await page.locator(HINTS).count();
  await page.unroute(isHistory);
  const runs = await ending(page);
  await page.evaluate(() => window.app.queuePrompt(0, 1));
  await runs();
  await threeHints(page);
  const cached = await page.locator(HINTS).count();
  await reload(page);
  await threeHints(page);
  return { before, cached, opened: await page.locator(HINTS).count() };
}

export async function fromEmptyCanvas(page) {
  await page.setViewportSize({ width: 1600, height: 900 });
  await place(page, HOSTS, unused());
  await frames(page, 6);
  const before = { wires: await wires(page), nodes: HOSTS.length };
  let clicks = 0;
  const click = async (locator) => {
    clicks += 1;
    await locator.click();
    await frames(page, 4);
  };
  await find(page);
  clicks += 2;
  for (const wire of PULLED) {
    await pull(page, wire);
    clicks += 1;
  }
  const panel = page.locator(".controlstack-panel:visible").last();
  await until(page, () => Boolean(window.app.graph.nodes.length)); // the list of nets follows
  await page.waitForFunction(() => window.app.graph.nodes
    .find((one) => one.type === "ControlStackPanel").widgets.find((one) => one.name === "rows")
    .controlstack.services.known().table?.base);
  const add = panel.getByRole("button", { name: "add a row" });
  for (let i = 0; i < 3; i++) await click(add);
  const rows = await panel.locator(".controlstack-panel-row").count();
  const nets = await panel.locator(".net select").evaluateAll((all) => all.map((one) => one.value));
  // No network may be fetched here: depth gets a method that has none.
  const number = nets.findIndex((net) => net.includes("depth")) + 1;
  await panel.getByLabel(`row ${number}: preprocessor`).first().selectOption('"brightness"');
  await frames(page, 4);
  clicks += 2;
  const run = page.getByRole("button", { name: "Run" });
  const runs = await ending(page);
  await click(page.getByTestId("queue-button").or(run).first());
  const end = await runs();
  await threeHints(page);
  await frames(page, 10);
  await page.screenshot({ path: join(ask.pictures, `panel-job-${ask.cell}.png`) });
  const thumbs = await panel.locator(".controlstack-thumb:not(.controlstack-source)").count();
  const ours = await page.evaluate(() =>
    window.app.graph.nodes.filter((one) => one.type.startsWith("ControlStack")).length);
  const previews = await page.evaluate(() => {
    const node = window.app.graph.nodes.find((one) => one.type === "ControlStackPanel");
    return node.widgets.filter((one) => one.name !== "rows").map((one) => one.name);
  });
  const seen = {
    before, clicks, end, rows, nets, thumbs, ours, previews,
    wires: (await wires(page)) - before.wires, again: await afterReloads(page),
  };
  await page.setViewportSize({ width: 1300, height: 900 });
  return seen;
}
