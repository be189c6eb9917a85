// What the widgets say: whole in every language, and chosen by the page's.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";

import { PROBLEMS } from "../../js/lib/preset_names.js";
import { IDLE } from "../../js/lib/results.js";
import * as layers from "../../js/lib/layers.js";
import * as schedule from "../../js/lib/schedule.js";
import { WORDS, english, wordsOf } from "../../js/lib/words.js";
import { WORDS_OF_PRESETS } from "../../js/widgets/presets_bar.js";

const blanks = (text) => (text.match(/\{\w+\}/g) ?? []).sort();

test("every language has every word, with the same blanks", () => {
  for (const words of Object.values(WORDS)) {
    assert.deepEqual(Object.keys(words).sort(), Object.keys(WORDS.en).sort());
    for (const [key, text] of Object.entries(words))
      assert.deepEqual(blanks(text), blanks(WORDS.en[key]), key);
  }
});

test("Chinese is Chinese", () => {
  const left = Object.entries(WORDS.zh).filter(([, text]) => !/[\u4e00-\u9fff]/.test(text));
  assert.deepEqual(left, []);
});

test("the category is called as the page translates it", () => {
  const file = new URL("../../locales/zh/main.json", import.meta.url);
  const { nodeCategories } = JSON.parse(readFileSync(file, "utf8"));
  assert.equal(nodeCategories[WORDS.en.preprocess], WORDS.zh.preprocess);
});

test("every preset and interpolation has its word", () => {
  const named = [...schedule.PRESETS, ...layers.PRESETS].map(([name]) => name);
  for (const name of [...named, ...Object.keys(schedule.INTERPOLATIONS)])
    assert.equal(english(name), name);
});

test("a locale's language, else English", () => {
  for (const locale of ["zh", "zh-TW"]) assert.equal(wordsOf(locale)("bell"), "钟形");
  for (const locale of ["en", "fr", "", undefined, "constructor"])
    assert.equal(wordsOf(locale)("bell"), "bell");
});

test("blanks are filled, with text and nothing else", () => {
  assert.equal(english("block", { number: 3, count: 13 }), "block 3 of 13");
  assert.equal(english("asText", { field: "$& {count}" }), "$& {count}, as text");
});

// Every word that a script asks for is there, and none is there for nobody.
test("the scripts ask for the words that there are", () => {
  const files = readdirSync(new URL("../../js/", import.meta.url), { recursive: true }).filter(
    (name) => name.endsWith(".js"),
  );
  const source = files
    .filter((name) => !name.endsWith("words.js"))
    .map((name) => readFileSync(new URL(`../../js/${name}`, import.meta.url), "utf8"))
    .join("\n");
  const before = String.raw`(?:(?:\bsay|wordsOf\(\w+\)|\bmark|\bP\w+Error)\(|\bkey: )`;
  const uses = new RegExp(`${before}(?:[^"()]*\\? )?"([^"]+)"(?: : "([^"]+)")?`, "g");
  const asked = new Set(
    [...source.matchAll(uses)].flatMap(([, ...keys]) => keys.filter(Boolean)),
  );
  const listed = [...schedule.PRESETS, ...layers.PRESETS]
    .map(([name]) => name)
    .concat(Object.keys(schedule.INTERPOLATIONS), IDLE, PROBLEMS, WORDS_OF_PRESETS);
  assert.deepEqual(
    [...asked].filter((key) => !(key in WORDS.en)),
    [],
  );
  assert.deepEqual(
    Object.keys(WORDS.en).filter((key) => !asked.has(key) && !listed.includes(key)),
    [],
  );
});
