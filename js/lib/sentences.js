// The server's sentences and those of the grammar in the page's language: rows of [English, other],
// in which {blanks} stand for what a sentence names; sentences_*.js has the server's. A sentence
// without a row stays English.

import * as control from "./sentences_control.js";
import * as drawings from "./sentences_drawings.js";
import * as files from "./sentences_files.js";
import * as panel from "./sentences_panel.js";
import * as preprocessors from "./sentences_preprocessors.js";
import * as training from "./sentences_training.js";

const ROOMS = [panel, control, drawings, files, preprocessors, training];

// What files are.
const FAMILIES = {
  zh: [["{kind} for a UNet with text width {width}", "文本宽度为 {width} 的 UNet 的 {kind}"],
    ["{kind} for {base}", "{base} 的 {kind}"]],
};

// What may be expected, in sentences that say so.
const PHRASES = {
  zh: [
    ["a UNet with text width {width}", "文本宽度为 {width} 的 UNet"],
    ["a number from {low} to {high}", "{low} 到 {high} 之间的数"],
    ["a whole number from {low} to {high}", "{low} 到 {high} 之间的整数"],
    ["two weights 'a..b', for the first block and the middle", "两个权重 'a..b'，分别用于第一块和中间块"],
    ["the interpolation {choices}", "插值方式 {choices}"],
    ["'auto' or one of {choices}", "'auto' 或以下之一：{choices}"],
    ["the end of the text", "文本结尾"],
    ...ROOMS.flatMap((room) => room.phrases.zh),
    ["{a} to {b}", "{a} 到 {b}"],
    ["{a} or {b}", "{a} 或 {b}"],
  ],
};

const SENTENCES = {
  zh: [
    // of the grammar, on both sides
    ["{field}: expected {expected} at character {at} of {text}, found {actual}. Write for"
      + " example {example}.",
      "{field}：第 {at} 个字符处应为{expected}，实际是 {actual}。例如可写 {example}。"],
    ["{field}: expected {expected} at character {at}, found {actual}. Write for example"
      + " {example}.",
      "{field}：第 {at} 个字符处应为{expected}，实际是 {actual}。例如可写 {example}。"],
    ...ROOMS.flatMap((room) => room.sentences.zh),
    ["{name}: expected {choice}, found {value}", "{name}：应为 {choice}，实际是 {value}"],
  ],
};

const BLANK = /\\\{(\w+)\\\}/g;

// What fills a blank, where that is not just any text: nothing, one word, or the name of a file.
const FILLINGS = {
  count: "([^ ]+)", family: "([^,]+)", ms: "(\\d+)",
  first: "([^]*?)", left: "([^]*?)", needed: "([^]*?)", saved: "([^]*?)",
  nothing: "()", picture_file: "([^:;]+)", weights_file: "([^]+?\\.\\w+)",
};

// Blanks of rows so general that they fit only phrases and values in quotes.
const STRICT = new Set(["a", "b", "choice", "whose"]);

// Blanks that phrases fill, one or a list of them.
const WORDED = new Set([
  "actual", "address", "advice", "detail", "examples", "expected", "faults", "first", "hints",
  "it", "left", "list", "model_kind", "needed", "net_kind", "nets", "place", "problem", "remedies",
  "remedy", "saved", "state", "steps", "summary", "target", "where",
]);

// Blanks that sentences fill too.
const SPOKEN = new Set(["error", "reason"]);

function patternOf(english) {
  const names = [];
  const escaped = english.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const source = escaped.replace(BLANK, (_, name) => {
    if (names.includes(name)) return `\\${names.indexOf(name) + 1}`;
    names.push(name);
    return FILLINGS[name] ?? "([^]+?)";
  });
  return { names, pattern: new RegExp(`^${source}$`) };
}

const compiled = new Map();

function rowsOf(table, language) {
  const rows = table[language] ?? [];
  if (!compiled.has(rows)) {
    compiled.set(rows, rows.map(([english, other]) => ({ ...patternOf(english), other })));
  }
  return compiled.get(rows);
}

