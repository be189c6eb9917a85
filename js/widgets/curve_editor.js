// The schedule as a curve: points to drag, add and delete, by mouse, by keys, and by numbers.

import * as geometry from "../lib/curve_geometry.js";
import { INTERPOLATIONS, PRESETS, curve, parse, placed, toText } from "../lib/schedule.js";
import { element, keepChildren, option, pointerIn, setAttributes, svg } from "./dom.js";
import { Field } from "./field.js";
import { PlotEditor } from "./plot_editor.js";

const HEIGHT_PX = 116, BODY_PX = HEIGHT_PX + 2 * 26, MARGIN_PX = 8, SAMPLES = 96;
const FOOT_PX = 12; // below the axis: the words for its ends
const ASSUMED_STEPS = 20, MOST_TICKS = 200;
const HIGHEST = geometry.AXIS_TOPS.at(-1);
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const POINT = {
  r: 5.5, tabindex: 0, role: "slider",
  "aria-valuemin": 0, "aria-valuemax": HIGHEST, "aria-orientation": "vertical",
};

// `services` as Field's, and steps(): the sampler's, or null; range(): [start, end] of the control.
export function scheduleField(services) {
  const makeEditor = (field, heightPx) => new CurveEditor(field, services, parse, heightPx);
  return curveField(services, makeEditor);
}

// A field with a curve; makeEditor(field, heightPx) gives its CurveEditor.
export function curveField(services, makeEditor) {
  const make = (field) => makeEditor(field, HEIGHT_PX);
  return new Field(services, { bodyHeight: BODY_PX, makeEditor: make });
}

export class CurveEditor extends PlotEditor {
  buildPlot() {
    const names = ["outside", "grid", "ticks", "under", "line"];
    const paths = names.map((name) => [name, svg("path", { class: name })]);
    this.paths = Object.fromEntries(paths);
    this.handles = svg("g");
    const words = (anchor) => svg("text", { class: "axis", "text-anchor": anchor });
    this.stepsText = words("middle");
    this.ends = [words("start"), words("end")];
    this.levels = [words("start"), words("start")];
    this.plot = svg("svg", { class: "controlstack-plot", role: "group" },
      ...Object.values(this.paths), this.stepsText, ...this.ends, ...this.levels, this.handles);
    this.plot.addEventListener("dblclick", (event) => this.toggleAt(event));
  }

  buildNumbers() {
    const { say } = this.services;
    const position = { title: this.positionTip };
    this.at = this.numberInput(say("position"), (value) => this.place(value, null), position);
    this.strength = this.numberInput(say("strength"), (value) => this.place(null, value));
    this.plus = this.button("+", say("add"), () => this.insert());
    this.minus = this.button("−", say("remove"), () => this.remove());
    this.interpolation = element("select", {
      attributes: { "aria-label": say("between") },
      on: { change: () => this.setInterpolation(this.interpolation.value) },
    }, ...Object.keys(INTERPOLATIONS).map((name) => option(say(name), name)));
    const row = { className: "controlstack-row" };
    this.rows = [
      element("div", row, this.presetChooser(PRESETS), this.interpolation),
      element("div", row, element("label", {}, say("at"), this.at),
        element("label", {}, say("is"), this.strength), this.plus, this.minus),
    ];
  }

  button(sign, label, act) {
    const click = () => { act(); this.services.settled(); };
    const attributes = { "aria-label": label };
    const properties = { type: "button", textContent: sign, title: label };
    return element("button", { ...properties, attributes, on: { click } });
  }

  // The schedule with its points in order; without points where the text does not parse.
  read() {
    const { points, interpolation } = this.value ?? { points: [], interpolation: "linear" };
    return { points: geometry.ordered(points, this.steps), interpolation };
  }

  write(schedule) {
    this.field.edit(toText(schedule));
  }

  // Strength as a function of the fraction of sampling.
  curve(schedule) {
    const { steps } = this;
    return curve(placed(schedule, (step) => geometry.clamp(step / steps, 0, 1)));
  }

  get steps() {
    return this.services.steps() ?? ASSUMED_STEPS;
  }

  // How many parts the axis is marked in, or null.
  get ticks() {
    return this.services.steps();
  }

  get positionTip() {
    return this.services.say("positionUnit");
  }

