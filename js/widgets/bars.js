// The layers as bars: a weight for each block of the net, from its first input block to its middle one.

import { clamp, round } from "../lib/curve.js";
import { HIGHEST, PRESETS, form, parse, weights } from "../lib/layers.js";
import { chooser, element, everyFrame, keepChildren, pointerIn, setAttributes, svg } from "./dom.js";
import { Field } from "./field.js";

const HEIGHT_PX = 72, BODY_PX = HEIGHT_PX + 26, MARGIN_PX = 6;
const ASSUMED_BLOCKS = 13;
const TOPS = [1, 2, 5, 10];
const NUDGE = 0.01, LEAP = 0.1;

// `services` as Field's, and blocks(): how many the connected net has, or null.
export function layersField(services) {
  return new Field(services, { bodyHeight: BODY_PX, makeView: (field) => new BarsView(field, services) });
}

class BarsView {
  constructor(field, services) {
    this.field = field;
    this.services = services;
    this.chosen = 0;
    this.isDragging = false;
    this.width = 200;
    this.buildPlot();
    this.buildNumbers();
    this.parts = [this.plot, this.row];
    new ResizeObserver(everyFrame(() => this.resize())).observe(this.plot);
  }

  buildPlot() {
    this.grid = svg("path", { class: "grid" });
    this.bars = svg("g");
    this.slots = svg("g"); // what is grabbed and focused: as high as the plot, however low the bar
    this.corner = svg("text", { class: "axis", x: 2, y: 9 });
    this.plot = svg("svg", {
      class: "controlstack-plot", height: HEIGHT_PX, role: "group",
    }, this.grid, this.bars, this.corner, this.slots);
    const paint = everyFrame((event) => this.paint(event));
    const on = {
      pointerdown: (event) => this.grab(event),
      pointermove: (event) => this.isDragging && paint(event),
      pointerup: (event) => this.release(event),
      pointercancel: (event) => this.release(event),
      keydown: (event) => this.key(event),
      focusin: (event) => this.choose([...this.slots.children].indexOf(event.target)),
    };
    for (const [name, listener] of Object.entries(on)) this.plot.addEventListener(name, listener);
  }

  buildNumbers() {
    const { say } = this.services;
    const settle = () => this.services.settled();
    this.weight = element("input", { type: "number", min: 0, max: HIGHEST, step: 0.01,
      attributes: { "aria-label": say("weightOf") },
      on: { input: () => this.weight.value !== "" && this.set(this.chosen, this.weight.valueAsNumber), change: settle } });
    this.which = element("span");
    const presets = chooser(say("preset"), PRESETS.map(([name, text]) => [name, text, say(name)]), (text) => { this.field.edit(text); settle(); });
    this.row = element("div", { className: "controlstack-row" }, presets, element("label", {}, this.which, this.weight));
  }

  error(text) {
    try {
      this.good = parse(text);
      return "";
    } catch (problem) {
      this.good = null;
      return problem.message;
    }
  }

  // How many bars there are: the net's blocks, else as many as the text names, else a usual number.
  get count() {
    return this.services.blocks() ?? (this.good?.kind === "blocks" ? this.good.values.length : ASSUMED_BLOCKS);
  }

  get values() {
    return weights(this.good ?? { kind: "", values: [] }, this.count);
  }

  get top() {
    return this.isDragging ? this.heldTop : TOPS.find((top) => Math.max(...this.values) <= top) ?? HIGHEST;
  }

  spark() {
    const { values, top } = this;
    return values.map((value, i) => `M${(i + 0.5) * (44 / values.length)},16v${-(value / top) * 16}`).join("");
  }

  draw() {
    const { values, top } = this;
    const { say } = this.services;
    setAttributes(this.plot, { "aria-label": say("blocks", { field: this.services.label() }) });
    this.chosen = clamp(this.chosen, 0, values.length - 1);
    const pitch = (this.width - 2 * MARGIN_PX) / values.length;
    const tall = HEIGHT_PX - 2 * MARGIN_PX;
    const bars = keepChildren(this.bars, values.length, () => svg("rect", { rx: 1.5 }));
    const slots = keepChildren(this.slots, values.length, () => svg("rect", { class: "slot", tabindex: 0, role: "slider",
      "aria-valuemin": 0, "aria-valuemax": HIGHEST, "aria-orientation": "vertical" }));
    values.forEach((value, i) => {
      const high = Math.max(1, (Math.min(value, top) / top) * tall);
      const x = MARGIN_PX + i * pitch;
      setAttributes(bars[i], { class: i === this.chosen ? "bar chosen" : "bar", x: x + 1, width: Math.max(1, pitch - 2),
        y: HEIGHT_PX - MARGIN_PX - high, height: high, opacity: this.good ? 1 : 0.2 });
      setAttributes(slots[i], { x, width: pitch, y: MARGIN_PX - 4, height: tall + 8, "aria-valuenow": round(value),
        "aria-label": this.nameOf(i, values.length), "aria-valuetext": say("weight", { weight: round(value) }) });
    });
    const rows = [0, 0.5, 1].map((part) => HEIGHT_PX - MARGIN_PX - part * tall);
    setAttributes(this.grid, { d: rows.map((y) => `M${MARGIN_PX},${y}H${this.width - MARGIN_PX}`).join("") });
    this.corner.textContent = `${top}`;
    this.drawNumbers(values);
  }

  nameOf(index, count) {
    const { say } = this.services;
    return index === count - 1 ? say("middle") : say("block", { number: index + 1, count });
  }

  drawNumbers(values) {
    this.weight.disabled = !this.good;
    this.which.textContent = this.nameOf(this.chosen, values.length);
    const shown = round(values[this.chosen]);
    if (document.activeElement !== this.weight || this.weight.valueAsNumber !== shown) this.weight.value = shown;
  }

  resize() {
    const width = this.plot.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    if (this.field.open) this.draw();
  }

  choose(index) {
    if (index < 0 || index === this.chosen) return;
    this.chosen = index;
    this.draw();
  }

  grab(event) {
    if (event.button !== 0 || !this.good) return;
    this.heldTop = this.top;
    this.isDragging = true;
    this.plot.setPointerCapture(event.pointerId);
    this.paint(event);
    this.slots.children[this.chosen].focus({ preventScroll: true });
  }

  // Dragging along the bars draws their shape.
  paint(event) {
    if (!this.isDragging) return;
    const [px, py] = pointerIn(this.plot, event);
    const index = Math.floor(((px - MARGIN_PX) / (this.width - 2 * MARGIN_PX)) * this.count);
    const part = (HEIGHT_PX - MARGIN_PX - py) / (HEIGHT_PX - 2 * MARGIN_PX);
    this.chosen = clamp(index, 0, this.count - 1);
    this.set(this.chosen, clamp(part, 0, 1) * this.heldTop);
  }

  release(event) {
    if (!this.isDragging) return;
    this.paint(event);
    this.isDragging = false;
    this.draw();
    this.services.settled();
  }

  // One weight by hand makes the text a list of weights.
  set(index, weight) {
    const values = this.values.map(round).with(index, round(clamp(weight, 0, HIGHEST)));
    this.field.edit(form({ kind: "blocks", values }));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.good) return;
    const by = event.shiftKey ? LEAP : NUDGE;
    const change = { ArrowUp: by, ArrowDown: -by }[event.key];
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (change) this.set(this.chosen, this.values[this.chosen] + change);
    else if (move) this.slots.children[clamp(this.chosen + move, 0, this.count - 1)].focus({ preventScroll: true });
    else return;
    event.preventDefault();
    this.services.settled({ soon: true });
  }
}
