// Errors and remarks in the page's language.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { parse as parseLayers } from "../../js/lib/layers.js";
import { parse as parseSchedule, parseFrames } from "../../js/lib/schedule.js";
import { inLanguage, rows } from "../../js/lib/sentences.js";

const fixture = JSON.parse(
  readFileSync(new URL("../fixtures/grammar.json", import.meta.url), "utf8"),
);
const PARSERS = { schedule: parseSchedule, layers: parseLayers, frame_strength: parseFrames };
const chinese = /[\u4e00-\u9fff]/;

function error(parse, text) {
  try {
    parse(text);
  } catch (thrown) {
    return thrown.message;
  }
  return null;
}

test("every error of the grammar is in Chinese, with its field, place and example", () => {
  let count = 0;
  for (const [form, parse] of Object.entries(PARSERS)) {
    for (const { text } of (fixture[form] ?? []).filter((each) => each.error)) {
      const english = error(parse, text);
      const spoken = inLanguage(english, "zh");
      assert.match(spoken, /^(schedule|layers|frame_strength)：第 \d+ 个字符处应为.+例如可写 '.+'。$/, english);
      assert.doesNotMatch(spoken, /expected|found|number|interpolation/, english);
      count += 1;
    }
  }
  assert.ok(count > 10);
});

test("a sentence of the server keeps what it names", () => {
  const english = "ControlNet canny.safetensors (SD1.5) encodes its hint with the VAE: connect the"
    + " model's VAE to Apply ControlNet Stack";
  const spoken = inLanguage(english, "zh-CN");
  assert.match(spoken, chinese);
  assert.ok(spoken.startsWith("ControlNet canny.safetensors (SD1.5) "));
});

test("lines are translated one by one, and unknown ones stay", () => {
  const lines = "this is new\nthe batch of pictures is empty: connect at least one picture";
  const spoken = inLanguage(lines, "zh");
  assert.deepEqual(spoken.split("\n"), ["this is new", "图像批次为空：请至少连接一张图"]);
});

test("other languages stay English, and values do not act as patterns", () => {
  const empty = "the batch of pictures is empty: connect at least one picture";
  assert.equal(inLanguage(empty, "fr"), empty);
  const odd = "speed $& {choices} is not available yet: choose 'exact'";
  assert.equal(inLanguage(odd, "zh"), "speed $& {choices} 尚不可用：请选 'exact'");
});

test("every translation has the blanks of its sentence, and is Chinese", () => {
  const blanks = (text) => [...new Set(text.match(/\{\w+\}/g))].sort();
  for (const [english, other] of rows("zh")) {
    assert.match(other, chinese);
    const left = blanks(english).filter((blank) => blank !== "{text}");
    assert.deepEqual(blanks(other), left, english);
  }
});