  // A point's position in words.
  where({ at, unit }) {
    const { say } = this.services;
    return unit === "step"
      ? say("samplerStep", { at }) : say("percent", { at: geometry.round(at * 100) });
  }

  // What stands at the start of the axis, in its middle, and at its end.
  axisWords(count) {
    const { say } = this.services;
    return [say("startOfSampling"), count ? say("steps", { count }) : "", say("endOfSampling")];
  }

  get box() {
    return { width: this.width, height: this.height - FOOT_PX, margin: MARGIN_PX };
  }

  get strengths() {
    return this.read().points.map((point) => point.strength);
  }

  // -- drawing ------------------------------------------------------------------------------------

  spark() {
    const schedule = this.read(), valueAt = this.curve(schedule);
    const top = geometry.axisTop(schedule.points.map((point) => point.strength));
    return polyline(22, (x) => [x * 44, 16 - (valueAt(x) / top) * 16]);
  }

  draw() {
    const schedule = this.read(), { points } = schedule;
    const { box, top, steps } = this;
    const label = this.services.say("points", { field: this.services.label() });
    setAttributes(this.plot, { "aria-label": label });
    this.chosen = geometry.clamp(this.chosen, 0, Math.max(0, points.length - 1));
    const toPixels = (x, strength) => geometry.toPixels(x, strength, box, top);
    this.drawCurve(schedule, toPixels, box);
    this.drawAxes(toPixels, box, top);
    const handles = keepChildren(this.handles, points.length, () => svg("circle", POINT));
    handles.forEach((handle, index) => {
      const point = points[index];
      const center = toPixels(geometry.fraction(point, steps), point.strength);
      this.drawHandle(handle, point, index, center);
    });
    this.drawNumbers(schedule);
  }

  drawCurve(schedule, toPixels, { width, height, margin }) {
    const valueAt = this.curve(schedule), floor = height - margin;
    const exact = corners(schedule, this.steps);
    const line = polyline(SAMPLES, (x) => toPixels(x, valueAt(x)), exact);
    const area = `${line}L${width - margin},${floor}L${margin},${floor}Z`;
    setAttributes(this.paths.line, { d: this.value ? line : "" });
    setAttributes(this.paths.under, { d: this.value ? area : "" });
  }

  drawHandle(handle, point, index, [cx, cy]) {
    const { say } = this.services, { strength } = point;
    const where = this.where(point);
    setAttributes(handle, {
      cx,
      cy,
      class: index === this.chosen ? "point chosen" : "point",
      "aria-valuenow": strength,
      "aria-label": say("point", { number: index + 1, where }),
      "aria-valuetext": say("strengthAt", { strength, where }),
    });
  }

  drawAxes(toPixels, box, top) {
    const heights = [0, 0.5, 1].map((part) => toPixels(0, part * top)[1]);
    this.drawGrid(this.paths.grid, heights, box.margin);
    this.drawOutside((x) => toPixels(x, 0)[0], box);
    const steps = this.ticks;
    const count = steps && steps <= MOST_TICKS ? steps : 0;
    const ticks = Array.from({ length: count }, (_, step) => toPixels(step / steps, 0));
    const d = ticks.map(([x, y]) => `M${x},${y}v${MARGIN_PX - 2}`).join("");
    setAttributes(this.paths.ticks, { d });
    this.drawWords(box, heights, top, steps);
  }

  // What the axes mean: their ends and levels, and how many steps there are.
  drawWords(box, [, middle, highest], top, steps) {
    const y = this.height - 4, [first, between, last] = this.axisWords(steps);
    const put = (text, x, baseline, words) => {
      setAttributes(text, { x, y: baseline });
      text.textContent = words;
    };
    put(this.ends[0], MARGIN_PX, y, first);
    put(this.ends[1], box.width - MARGIN_PX, y, last);
    put(this.stepsText, box.width / 2, y, between);
    put(this.levels[0], MARGIN_PX + 2, highest + 10, `${top}`);
    put(this.levels[1], MARGIN_PX + 2, middle - 2, `${top / 2}`);
  }

