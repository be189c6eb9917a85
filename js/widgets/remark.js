// Sentences on a node, each with a sign and a colour for its level, or a report: as its text, or in
// parts, {text} or {rows}.

import { element, tell } from "./dom.js";

const LINE_PX = 16, GAP_PX = 8, CHARACTER_PX = 6.5, MARGINS_PX = 60, MOST_PX = 200, TABLE_PX = 200;
const SIGNS = { error: "✖", warning: "⚠", remark: "ℹ" };

export class RemarkView {
  // `resized(byPx)` is called when the sentences need more or less height than before.
  constructor({ forward, resized }) {
    this.resized = resized;
    this.inside = element("div", { className: "controlstack-sentences" });
    const attributes = { role: "status" };
    this.element = element("div", { className: "controlstack-remark", attributes }, this.inside);
    this.height = LINE_PX;
    forward(this.element);
    new ResizeObserver(() => this.measure()).observe(this.inside);
  }

  // `isLoaded`: the node was saved with room for it.
  show(lines, widthPx, { isLoaded = false } = {}) {
    this.isLoaded = isLoaded;
    const isTable = lines.some(({ level }) => level === "table");
    this.element.classList.toggle("controlstack-grows", isTable);
    const isError = lines.some(({ level }) => level === "error");
    this.element.setAttribute("role", isError ? "alert" : "status");
    this.inside.replaceChildren(...lines.map(line));
    const estimate = lines.reduce((sum, one) => sum + heightOf(one, widthPx - MARGINS_PX), 0);
    this.setHeight(isTable ? TABLE_PX : Math.min(MOST_PX, estimate));
    this.measure();
  }

  // The height that the sentences have once they are drawn, at the node's width.
  measure() {
    const actual = this.inside.offsetHeight;
    if (!actual || this.element.classList.contains("controlstack-grows")) return;
    this.setHeight(Math.min(MOST_PX, actual));
    this.isLoaded = false;
  }

  setHeight(height) {
    const by = height - this.height;
    if (!by) return;
    this.height = height;
    this.element.style.minHeight = `${height}px`;
    this.resized(this.isLoaded ? 0 : by);
  }
}

function line({ level, text, parts }) {
  if (parts) return element("div", { className: "controlstack-report" }, ...parts.map(reportPart));
  if (level === "table") return element("pre", { textContent: text });
  const attributes = { "aria-hidden": "true" };
  const sign = element("span", { textContent: SIGNS[level] ?? "", attributes });
  const words = tell(element("span"), text);
  return element("p", { className: `controlstack-${level}` }, sign, words);
}

function reportPart({ text, rows }) {
  if (!rows) return element("p", { textContent: text });
  const row = (cells, kind) => element("tr", {}, ...cells.map((cell) => (
    element(kind, { textContent: cell }))));
  return element("table", {}, ...rows.map((cells, i) => row(cells, i ? "td" : "th")));
}

function heightOf({ text }, widthPx) {
  const perLine = Math.max(widthPx, LINE_PX) / CHARACTER_PX;
  const counts = text.split("\n").map((part) => Math.max(1, Math.ceil(part.length / perLine)));
  return LINE_PX * counts.reduce((sum, count) => sum + count, 0) + GAP_PX;
}
