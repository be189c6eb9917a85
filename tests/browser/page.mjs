// Opens workflows in the host's own page, as a user would, and prints what became of them as JSON.
// node page.mjs ASK.json, with {"playwright": DIR, "chromium": FILE, "address": URL, "vue": false,
//   "workflows": {NAME: UI-form JSON}, "pictures": DIR, "template": the query of a link,
//   "pictured": [NAME, ...],
//   "portrait": true to run each workflow and picture the graph alone, with its hints}
import { join } from "node:path";
import { ask, atRest, frames, launch, load, openPage, post, settle, until } from "./browser.mjs";

// How the page read the workflow that is open: types it lacks, the prompt it would queue, the
// file it would save.
const look = (page) =>
  page.evaluate(async () => {
    const nodes = window.app.graph.nodes ?? window.app.graph._nodes;
    const lacking = (node) => !(node.type in window.LiteGraph.registered_node_types);
    return {
      missing: nodes
        .filter((node) => lacking(node) && !node.isVirtualNode)
        .map((node) => node.type),
      red: nodes.filter((node) => node.has_errors).map((node) => node.title),
      vue: Boolean(window.LiteGraph.vueNodesMode),
      prompt: (await window.app.graphToPrompt()).output,
      saved: window.app.graph.serialize(),
      overlaps: nodes.flatMap((a, i) =>
        nodes
          .slice(i + 1)
          .filter((b) => {
            const [ax, ay, aw, ah] = a.getBounding(),
              [bx, by, bw, bh] = b.getBounding();
            return ax < bx + bw && bx < ax + aw && ay < by + bh && by < ay + ah;
          })
          .map((b) => [a.title, b.title]),
      ),
    };
  });

const fit = (page) =>
  page.evaluate(() => window.app.extensionManager.command.execute("Comfy.Canvas.FitView"));

const run = (page) =>
  page.evaluate(
    () =>
      new Promise((done, fail) => {
        const say = (event) => fail(new Error(JSON.stringify(event.detail)));
        window.app.api.addEventListener("execution_success", () => done(true), { once: true });
        window.app.api.addEventListener("execution_error", say, { once: true });
        window.app
          .queuePrompt(0, 1)
          .then((queued) => queued || fail(new Error("the page did not queue the workflow")), fail);
      }),
  );

// The graph on the screen, in CSS pixels. The image of random weights says nothing: its node is
// shown empty.
const portrait = (page) =>
  page.evaluate(() => {
    const { graph, canvas } = window.app;
    for (const node of graph.nodes.filter((node) => node.type === "SaveImage")) {
      window.app.nodeOutputs = Object.fromEntries(
        Object.entries(window.app.nodeOutputs).filter(([id]) => id !== String(node.id)),
      );
      node.imgs = node.images = undefined;
    }
    const boxes = [...graph.groups, ...graph.nodes].map((item) => [
      ...(item.getBounding?.() ?? item.boundingRect),
    ]);
    const margin = 20;
    const left = Math.min(...boxes.map((b) => b[0])) - margin,
      top = Math.min(...boxes.map((b) => b[1])) - margin;
    const right = Math.max(...boxes.map((b) => b[0] + b[2])) + margin;
    const bottom = Math.max(...boxes.map((b) => b[1] + b[3])) + margin;
    const { scale, offset } = canvas.ds,
      frame = canvas.canvas.getBoundingClientRect();
    canvas.setDirty(true, true);
    return {
      x: frame.x + (left + offset[0]) * scale,
      y: frame.y + (top + offset[1]) * scale,
      width: (right - left) * scale,
      height: (bottom - top) * scale,
    };
  });

// The view has come to rest, and every picture in it is there.
const drawn = (page) =>
  atRest(
    page,
    () =>
      page.evaluate(() => {
        const { graph, canvas } = window.app;
        const pictures = [...document.images, ...graph.nodes.flatMap((node) => node.imgs ?? [])];
        return [
          canvas.ds.scale,
          ...canvas.ds.offset,
          pictures.length,
          pictures.filter((one) => !one.complete).length,
        ];
      }),
    { calmMs: ask.portrait ? 1000 : 250 },
  );

async function picture(page, name) {
  await fit(page);
  if (ask.portrait)
    await until(page, () =>
      window.app.graph.nodes.every((node) => node.type !== "SaveImage" || node.imgs?.length),
    );
  await drawn(page);
  const clip = ask.portrait ? await portrait(page) : undefined;
  await frames(page, clip ? 30 : 2);
  const renderer = ask.vue ? "nodes2" : "classic";
  await page.screenshot({ path: join(ask.pictures, `${name}-${renderer}.png`), clip });
}

const browser = await launch();
const outcomes = {};
try {
  await settle();
  const { page, errors } = await openPage(browser);
  for (const [name, workflow] of Object.entries(ask.workflows)) {
    await load(page, workflow);
    if (ask.portrait) {
      // a cached node shows no hint
      await post("/free", { unload_models: true, free_memory: true });
      await run(page);
    }
    outcomes[name] = { ...(await look(page)), errors: errors.splice(0) };
    if (ask.portrait || ask.pictured?.includes(name)) await picture(page, name);
  }
  await page.close();
  if (ask.template) {
    const { page } = await openPage(browser, { query: ask.template });
    await until(page, () =>
      JSON.stringify(window.app.graph.serialize()).includes("ControlStackApply"),
    );
    outcomes.template = await look(page);
    await picture(page, "template");
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(outcomes));
