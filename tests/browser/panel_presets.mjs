// Presets by the panel's own buttons: saved, listed, opened, renamed, deleted, exported, imported.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ask, frames, until } from "./browser.mjs";
import { look, panel, start, text } from "./panel_page.mjs";

const SDXL = "plain_sdxl.safetensors";
const ROWS = [
  { id: "a1", net: SDXL, strength: 0.5 }, { id: "a2", net: "gone.safetensors", method: "canny" },
];

const stored = (page) =>
  page.evaluate(async () =>
    (await window.app.api.listUserDataFullInfo("controlstack")).map(({ path }) => path).sort());

async function presets(page) {
  await start(page, ROWS);
  await panel(page).getByRole("button", { name: "save these rows" }).click();
  const bar = panel(page).locator(".controlstack-presets");
  const message = async () => {
    await frames(page, 4);
    return bar.locator("p").textContent();
  };
  const press = async (name) => {
    const before = await message();
    await bar.getByRole("button", { name, exact: true }).click();
    await until(page, (before) =>
      [...document.querySelectorAll(".controlstack-presets p")].some(
        (one) => one.checkVisibility() && one.textContent && one.textContent !== before), before);
    return message();
  };
  const name = bar.getByLabel("name of the preset");
  const list = bar.getByLabel("saved presets");
  const listed = () => list.locator("option").allTextContents();
  const seen = {};
  await name.fill("../outside");
  seen.outside = await press("save");
  await name.fill(ask.cell);
  seen.saved = await press("save");
  seen.again = await press("save");
  seen.replaced = await press("save");
  seen.listed = await listed();
  await start(page, [], { keep: false });
  await panel(page).getByRole("button", { name: "save these rows" }).click();
  await until(page, () => [...document.querySelectorAll(".controlstack-presets select")].some(
    (one) => one.checkVisibility() && one.options.length > 1));
  await list.selectOption(ask.cell);
  seen.opened = await press("open");
  seen.rows = await look(page);
  await bar.getByRole("button", { name: "add", exact: true }).click();
  await until(page, () =>
    [...document.querySelectorAll(".controlstack-panel-list")].some(
      (one) => one.checkVisibility() && one.children.length === 4));
  seen.added = await message();
  seen.ids = JSON.parse(await text(page)).rows.map(({ id }) => id);
  const [download] = await Promise.all([
    page.waitForEvent("download"), bar.getByRole("button", { name: "export", exact: true }).click(),
  ]);
  seen.file = download.suggestedFilename();
  const exported = join(ask.pictures, `panel-preset-${ask.cell}.json`);
  await download.saveAs(exported);
  seen.exported = JSON.parse(await readFile(exported, "utf8"));
  const choose = async (file) => {
    const before = await message();
    await bar.locator('input[type="file"]').setInputFiles(file);
    await until(page, (before) =>
      [...document.querySelectorAll(".controlstack-presets p")].some(
        (one) => one.checkVisibility() && one.textContent !== before), before);
    return message();
  };
  seen.imported = await choose(exported);
  seen.refused = await choose({
    name: "<b>x</b>.json", mimeType: "application/json", buffer: Buffer.from('{"v":1}'),
  });
  await list.selectOption(ask.cell);
  await name.fill(`${ask.cell} renamed`);
  seen.renamed = await press("rename");
  seen.sure = await press("delete");
  seen.deleted = await press("delete");
  await page.screenshot({ path: join(ask.pictures, `panel-presets-${ask.cell}.png`) });
  seen.stored = await stored(page);
  return seen;
}

export const presetScenes = { presets };
