// Preprocess Video as a user plays it: a clip is uploaded, its hints are watched under the node, a
// setting is changed, and the workflow is opened again. Prints {plays: {STEP: state}, errors} as
// JSON. node video_scenes.mjs ASK.json, with browser.mjs's keys and {"cell": NAME, "pictures": DIR,
// "clip": a video in base64}
import { join } from "node:path";
import { ask, frames, launch, load, openPage, settle, turn, until } from "./browser.mjs";
import { centre, run } from "./runs.mjs";

const NODE = "ControlStackPreprocessVideo", NAME = `moving-${ask.cell}.mp4`;
const EMPTY = { last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [], version: 0.4 };

// What the page itself does with a file that is dropped on Load Video.
const upload = (page) =>
  page.evaluate(
    async ([clip, name]) => {
      const bytes = await (await fetch(`data:video/mp4;base64,${clip}`)).blob();
      const body = new FormData();
      body.append("image", new File([bytes], name));
      return (await window.app.api.fetchApi("/upload/image", { method: "POST", body })).status;
    },
    [ask.clip, NAME],
  );

const build = (page) =>
  page.evaluate(
    ([type, name]) => {
      const { graph } = window.app;
      const source = LiteGraph.createNode("LoadVideo"), hints = LiteGraph.createNode(type);
      source.pos = [0, 0];
      hints.pos = [500, 0];
      graph.add(source);
      graph.add(hints);
      source.widgets.find((one) => one.name === "file").value = name;
      source.connect(0, hints, hints.inputs.findIndex((one) => one.name === "video"));
    },
    [NODE, NAME],
  );

// The video under the node, once it can be played; what is stored, and what is queued.
async function state(page) {
  const isOurs = () =>
    [...document.querySelectorAll("video")].some(
      (one) => one.src.includes("canny") && one.readyState > 0);
  await until(page, isOurs);
  await frames(page, 4);
  return page.evaluate(async (type) => {
    const { app } = window;
    const shown = [...document.querySelectorAll("video")]
      .filter((one) => one.src.includes("canny") && one.checkVisibility())
      .map((one) => ({
        size: [one.videoWidth, one.videoHeight],
        seconds: one.duration,
        file: new URL(one.src).searchParams.get("filename"),
      }));
    const { output } = await app.graphToPrompt();
    const queued = Object.values(output).find((one) => one.class_type === type).inputs;
    return { shown, queued: { ...queued, video: typeof queued.video } };
  }, NODE);
}

async function played(page) {
  const end = await run(page);
  return { end, ...(await state(page)) };
}

const browser = await launch();
const plays = {};
let errors = [];
try {
  await settle();
  const opened = await openPage(browser, { viewport: { width: 1400, height: 1000 } });
  const { page } = opened;
  errors = opened.errors;
  await load(page, EMPTY);
  plays.uploaded = await upload(page);
  await build(page);
  await page.evaluate(() => window.app.refreshComboInNodes()); // Load Video lists the clip
  await turn(page, NODE, "method", "canny");
  await frames(page, 4);
  await turn(page, NODE, "resolution", 96);
  await centre(page, NODE);
  plays.first = await played(page);
  await page.screenshot({ path: join(ask.pictures, `video-${ask.cell}.png`) });
  await turn(page, NODE, "resolution", 128);
  plays.larger = await played(page);
  const stored = await page.evaluate(() => window.app.graph.serialize());
  await load(page, EMPTY);
  await load(page, JSON.parse(JSON.stringify(stored)));
  plays.opened = (await state(page)).queued;
} finally {
  await browser.close();
}
console.log(JSON.stringify({ plays, errors }));
