// Opens workflows in the host's own page, as a user would, and prints what became of them as JSON.
// node page.mjs ASK.json, with {"playwright": DIR, "chromium": FILE, "address": URL, "vue": false,
//   "workflows": {NAME: UI-form JSON}, "pictures": DIR, "template": the query of a link,
//   "pictured": [NAME, ...]}
import { join } from "node:path";
import { ask, atRest, frames, launch, load, openPage, settle, until } from "./browser.mjs";
import { look } from "./look.mjs";

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
  const { page, errors } = await openPage(browser, { query: ask.template });
  await until(page, () =>
    JSON.stringify(window.app.graph.serialize()).includes("ControlStackApply"),
  );
  outcomes.template = { ...(await look(page)), errors: errors.splice(0) };
  await picture(page, "template");
  for (const [name, workflow] of Object.entries(ask.workflows)) {
    await load(page, workflow);
    outcomes[name] = { ...(await look(page)), errors: errors.splice(0) };
    if (ask.pictured?.includes(name)) await picture(page, name);
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(outcomes));
