// Types words into the page's search and opens the pack's ready-made subgraphs, and prints what
// appears as JSON. node search_scenes.mjs ASK.json, with browser.mjs's keys and {"words": [...],
// "blueprints": {NAME: UI-form JSON}}
//   → {"ranks": {WORD: [TITLE, ...]}, "blueprints": {NAME: {"prompt", "widgets", "missing"}},
//   "listed": [NAME, ...], "errors": [...]}
import { join } from "node:path";
import { ask, atRest, frames, launch, load, openPage, settle, until } from "./browser.mjs";

const ROWS = '[data-testid="result-item"]';
const titles = (page) =>
  page.$$eval(ROWS, (rows) => rows.map((row) => row.querySelector(".truncate").textContent.trim()));

async function search(page, words) {
  await page.mouse.dblclick(900, 700);
  const field = page.locator("[role=dialog] input, #results-list").first();
  await field.waitFor();
  const input = page.locator("input:focus");
  const ranks = {};
  for (const word of words) {
    await input.fill("zzzzzz");
    await until(page, (rows) => !document.querySelector(rows), ROWS);
    await input.fill(word);
    await atRest(page, () => titles(page), { calmMs: 200 });
    ranks[word] = await titles(page);
    if (word === ask.pictured) {
      await page.screenshot({ path: join(ask.pictures, `search_${word}_${ask.cell}.png`) });
    }
  }
  await page.keyboard.press("Escape");
  return ranks;
}

const look = (page) =>
  page.evaluate(async () => {
    const [node] = window.app.graph.nodes ?? window.app.graph._nodes;
    const inner = node.subgraph?.nodes ?? [];
    return {
      prompt: (await window.app.graphToPrompt()).output,
      widgets: Object.fromEntries((node.widgets ?? []).map((w) => [w.name, w.value])),
      inputs: node.inputs.map((input) => input.name),
      missing: inner
        .map((each) => each.type)
        .filter((type) => !(type in window.LiteGraph.registered_node_types)),
    };
  });

const browser = await launch();
const outcomes = { blueprints: {} };
try {
  await settle();
  const { page, errors } = await openPage(browser, { viewport: { width: 1600, height: 1000 } });
  await page.evaluate(() => window.app.graph.clear());
  outcomes.ranks = await search(page, ask.words);
  for (const [name, workflow] of Object.entries(ask.blueprints)) {
    await load(page, workflow);
    await frames(page, 4);
    outcomes.blueprints[name] = await look(page);
    const file = name.toLowerCase().replaceAll(" ", "_");
    await page.screenshot({ path: join(ask.pictures, `blueprint_${file}_${ask.cell}.png`) });
  }
  outcomes.errors = errors;
} finally {
  await browser.close();
}
console.log(JSON.stringify(outcomes));
