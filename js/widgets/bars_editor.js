// The layers as bars: a weight for each block of the net, from its first one to its last, which is
// the middle block of a net for UNets.

import { clamp, round } from "../lib/curve_geometry.js";
import { HIGHEST, PRESETS, parse, toText, weights } from "../lib/layers.js";
import { element, keepChildren, pointerIn, setAttributes, svg } from "./dom.js";
import { Field } from "./field.js";
import { PlotEditor } from "./plot_editor.js";

const HEIGHT_PX = 84, BODY_PX = HEIGHT_PX + 26, MARGIN_PX = 6;
const FOOT_PX = 12; // below the bars: the words for the ends of the axis
const ASSUMED_BLOCKS = 13;
const SLOT = {
  class: "slot", tabindex: 0, role: "slider",
  "aria-valuemin": 0, "aria-valuemax": HIGHEST, "aria-orientation": "vertical",
};

// `services` as Field's, and blocks(): how many the connected net has, or null; depth(): how they
// lie.
export function layersField(services) {
  const makeEditor = (field) => new BarsEditor(field, services, parse, HEIGHT_PX);
  return new Field(services, { bodyHeight: BODY_PX, makeEditor });
}

class BarsEditor extends PlotEditor {
  buildPlot() {
    this.grid = svg("path", { class: "grid" });
    this.bars = svg("g");
    this.handles = svg("g"); // slots: as high as the plot, however low the bar
    this.corner = svg("text", { class: "axis", x: MARGIN_PX + 2, y: MARGIN_PX + 9 });
    this.ends = ["start", "end"].map((end) => svg("text", { class: "axis", "text-anchor": end }));
    this.plot = svg("svg", { class: "controlstack-plot", role: "group" },
      this.grid, this.bars, this.corner, ...this.ends, this.handles);
  }

  buildNumbers() {
    const { say } = this.services;
    const change = (value) => this.setWeight(this.chosen, value);
    this.weight = this.numberInput(say("weightOf"), change, { max: HIGHEST });
    this.blockName = element("span");
    const label = element("label", {}, this.blockName, this.weight);
    const row = { className: "controlstack-row" };
    this.rows = [element("div", row, this.presetChooser(PRESETS), label)];
  }

  // The number of bars: the net's blocks, else as many as the text lists, else SD1.5's.
  get count() {
    const blocks = this.value?.kind === "blocks" ? this.value.values.length : ASSUMED_BLOCKS;
    return this.services.blocks() ?? blocks;
  }

  get strengths() {
    return weights(this.value ?? { kind: "", values: [] }, this.count, this.services.depth());
  }

  get pitch() {
    return (this.width - 2 * MARGIN_PX) / this.count;
  }

  get floor() {
    return this.height - FOOT_PX - MARGIN_PX;
  }

  get tall() {
    return this.floor - MARGIN_PX;
  }

  spark() {
    const { strengths, top } = this;
    const bar = (weight, i) => `M${(i + 0.5) * (44 / strengths.length)},16v${-(weight / top) * 16}`;
    return strengths.map(bar).join("");
  }

  draw() {
    const { strengths, top } = this;
    const label = this.services.say("blocks", { field: this.services.label() });
    setAttributes(this.plot, { "aria-label": label });
    this.chosen = clamp(this.chosen, 0, strengths.length - 1);
    const bars = keepChildren(this.bars, strengths.length, () => svg("rect", { rx: 1.5 }));
    const slots = keepChildren(this.handles, strengths.length, () => svg("rect", SLOT));
    strengths.forEach((weight, i) => {
      this.drawBar(bars[i], weight, i, top);
      this.drawSlot(slots[i], weight, i, strengths.length);
    });
    this.drawGrid(this.grid, [0, 0.5, 1].map((part) => this.floor - part * this.tall), MARGIN_PX);
    this.corner.textContent = `${top}`;
    this.ends.forEach((text, i) => {
      setAttributes(text, { x: i ? this.width - MARGIN_PX : MARGIN_PX, y: this.height - 4 });
      text.textContent = this.endOfAxis(i);
    });
    this.drawNumbers(strengths);
  }

  drawBar(bar, weight, i, top) {
    const height = Math.max(1, (Math.min(weight, top) / top) * this.tall);
    setAttributes(bar, {
      class: i === this.chosen ? "bar chosen" : "bar",
      x: MARGIN_PX + i * this.pitch + 1,
      width: Math.max(1, this.pitch - 2),
      y: this.floor - height,
      height,
      opacity: this.value ? 1 : 0.2,
    });
  }

  drawSlot(slot, weight, i, count) {
    setAttributes(slot, {
      x: MARGIN_PX + i * this.pitch,
      width: this.pitch,
      y: MARGIN_PX - 4,
      height: this.tall + 8,
      "aria-valuenow": round(weight),
      "aria-label": this.nameOf(i, count),
      "aria-valuetext": this.services.say("weight", { weight: round(weight) }),
    });
  }

  nameOf(index, count) {
    const { say } = this.services;
    if (index === count - 1 && this.endsInTheMiddle) return say("middle");
    return say("block", { number: index + 1, count });
  }

  endOfAxis(i) {
    const { say } = this.services;
    if (!i) return say("shallowEnd");
    return this.endsInTheMiddle ? say("deepEnd") : say("lastBlock");
  }

  get endsInTheMiddle() {
    return this.services.depth() === "unet";
  }

  drawNumbers(strengths) {
    this.weight.disabled = !this.value;
    this.blockName.textContent = this.nameOf(this.chosen, strengths.length);
    this.showNumber(this.weight, round(strengths[this.chosen]));
  }

  // A press sets the bar under it already.
  grab(event) {
    super.grab(event);
    this.drag(event);
  }

  handleAt(event) {
    const [px] = pointerIn(this.plot, event);
    return clamp(Math.floor((px - MARGIN_PX) / this.pitch), 0, this.count - 1);
  }

  // Dragging along the bars draws their shape.
  dragTo(event) {
    const [, py] = pointerIn(this.plot, event);
    this.chosen = this.handleAt(event);
    this.setWeight(this.chosen, clamp((this.floor - py) / this.tall, 0, 1) * this.draggedTop);
  }

  // Changing one weight makes the text a list of weights.
  setWeight(index, weight) {
    const values = this.strengths.map(round).with(index, round(clamp(weight, 0, HIGHEST)));
    this.field.edit(toText({ kind: "blocks", values }));
  }

  press(key, by) {
    const change = { ArrowUp: by, ArrowDown: -by }[key];
    const move = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (change) this.setWeight(this.chosen, this.strengths[this.chosen] + change);
    if (move) this.focus(clamp(this.chosen + move, 0, this.count - 1));
    return Boolean(change || move);
  }
}
