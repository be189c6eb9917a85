// Opens workflows in the host's own page, as a user would, and prints what became of them as JSON.
// node page.mjs ASK.json, with {"playwright": DIR, "chromium": FILE, "address": URL, "vue": false,
//   "workflows": {NAME: UI-form JSON}, "pictures": DIR, "template": the query of a link,
//   "pictured": [NAME, ...]}
import { join } from "node:path";
import { ask, atRest, frames, launch, load, openPage, settle, until } from "./browser.mjs";

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
  );

async function picture(page, name) {
  await fit(page);
  await drawn(page);
  await frames(page);
  const renderer = ask.vue ? "nodes2" : "classic";
  await page.screenshot({ path: join(ask.pictures, `${name}-${renderer}.png`) });
}

const browser = await launch();
const outcomes = {};
try {
  await settle();
  const { page, errors } = await openPage(browser);
  for (const [name, workflow] of Object.entries(ask.workflows)) {
    await load(page, workflow);
    outcomes[name] = { ...(await look(page)), errors: errors.splice(0) };
    if (ask.pictured?.includes(name)) await picture(page, name);
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