const isValue = (text) => !/[a-z]{2}/.test(text.replace(/'[^']*'/g, ""));

// The values of a row's blanks by name, translated; null where a strict one is neither.
function filled(names, values, language) {
  const blanks = {};
  for (const [index, name] of names.entries()) {
    const value = values[index];
    const isStrict = STRICT.has(name);
    if (isStrict || WORDED.has(name)) blanks[name] = worded(value, language);
    else if (SPOKEN.has(name)) blanks[name] = part(value, language) ?? value;
    else blanks[name] = name === "family" ? familyOf(value, language) : value;
    if (isStrict && blanks[name] === value && !isValue(value)) return null;
  }
  return blanks;
}

// What a file is: "a ControlNet for SDXL".
export function familyOf(text, language) {
  const family = text.replace(/^an? /, "");
  return through(FAMILIES, family, language) ?? family;
}

// The first row that fits, filled in; null where none does.
function through(table, text, language) {
  for (const { names, pattern, other } of rowsOf(table, language)) {
    const match = pattern.exec(text);
    const blanks = match && filled(names, match.slice(1), language);
    if (blanks) return other.replace(/\{(\w+)\}/g, (_, name) => blanks[name]);
  }
  return null;
}

// A sentence, or one without the full stop that another one puts behind it.
function stopped(table, text, language) {
  const short = text.endsWith(".") ? through(table, text.slice(0, -1), language) : null;
  return short === null ? through(table, text, language) : `${short}。`;
}

const SEPARATORS = [["; ", "；"], [", or ", "，或"], [", ", "，"]];

// What fills a blank: a phrase, or a list of phrases; other values stay.
function worded(value, language) {
  const text = value.trimStart().replace(/^'(the end of the text)'$/, "$1");
  const phrase = stopped(PHRASES, text, language);
  if (phrase !== null) return phrase;
  for (const [separator, other] of SEPARATORS) {
    const stop = text.endsWith(".") ? "。" : "";
    const parts = text.slice(0, text.length - stop.length).split(separator);
    const spoken = parts.map((one) => (
      through(PHRASES, one, language) ?? (isValue(one) ? one : null)));
    const isNew = parts.length > 1 && !spoken.includes(null) && spoken.join() !== parts.join();
    if (isNew) return spoken.join(other) + stop;
  }
  return value;
}

function part(text, language) {
  const whole = through(SENTENCES, text, language) ?? stopped(SENTENCES, text, language);
  if (whole !== null) return whole;
  const phrase = worded(text, language);
  return phrase === text ? null : phrase;
}

// Several sentences, each of which has a row of its own, or one row for all of them.
function inParts(text, language) {
  for (const { index } of text.matchAll(/[.)] /g)) {
    const head = part(text.slice(0, index + 1), language);
    const tail = head === null ? null : inParts(text.slice(index + 2), language);
    if (tail !== null) return head.endsWith("。") ? head + tail : `${head}。${tail}`;
  }
  return part(text, language);
}

// A sentence behind the name of what it is about: 'name' is empty; file.json: the list is empty.
function behindName(text, language) {
  const quoted = /^(?:'[^']*'|"[^"]*") /.exec(text)?.[0];
  if (quoted) {
    const rest = through(SENTENCES, text.slice(quoted.length), language);
    if (rest !== null) return quoted + rest;
  }
  for (const { index } of text.matchAll(/: /g)) {
    const rest = inParts(text.slice(index + 2), language);
    if (rest !== null) return `${text.slice(0, index)}：${rest}`;
  }
  return null;
}

// A text of one or several lines in the language of a locale; lines that are not known stay.
export function inLanguage(text, locale) {
  const language = String(locale).split("-")[0];
  if (!Object.hasOwn(SENTENCES, language)) return text;
  return text.split("\n").map((line) => (
    inParts(line, language) ?? behindName(line, language) ?? line)).join("\n");
}

// A translated text, in which inputs have the names that nodes show: {name: label}. What stands in
// quotes, in files or in paths stays.
export function withLabels(text, labels) {
  return text.replace(/(?<![\w'/.\-])[a-z]+(?:_[a-z]+)*(?![\w'/.\-])/g, (name) => (
    Object.hasOwn(labels, name) ? labels[name] : name));
}

// The labels of inputs by their names, of a language's node definitions: those of which the nodes
// `ids` have one alone.
export function labelsOf(nodeDefs, ids) {
  const labels = {}, doubtful = new Set();
  for (const { inputs = {} } of ids.map((id) => nodeDefs[id] ?? {})) {
    for (const [name, { name: label }] of Object.entries(inputs)) {
      if (!label) continue;
      if ((labels[name] ??= label) !== label) doubtful.add(name);
    }
  }
  for (const name of doubtful) delete labels[name];
  return labels;
}

export const rows = (language) => SENTENCES[language];
export const phrases = (language) => PHRASES[language];
