// Runs of a small workflow with one net, and the texts that the canvas draws, for scenes of what
// nodes say.
import { ask, frames, load, unused } from "./browser.mjs";

// The workflow, small and quick, with changed values; a node of `type` in the middle of the window.
export async function open(page, changes = {}, type = "ControlStackAdd") {
  const graph = JSON.parse(JSON.stringify(ask.single));
  const node = (kind) => graph.nodes.find((one) => one.type === kind);
  node("EmptyLatentImage").widgets_values = [64, 64, 1];
  Object.assign(node("KSampler").widgets_values, { 0: unused(), 2: 3 });
  for (const [kind, values] of Object.entries(changes)) {
    node(kind).widgets_values = Object.assign([...node(kind).widgets_values], values);
  }
  await load(page, graph);
  await centre(page, type);
}

export async function centre(page, type) {
  await page.evaluate((type) => {
    const { app } = window;
    const { pos, size } = app.graph.nodes.find((one) => one.type === type);
    const offset = [600 - pos[0] - size[0] / 2, 120 - pos[1]];
    Object.assign(app.canvas.ds, { scale: 1, offset });
    app.canvas.setDirty(true, true);
  }, type);
  await frames(page, 4);
}

// Queues the workflow: how it ended ("refused" where ComfyUI did not take it).
export async function run(page) {
  return page.evaluate(
    () =>
      new Promise((done) => {
        for (const end of ["execution_success", "execution_error"])
          window.app.api.addEventListener(end, () => done(end), { once: true });
        const refused = () => done("refused");
        // Older pages say that they queued nothing when they did.
        const look = () => Object.keys(window.app.lastNodeErrors ?? {}).length && refused();
        window.app.queuePrompt(0, 1).then((queued) => queued || look(), refused);
      }),
  );
}

// The workflow with a Control Report behind its sampler, which stands in the middle.
export async function openWithReport(page) {
  await open(page);
  await page.evaluate(() => {
    const { graph } = window.app;
    const find = (type) => graph.nodes.find((one) => one.type === type);
    const report = LiteGraph.createNode("ControlStackReport");
    report.pos = [2100, 0];
    graph.add(report);
    find("ControlStackApply").connect(0, report, 0);
    find("KSampler").connect(0, report, 1);
  });
  await centre(page, "ControlStackReport");
}

// Its hint made by HED, whose weights are not there.
export async function withoutWeights(page) {
  await open(page);
  await page.evaluate(() => {
    const { graph } = window.app;
    const canny = graph.nodes.find((one) => one.type === "ControlStackCanny");
    const hed = LiteGraph.createNode("ControlStackHED");
    hed.pos = [...canny.pos];
    graph.add(hed);
    graph.nodes.find((one) => one.type === "LoadImage").connect(0, hed, 0);
    const add = graph.nodes.find((one) => one.type === "ControlStackAdd");
    hed.connect(0, add, add.inputs.findIndex((one) => one.name === "image"));
    graph.remove(canny);
  });
  await centre(page, "ControlStackHED");
}

// A photograph in the place of its hint. Its strength is new, so that ComfyUI has no result of it.
export async function withPhotograph(page) {
  await open(page, { ControlStackAdd: { 0: 0.5 + (unused() % 5000) / 10_000 } });
  await page.evaluate(() => {
    const { graph } = window.app;
    const add = graph.nodes.find((one) => one.type === "ControlStackAdd");
    const slot = add.inputs.findIndex((one) => one.name === "image");
    graph.nodes.find((one) => one.type === "LoadImage").connect(0, add, slot);
  });
}

// Texts drawn on the canvas: each with its place in the graph, until they are forgotten.
export const watchTexts = (page) =>
  page.addInitScript(() => {
    window.drawnTexts = [];
    const draw = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...rest) {
      if (this.canvas.id === "graph-canvas" && window.drawnTexts.length < 20_000) {
        const { x: left, y: top } = this.getTransform().transformPoint({ x, y });
        const ratio = window.devicePixelRatio;
        window.drawnTexts.push([String(text), left / ratio, top / ratio, this.textAlign]);
      }
      return draw.call(this, text, x, y, ...rest);
    };
  });
