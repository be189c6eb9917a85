// Errors and remarks in the page's language.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { parse as parseLayers } from "../../js/lib/layers.js";
import { parse as parseSchedule, parseFrames } from "../../js/lib/schedule.js";
import { inLanguage, phrases, rows } from "../../js/lib/sentences.js";

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
  const odd = "reuse: expected a number of steps from $& to {most}, found 0";
  assert.equal(inLanguage(odd, "zh"), "reuse：应为 $& 到 {most} 的步数，实际是 0");
});

test("every translation has the blanks of its sentence, and is Chinese", () => {
  const blanks = (text) => [...new Set(text.match(/\{\w+\}/g))].sort();
  for (const [english, other] of [...rows("zh"), ...phrases("zh")]) {
    if (/[a-z]/.test(english.replace(/\{\w+\}/g, ""))) assert.match(other, chinese);
    const left = blanks(english).filter((blank) => blank !== "{text}");
    assert.deepEqual(blanks(other), left, english);
  }
});

test("no row hides another: each sentence gets its own translation", () => {
  const filled = (text) => text.replace(/\{(\w+)\}/g, (_, name) => `<${name}>`);
  for (const [english, other] of rows("zh")) {
    if (/^\{field\}|\{choice\}|\{nothing\}/.test(english)) continue; // not of any text
    assert.equal(inLanguage(filled(english), "zh"), filled(other), english);
  }
});

// As the server assembles them: a fault and its remedy, lists, names in front, blanks left empty.
const ASSEMBLED = [
  "mode: expected 'balanced', 'control' or 'prompt', found 'none'",
  "net.pth is cut short: expected 1,000 bytes, found 10. The file is /models/net.pth: delete or"
    + " replace it. Once deleted, the next run downloads net.pth from https://a.b/net.pth into /m.",
  "net.pth could not be read (Permission denied) The file is /models/net.pth: delete or replace it."
    + " Once deleted, the next run downloads net.pth from https://a.b/net.pth into /models.",
  "net.pth was not found and could not be downloaded: downloads are switched off"
    + " (HF_HUB_OFFLINE). Download it from https://a.b/net.pth and put it into /models.",
  "net.pth was not found and could not be downloaded: received another file: expected sha256 aa,"
    + " found bb; it was deleted. Download it from https://a.b/net.pth and put it into /models.",
  "'' is empty: expected a name, or folder/name",
  "net.safetensors: the file is empty. Download it again.",
  "net.pth is a pickle with more than weights in it (it could run code), so it was not opened.",
  "net.safetensors is not a ControlNet that this pack recognises (the file has no keys).",
  "b.safetensors is not a model patch that this pack recognises (first keys: a, b). Load it with"
    + " ComfyUI's Load Model Patch.",
  "net.safetensors is an SD1.5 LoRA, not a ControlNet. It belongs in models/loras.",
  "a.safetensors: the disk is full. Free space; nothing was left behind.",
  "a.safetensors: the disk is full; 700 MB are needed in /out. Free space; what was there before is"
    + " untouched.",
  "9 hints of 512x512 pixels take 3 GB of memory: make them smaller, or fewer at a time",
  "9 hints of 512x512 pixels take 3 GB of memory, and 1 GB are free: make them smaller, or fewer at"
    + " a time",
  "frame 0, person 2, face_keypoints_2d: expected 210 numbers (x, y, score), found 9: check the"
    + " file or the node that these keypoints come from",
  "walk.json: frame 0: expected a list under 'people', found the text 'a': check the file or the"
    + " node that these keypoints come from",
  "the loss is nan at step 4. Lower learning_rate (now 0.1), or choose precision fp32, or raise"
    + " warmup_steps. run.safetensors was not written yet, so begin again.",
  "Training ran out of memory. Try, in this order: lower batch_size (now 4) and raise accumulation"
    + " by the same factor; switch gradient_checkpointing on. 12 steps are saved in the checkpoint."
    + " (CUDA)",
  "3 of 9 pairs cannot be used: 2 missing, 1 too large. First: a.png. Repair them, or switch"
    + " leave_out on.",
  "9 pairs at 512×512, hints from the data set",
  "2 of 3 pairs cannot be used: 2 of another shape than their hint. First: of another shape than"
    + " their hint: a.png is 3x4, its hint 5x6; damaged: b.png. Repair them.",
  "net.pth is damaged or cut short. Download it again, or use the safetensors version of this"
    + " ControlNet.",
  "net.safetensors has the keys of an SD1.5 ControlNet but not all of its weights (missing: a.b)."
    + " Download it again, or update ComfyUI.",
  "ControlNet 'a' (SD1.5 ControlNet, 768 wide) does not fit the model, which is SD1.5, 1024 wide."
    + " Choose a ControlNet made for SD1.5, 1024 wide, or change the model to the SD1.5 that it"
    + " was made for.",
  "net.pth was not found and could not be downloaded: HF_ENDPOINT is not an address: expected one"
    + " like https://hub.co, or no such variable. Download it from https://a.b and put it into /m.",
  "checkpoint: a comes from another data set, another net to begin with, so it cannot be resumed"
    + " here. Choose another name, or delete the file to start over.",
  "union is a net: this tiler fits hints itself, which only works for nets that add to the model's"
    + " blocks. Use Ultimate SD Upscale, or sample without a tiler.",
  "canny gives values that are not finite (NaN or infinity) at steps 1 to 4, 7 of 9. It was left"
    + " out there, so the picture lacks its control. Download it again, or start ComfyUI with"
    + " --force-fp32.",
];

test("assembled sentences are translated whole", () => {
  const english = /\b(the|is|are|was|expected|found|it|download|and|or|another|choose)\b/i;
  for (const text of ASSEMBLED) {
    const spoken = inLanguage(text, "zh");
    assert.match(spoken, chinese, text);
    assert.doesNotMatch(spoken.replace(/union is a net|Permission denied/, ""), english, text);
  }
});

test("a general row leaves a sentence alone whose words it does not know", () => {
  for (const text of ["name: expected a new kind of thing, found another", "this or that is wrong",
    "net.pth is a problem, so it stays"]) {
    assert.equal(inLanguage(text, "zh"), text);
  }
});

test("long texts cost little", () => {
  const start = performance.now();
  inLanguage("net.pth is x: expected a, found b. It was (c) or d, so e. ".repeat(20), "zh");
  assert.ok(performance.now() - start < 2000);
});
