// Frames a second while a point of one curve is dragged among fifty nodes with both fields open,
// and at rest. The same drag again and again, until one is as fluid as was asked for. node
// fluid.mjs ASK.json, with browser.mjs's keys and {"enough": frames a second, "drags": at most so
// many}
import { ask, atRest, frames as drawn, launch, openPage, settle } from "./browser.mjs";

const SECONDS = 2;

const frames = (page) =>
  page.evaluate(
    (seconds) =>
      new Promise((done) => {
        const began = performance.now(),
          gaps = [];
        let last = began;
        requestAnimationFrame(function step(now) {
          gaps.push(now - last);
          last = now;
          if (now - began < seconds * 1000) requestAnimationFrame(step);
          else
            done({
              fps: gaps.length / ((now - began) / 1000),
              worst_ms: Math.max(...gaps.slice(1)),
            });
        });
      }),
    SECONDS,
  );

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
  await atRest(page, () => point.boundingBox(), { calmMs: 500 });

  const drag = async () => {
    const box = await point.boundingBox();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    await page.mouse.move(x, y);
    await page.mouse.down();
    const measured = frames(page);
    const ends = performance.now() + SECONDS * 1000;
    for (let i = 0; performance.now() < ends; i++)
      await page.mouse.move(x + 15 * Math.sin(i / 5), y + 15 * Math.cos(i / 7));
    const seen = await measured;
    await page.mouse.move(x, y);
    await page.mouse.up();
    await drawn(page, 5);
    return seen;
  };

  const rest = await frames(page);
  const drags = [];
  while (drags.length < ask.drags && !drags.some(({ fps }) => fps >= ask.enough))
    drags.push(await drag());
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
  console.log(JSON.stringify({ rest, drags, ...nodes, errors }));
} finally {
  await browser.close();
}
