// What every script here needs: the question it was asked, a browser, and the host's page in it.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

export const ask = JSON.parse(await readFile(process.argv[2], "utf8"));
const { chromium } = await import(
  pathToFileURL(join(ask.playwright, "node_modules/playwright-core/index.mjs"))
);
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// A number that no other scene has used: what is queued with it is not in ComfyUI's cache.
let uses = 0;
export const unused = () => process.pid + 1000 * uses++;

export const launch = () =>
  chromium.launch({ executablePath: ask.chromium, headless: true, args: FLAGS });

export async function post(path, value) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(ask.address + path, {
    method: "POST",
    headers,
    body: JSON.stringify(value),
  });
  if (!answer.ok) throw new Error(`the host answered ${path} with ${answer.status}`);
}

// The page with its nodes, in the renderer that was asked for. `errors` collects what it throws.
export async function openPage(
  browser,
  { query = "", viewport = { width: 2000, height: 1400 }, prepare } = {},
) {
  const page = await browser.newPage({ viewport });
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error.stack ?? error)));
  await prepare?.(page);
  await page.goto(ask.address + query);
  await page.waitForFunction(
    () =>
      window.app?.extensionManager &&
      window.app?.graph &&
      Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 100,
    null,
    { timeout: 90_000 },
  );
  // The page then opens a workflow by itself: one that is loaded before that would be replaced by
  // it.
  await until(page, () => window.app.extensionManager.workflow?.activeWorkflow);
  await atRest(
    page,
    () =>
      page.evaluate(() => [
        window.app.extensionManager.workflow?.activeWorkflow?.path,
        (window.app.graph.nodes ?? window.app.graph._nodes).map((node) => node.id),
      ]),
    { calmMs: 500 },
  );
  return { page, errors };
}

export async function settle() {
  await post("/api/settings/Comfy.TutorialCompleted", true);
  await post("/api/settings/Comfy.VueNodes.Enabled", ask.vue);
}

// After `count` frames: what was asked of the page before is drawn.
export const frames = (page, count = 2) =>
  page.evaluate(
    (count) =>
      new Promise((done) => {
        const step = (left) =>
          left ? requestAnimationFrame(() => step(left - 1)) : setTimeout(done);
        step(count);
      }),
    count,
  );

// Until what `read` finds has been the same for `calmMs`: layouts and glides take as long as the
// machine takes.
export async function atRest(page, read, { calmMs = 250, timeoutMs = 15_000 } = {}) {
  const ends = performance.now() + timeoutMs;
  let last = JSON.stringify(await read()),
    since = performance.now();
  while (performance.now() - since < calmMs && performance.now() < ends) {
    await frames(page);
    const now = JSON.stringify(await read());
    if (now !== last) [last, since] = [now, performance.now()];
  }
}

// Until `holds` (run in the page) does, or for long enough to say that it never will: the scene
// then shows what is there.
export const until = (page, holds, given) =>
  page.waitForFunction(holds, given, { timeout: 20_000, polling: 50 }).catch(() => {});

// Loads a workflow; its nodes are there and have their sizes.
export async function load(page, workflow) {
  await page.evaluate((graph) => window.app.loadGraphData(graph), workflow);
  await atRest(page, () =>
    page.evaluate(() =>
      (window.app.graph.nodes ?? window.app.graph._nodes).map((node) => [
        node.id,
        ...node.pos,
        ...node.size,
      ]),
    ),
  );
}
