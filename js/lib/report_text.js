// The text of Control Report in parts, its tables as cells, in the page's language.

import { familyOf, inLanguage } from "./sentences.js";

const TABLES = [/^ {2,}net {2,}/, /^ *step {2,}sigma/]; // the first lines of tables

// Words of the tables: [English, other], the special before the general.
const WORDS = {
  zh: [
    ["net", "网络"], ["strength", "强度"], ["ran", "运行"], ["off", "略去"], ["hints", "提示图"],
    ["rows", "行"], ["ms", "毫秒"], ["of step", "占每步"], ["size", "大小"], ["largest", "最大"],
    ["step", "步"], ["sigma", "σ"], ["all", "全部"], ["mid", "中间"],
    ["never in range", "不在范围内"],
    ["not measured", "未测量"],
    [/^never acts, because strength is 0$/, "从不作用：强度为 0"],
    [/^never acts, because (schedule|frame_strength|layers)( is| are) 0 throughout$/,
      "从不作用：$1 全为 0"],
    [/^never acts, because effect_mask is black$/, "从不作用：作用遮罩全黑"],
    [/^never acts, because it ends before it starts$/, "从不作用：结束早于开始"],
    [/^(\d+) prepared, (\d+) reused$/, "准备 $1，复用 $2"],
    [/^(.+) at (.+), step (\d+)$/, "$1，位于 $2，第 $3 步"],
    [/\bfeat (?=\d)/g, "特征 "], [/\bin (?=\d)/g, "输入 "], [/\bmid\b/g, "中间"],
    [/\bdbl (?=\d)/g, "双流 "], [/\bsgl (?=\d)/g, "单流 "],
    [/\bblk (?=\d)/g, "块 "],
  ],
};
const HEADINGS = {
  zh: [
    [/, ([^,]+): (?=\|)/, (_, family) => `，${familyOf(family, "zh")}：`],
    [/\|residual\| \/ \|block\|$/, "|残差| / |块|"],
    [/\|residual\| \(this model does not show its blocks\)$/, "|残差|（此模型不显示其块）"],
  ],
};
// What the plot shows, whose own words are English: it is a picture for other nodes too.
const CAPTIONS = {
  zh: "图：上方为各网络在每一步的大小（全部块）；下方每个网络一幅，横轴为步，纵轴为块，颜色越深叠加越多，"
    + "灰色为略去，打叉为未叠加，红色为非有限的值。",
};
const isTable = (line) => TABLES.some((table) => table.test(line));

function word(text, locale) {
  return (WORDS[locale] ?? []).reduce((words, [english, other]) => (
    typeof english === "string" ? (words === english ? other : words)
      : words.replace(english, other)), text);
}

// Columns stand apart by two blanks in every line.
function cells(lines) {
  const width = Math.max(...lines.map((line) => line.length));
  const padded = lines.map((line) => line.padEnd(width));
  const starts = [], ends = [];
  let blanks = 2;
  for (let at = 0; at < width; at += 1) {
    const isBlank = padded.every((line) => line[at] === " ");
    if (!isBlank && blanks >= 2) {
      if (starts.length) ends.push(at);
      starts.push(at);
    }
    blanks = isBlank ? blanks + 1 : 0;
  }
  ends.push(width);
  return padded.map((line) => starts.map((from, i) => line.slice(from, ends[i]).trim()));
}

// The parts of a report in a language: {text} or {rows}; null where it has no words of its own for
// the language, so that the text stands as it is.
export function reportParts(text, locale) {
  const language = String(locale).split("-")[0];
  if (!Object.hasOwn(WORDS, language)) return null;
  const parts = text.split("\n\n").flatMap((part) => {
    const lines = part.split("\n");
    const first = lines.findIndex(isTable);
    if (first < 0) return [{ text: inLanguage(part, language) }];
    const heading = (line) => HEADINGS[language].reduce((all, row) => all.replace(...row), line);
    const rows = cells(lines.slice(first))
      .map((row) => row.map((cell) => word(cell, language)));
    return [...lines.slice(0, first).map((line) => ({ text: heading(line) })), { rows }];
  });
  const hasPlot = parts.filter(({ rows }) => rows).length > 1; // a table of nets, and one of steps
  return hasPlot ? [...parts, { text: CAPTIONS[language] }] : parts;
}