  // Shades the parts of sampling where start and end keep the control off.
  drawOutside(toX, { height }) {
    const [start, end] = this.services.range();
    const parts = [[0, start], [end, 1]].filter(([from, to]) => to > from);
    const d = parts.map(([from, to]) => `M${toX(from)},0V${height}H${toX(to)}V0Z`).join("");
    setAttributes(this.paths.outside, { d });
  }

  drawNumbers({ points, interpolation }) {
    const point = points[this.chosen];
    this.interpolation.value = interpolation;
    this.interpolation.disabled = this.plus.disabled = !this.value;
    this.at.disabled = this.strength.disabled = this.minus.disabled = !point;
    this.at.step = point?.unit === "step" ? 1 : 0.01;
    this.showNumber(this.at, point?.at);
    this.showNumber(this.strength, point?.strength);
  }

  // -- changes ------------------------------------------------------------------------------------

  // A preset's curve is read from its first point on.
  usePreset(text) {
    this.chosen = 0;
    super.usePreset(text);
  }

  setInterpolation(interpolation) {
    this.write({ ...this.read(), interpolation });
    this.services.settled();
  }

  handleAt(event) {
    const { points } = this.read();
    const [px, py] = pointerIn(this.plot, event);
    return geometry.nearest(points, px, py, this.box, this.top, this.steps);
  }

  dragTo(event) {
    this.moveTo(...geometry.fromPixels(...pointerIn(this.plot, event), this.box, this.top));
  }

  // A double click deletes the point under it, or adds one where there is none.
  toggleAt(event) {
    if (!this.value) return;
    const index = this.handleAt(event);
    if (index >= 0) this.remove(index);
    else this.insert(...geometry.fromPixels(...pointerIn(this.plot, event), this.box, this.top));
    this.services.settled();
  }

  insert(x = geometry.between(this.read().points, this.chosen, this.steps), strength) {
    const schedule = this.read();
    const y = strength ?? this.curve(schedule)(x);
    const [points, index] = geometry.added(schedule.points, x, y, this.steps);
    this.chosen = index;
    this.write({ ...schedule, points });
    this.focus(index);
  }

  remove(index = this.chosen) {
    const schedule = this.read();
    if (!schedule.points[index]) return;
    this.chosen = Math.max(0, index - 1);
    this.write({ ...schedule, points: geometry.removed(schedule.points, index) });
    (this.handles.children[this.chosen] ?? this.plus).focus({ preventScroll: true });
  }

  // From the number inputs; null leaves a coordinate unchanged.
  place(at, strength) {
    const point = this.read().points[this.chosen];
    if (!point) return;
    const target = at === null ? point : { ...point, at };
    const x = target.unit === "step" ? target.at / this.steps : target.at;
    this.moveTo(x, strength === null ? point.strength : geometry.clamp(strength, 0, HIGHEST));
  }

  // Moves the chosen point.
  moveTo(x, strength) {
    const schedule = this.read();
    const points = geometry.moved(schedule.points, this.chosen, x, strength, this.steps);
    this.write({ ...schedule, points });
  }

  press(key, by) {
    const point = this.read().points[this.chosen];
    if (point && ARROWS[key]) this.nudge(point, ARROWS[key], by);
    else if (key === "Delete" || key === "Backspace") this.remove();
    else if (key === "Insert" || key === "+" || key === "Enter") this.insert();
    else return false;
    return true;
  }

  nudge(point, [dx, dy], by) {
    const across = point.unit === "step" ? 1 / this.steps : by;
    const strength = geometry.clamp(point.strength + dy * by, 0, HIGHEST);
    this.moveTo(geometry.fraction(point, this.steps) + dx * across, strength);
  }
}

// Positions that a drawn line must pass: the points, and for jumps the instant before each.
function corners(schedule, steps) {
  const at = schedule.points.map((point) => geometry.fraction(point, steps));
  return at.flatMap((x) => [Math.max(0, x - 1e-6), x]);
}

// A path through `samples` even positions and the `exact` ones.
function polyline(samples, toPixels, exact = []) {
  const even = Array.from({ length: samples + 1 }, (_, i) => i / samples);
  const xs = [...even, ...exact].sort((a, b) => a - b);
  const pixels = (x) => toPixels(x).map((value) => Math.round(value * 100) / 100).join(",");
  return `M${xs.map(pixels).join("L")}`;
}
