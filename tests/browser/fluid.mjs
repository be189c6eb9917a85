// What a move of the pointer costs while a point of one curve is dragged among fifty nodes with
// both fields open: calls of our functions, and processor time of the page's thread. node fluid.mjs
// ASK.json, with browser.mjs's keys and {"rounds": how often the time is measured}
//
// Nothing here depends on how busy the machine is: one move is one frame, calls are counted, time
// is the thread's own (what it waits for does not count), and what the page does anyhow (the same
// moves without a button) is measured between and subtracted.
import { ask, atRest, frames, launch, openPage, settle } from "./browser.mjs";

const MOVES = 30;
const OURS = "/extensions/controlstack/";

const browser = await launch();
try {
  await settle();
  const { page, errors } = await openPage(browser);
  await page.evaluate(async () => {
    await window.app.loadGraphData({
      nodes: [],
      links: [],
      groups: [],
      config: {},
      extra: {},
      version: 0.4,
    });
    for (let i = 0; i < 50; i++) {
      const node = LiteGraph.createNode("ControlStackAdd");
      node.pos = [(i % 10) * 300, Math.floor(i / 10) * 700];
      window.app.graph.add(node);
      for (const [name, text] of [
        ["schedule", "0:0, 0.3:0.9, 0.5:1, 0.7:0.6, 1:0 | smooth"],
        ["layers", "soft 0.825"],
      ]) {
        const widget = node.widgets.find((one) => one.name === name);
        widget.value = text;
      }
    }
    const saved = window.app.graph.serialize();
    for (const node of saved.nodes) node.properties.controlstack_open = "schedule layers";
    await window.app.loadGraphData(saved);
    Object.assign(window.app.canvas.ds, { scale: 0.7, offset: [120, 80] });
    window.app.canvas.setDirty(true, true);
  });
  const point = page.locator(".controlstack-plot circle").nth(2);
  await point.waitFor();
  const rest = () => atRest(page, () => point.boundingBox(), { calmMs: 500 });
  await rest();

  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  const busyMs = async () => {
    const { metrics } = await cdp.send("Performance.getMetrics");
    return 1000 * metrics.find(({ name }) => name === "TaskDuration").value;
  };

  // Moves the pointer about a place, a frame for each move; with a button it drags the point.
  // What `read` gives before and after the moves.
  async function move({ isDrag, read }) {
    const box = await point.boundingBox();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    await page.mouse.move(x, y);
    if (isDrag) await page.mouse.down();
    await frames(page);
    const before = await read();
    for (let i = 0; i < MOVES; i++) {
      await page.mouse.move(x + 15 * Math.sin(i / 5), y + 15 * Math.cos(i / 7));
      await frames(page, 1);
    }
    const after = await read();
    await page.mouse.move(x, y);
    await frames(page, 1);
    if (isDrag) await page.mouse.up();
    await frames(page, 5);
    await rest();
    return [before, after];
  }

  async function moveMs(isDrag) {
    const [before, after] = await move({ isDrag, read: busyMs });
    return (after - before) / MOVES;
  }

  // A fixed piece of work of the same kind, by which machines of any speed are compared: the path
  // of one curve. The best of several, once the browser has compiled it.
  async function yardstickMs() {
    const write = (times) =>
      page.evaluate((times) => {
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        for (let k = 0; k < times; k++) {
          const points = Array.from({ length: 97 }, (_, i) => [i, Math.sin(i + k)]);
          const words = points.map((pair) => pair.map((one) => Math.round(one * 100) / 100).join());
          path.setAttribute("d", `M${words.join("L")}`);
        }
      }, times);
    const times = 500, spent = [];
    await write(times);
    for (let i = 0; i < 5; i++) {
      const before = await busyMs();
      await write(times);
      spent.push(((await busyMs()) - before) / times);
    }
    return Math.min(...spent);
  }

  const seen = [];
  for (let i = 0; i < ask.rounds; i++) {
    const idleMs = await moveMs(false);
    const dragMs = await moveMs(true);
    seen.push({ idleMs, dragMs, unitMs: await yardstickMs() });
  }

  // Counting makes functions slower, so it comes last.
  await cdp.send("Profiler.enable");
  await cdp.send("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
  const read = () => cdp.send("Profiler.takePreciseCoverage"); // since it was last taken
  const [, { result }] = await move({ isDrag: true, read });
  const calls = {};
  for (const { url, functions } of result) {
    if (!url.includes(OURS)) continue;
    const file = url.slice(url.indexOf(OURS) + OURS.length).split("?")[0];
    for (const { functionName, ranges } of functions) {
      const name = `${file} ${functionName}`;
      calls[name] = (calls[name] ?? 0) + ranges[0].count / MOVES;
    }
  }
  const nodes = await page.evaluate(() => ({
    shown: [...document.querySelectorAll(".controlstack-plot")].filter((plot) =>
      plot.checkVisibility(),
    ).length,
    changed: window.app.graph.nodes.filter(
      (node) =>
        node.widgets.find((one) => one.name === "schedule").value !==
        "0:0, 0.3:0.9, 0.5:1, 0.7:0.6, 1:0 | smooth",
    ).length,
  }));
  console.log(JSON.stringify({ rounds: seen, calls, ...nodes, errors }));
} finally {
  await browser.close();
}
