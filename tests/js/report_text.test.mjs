// The report's tables as cells, and in Chinese.
import assert from "node:assert/strict";
import test from "node:test";

import { reportParts } from "../../js/lib/report_text.js";
import { labelsOf, withLabels } from "../../js/lib/sentences.js";

// As the server writes it: columns two blanks apart.
const table = (rows) => {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i])).join("  ").trimEnd());
};
const NETS = table([
  ["", "net", "strength", "ran", "off", "hints", "rows", "ms", "of step", "size", "largest"],
  ["1", "canny x.pth", "1", "3", "0", "1 prepared, 2 reused", "6", "4.0", "31 %", "0.123",
    "0.2 at in 4, step 3"],
  ["2", "depth", "0", "0", "3", "-", "0", "-", "-", "never acts, because strength is 0", "-"],
]);
const REPORT = [
  "Control report: 2 ControlNets, 3 steps, 12 ms per step (run 2 of this stack)",
  NETS.join("\n"),
  ["1 canny x.pth, ControlNet for SD1.5: |residual| / |block|",
    "step  sigma   in 0    mid    all",
    "   1   14.6  0.031  0.112  0.100",
    " all         0.031  0.112  0.100"].join("\n"),
  "size: norm of the net's residual over the norm of the block that it is added to, in the rows"
    + " that the net computed.",
].join("\n\n");

test("each row of a table has all cells, the empty ones too", () => {
  const tables = reportParts(REPORT, "zh").filter((part) => part.rows).map((part) => part.rows);
  assert.deepEqual(tables.map((rows) => rows.map((row) => row.length)), [[11, 11, 11], [5, 5, 5]]);
  assert.deepEqual(tables[0][1].slice(0, 6), ["1", "canny x.pth", "1", "3", "0", "准备 1，复用 2"]);
  assert.deepEqual(tables[0][1].slice(6), ["6", "4.0", "31 %", "0.123", "0.2，位于 输入 4，第 3 步"]);
  assert.equal(tables[0][2][9], "从不作用：强度为 0");
  assert.deepEqual(tables[1][0], ["步", "σ", "输入 0", "中间", "全部"]);
  assert.deepEqual(tables[1][2], ["全部", "", "0.031", "0.112", "0.100"]);
});

test("its sentences are in Chinese", () => {
  const texts = reportParts(REPORT, "zh-CN").filter((part) => part.text).map((part) => part.text);
  assert.equal(texts[0], "控制报告：2 个 ControlNet，3 步，每步 12 毫秒（此堆栈的第 2 次运行）");
  assert.equal(texts[1], "1 canny x.pth，SD1.5 的 ControlNet：|残差| / |块|");
  assert.match(texts[2], /^大小：/);
  assert.match(texts[3], /^图：/);
  const without = REPORT.split("\n\n")[0];
  assert.equal(reportParts(without, "zh").length, 1, "without a plot nothing explains it");
});

test("in a language without words it stays as it is", () => {
  assert.equal(reportParts(REPORT, "en"), null);
  assert.equal(reportParts(REPORT, "fr"), null);
});

test("inputs have the names that nodes show, where nodes agree", () => {
  const defs = {
    A: { inputs: { schedule: { name: "时间曲线" }, model: { name: "模型" } } },
    B: { inputs: { model: { name: "网络" }, end_percent: { name: "结束" } } },
  };
  const labels = labelsOf(defs, ["A", "B", "C"]);
  assert.deepEqual(labels, { schedule: "时间曲线", end_percent: "结束" });
  assert.equal(withLabels("schedule：第 6 个字符", labels), "时间曲线：第 6 个字符");
  const text = "'schedule'，my_schedule.json，end_percent 早于开始";
  assert.equal(withLabels(text, labels), "'schedule'，my_schedule.json，结束 早于开始");
});
