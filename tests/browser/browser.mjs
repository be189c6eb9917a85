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

// Settings are kept in the page and never reach the server: pages side by side have their own.
const settings = { "Comfy.TutorialCompleted": true };

export async function settle(more = {}) {
  Object.assign(settings, { "Comfy.VueNodes.Enabled": ask.vue }, more);
}

const ownSettings = (page, own) =>
  page.addInitScript((own) => {
    const KEY = "settings of this test",
      send = window.fetch;
    const isSettings = /\/api\/settings(?:\/([^?]+))?(?:\?|$)/;
    window.fetch = async (what, options = {}) => {
      const [match, id] = isSettings.exec(what?.url ?? what) ?? [];
      if (!match) return send.call(window, what, options);
      const all = JSON.parse(sessionStorage.getItem(KEY)) ?? own;
      if ((options.method ?? "GET") !== "GET") {
        const sent = JSON.parse(options.body ?? "null");
        Object.assign(all, id ? { [decodeURIComponent(id)]: sent } : sent);
        sessionStorage.setItem(KEY, JSON.stringify(all));
        return Response.json({});
      }
      return Response.json(id ? (all[decodeURIComponent(id)] ?? null) : all);
    };
  }, own);

// The page with its nodes, in the renderer that was asked for. `errors` collects what it throws;
// `changed`: settings that only this page has.
export async function openPage(
  browser,
  { query = "", viewport = { width: 2000, height: 1400 }, prepare, changed = {} } = {},
) {
  const page = await browser.newPage({ viewport });
  page.setDefaultTimeout(30_000); // scenes play side by side
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error.stack ?? error)));
  await ownSettings(page, { ...settings, ...changed });
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

// Reads how long the page's thread has worked, in ms, however busy the machine is.
export async function clock(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  return async () => {
    const { metrics } = await cdp.send("Performance.getMetrics");
    return 1000 * metrics.find(({ name }) => name === "TaskDuration").value;
  };
}

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

// As the page's own widgets do when they are turned.
export const turn = (page, type, name, value) =>
  page.evaluate(
    ([type, name, value]) => {
      const node = window.app.graph.nodes.find((one) => one.type === type);
      const widget = node.widgets.find((one) => one.name === name);
      widget.value = value;
      widget.callback?.(value);
    },
    [type, name, value],
  );

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
