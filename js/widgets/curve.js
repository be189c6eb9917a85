// The schedule as a curve: points to drag, add and delete, by mouse, by keys, and by numbers.

import * as geometry from "../lib/curve.js";
import { INTERPOLATIONS, PRESETS, curve, form, parse, placed } from "../lib/schedule.js";
import { chooser, element, everyFrame, keepChildren, pointerIn, setAttributes, svg } from "./dom.js";
import { Field } from "./field.js";

const HEIGHT_PX = 104, BODY_PX = HEIGHT_PX + 2 * 26, MARGIN_PX = 8, SAMPLES = 96;
const ASSUMED_STEPS = 20;
const NUDGE = 0.01, LEAP = 0.1;

// `services` as Field's, and steps(): the sampler's, or null; range(): [start, end] where the control acts.
export function scheduleField(services) {
  return new Field(services, { bodyHeight: BODY_PX, makeView: (field) => new CurveView(field, services) });
}

class CurveView {
  constructor(field, services) {
    this.field = field;
    this.services = services;
    this.chosen = 0;
    this.dragged = -1;
    this.width = 200;
    this.buildPlot();
    this.buildNumbers();
    this.parts = [this.plot, ...this.rows];
    new ResizeObserver(everyFrame(() => this.resize())).observe(this.plot);
  }

  buildPlot() {
    this.layers = Object.fromEntries(["outside", "grid", "ticks", "under", "line"].map((name) =>
      [name, svg("path", { class: name })]));
    this.handles = svg("g");
    this.axes = ["middle", "start"].map((anchor) => svg("text", { class: "axis", "text-anchor": anchor }));
    this.plot = svg("svg", {
      class: "controlstack-plot", height: HEIGHT_PX, role: "group",
    }, ...Object.values(this.layers), ...this.axes, this.handles);
    const move = everyFrame((event) => this.drag(event));
    const on = {
      pointerdown: (event) => this.grab(event),
      pointermove: (event) => this.dragged >= 0 && move(event),
      pointerup: (event) => this.release(event),
      pointercancel: (event) => this.release(event),
      dblclick: (event) => this.toggleAt(event),
      keydown: (event) => this.key(event),
      focusin: (event) => this.choose([...this.handles.children].indexOf(event.target)),
    };
    for (const [name, listener] of Object.entries(on)) this.plot.addEventListener(name, listener);
  }

  buildNumbers() {
    const { say } = this.services;
    const settle = () => this.services.settled();
    const numeric = (title, step, apply) => element("input", {
      type: "number", step, min: 0, attributes: { "aria-label": title },
      on: { input: (event) => event.target.value !== "" && apply(event.target.valueAsNumber), change: settle },
    });
    this.at = numeric(say("position"), 0.01, (value) => this.place(value, null));
    this.strength = numeric(say("strength"), 0.01, (value) => this.place(null, value));
    this.at.title = say("positionUnit");
    const button = (sign, title, act) => element("button", { type: "button", textContent: sign, title,
      attributes: { "aria-label": title }, on: { click: () => { act(); settle(); } } });
    this.plus = button("+", say("add"), () => this.insert());
    this.minus = button("−", say("remove"), () => this.remove());
    this.interpolation = element("select", { attributes: { "aria-label": say("between") },
      on: { change: () => { this.write({ ...this.read(), interpolation: this.interpolation.value }); settle(); } },
    }, ...INTERPOLATIONS.map((name) => element("option", { textContent: say(name), value: name })));
    const named = PRESETS.map(([name, text]) => [name, text, say(name)]);
    const presets = chooser(say("preset"), named, (text) => { this.chosen = 0; this.field.edit(text); settle(); });
    this.rows = [
      element("div", { className: "controlstack-row" }, presets, this.interpolation),
      element("div", { className: "controlstack-row" }, element("label", {}, say("at"), this.at),
        element("label", {}, say("is"), this.strength), this.plus, this.minus),
    ];
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

  // The schedule as it stands, its points in the order in which they come; of a text that does not parse, none.
  read() {
    const { points, interpolation } = this.good ?? { points: [], interpolation: "linear" };
    return { points: geometry.ordered(points, this.steps), interpolation };
  }

  // Strength as a function of the fraction of sampling.
  curve(schedule) {
    const { steps } = this;
    return curve(placed(schedule, (step) => geometry.clamp(step / steps, 0, 1)));
  }

  write(schedule) {
    this.field.edit(form(schedule));
  }

  get steps() {
    return this.services.steps() ?? ASSUMED_STEPS;
  }

  get box() {
    return { width: this.width, height: HEIGHT_PX, margin: MARGIN_PX };
  }

  get top() {
    return this.dragged >= 0 ? this.heldTop : geometry.axisTop(this.read().points);
  }

  spark() {
    const schedule = this.read();
    const top = geometry.axisTop(schedule.points);
    const valueAt = this.curve(schedule);
    return polyline(22, (x) => [x * 44, 16 - (valueAt(x) / top) * 16]);
  }

  draw() {
    const schedule = this.read();
    const { points } = schedule;
    const { box, top, steps } = this;
    setAttributes(this.plot, { "aria-label": this.services.say("points", { field: this.services.label() }) });
    this.chosen = geometry.clamp(this.chosen, 0, Math.max(0, points.length - 1));
    const toPixels = (x, strength) => geometry.toPixels(x, strength, box, top);
    const valueAt = this.curve(schedule);
    const line = polyline(SAMPLES, (x) => toPixels(x, valueAt(x)), corners(schedule, steps));
    const floor = box.height - box.margin;
    setAttributes(this.layers.line, { d: this.good ? line : "" });
    setAttributes(this.layers.under, { d: this.good ? `${line}L${box.width - box.margin},${floor}L${box.margin},${floor}Z` : "" });
    this.drawAxes(toPixels, box, top);
    const handles = keepChildren(this.handles, points.length, () => svg("circle", { r: 5.5, tabindex: 0, role: "slider",
      "aria-valuemin": 0, "aria-valuemax": 10, "aria-orientation": "vertical" }));
    handles.forEach((handle, index) => this.drawHandle(handle, points[index], index, toPixels, steps));
    this.drawNumbers(schedule);
  }

  drawHandle(handle, point, index, toPixels, steps) {
    const [cx, cy] = toPixels(geometry.fraction(point, steps), point.strength);
    const { say } = this.services;
    const where = point.unit === "step" ? say("samplerStep", { at: point.at }) : say("percent", { at: geometry.round(point.at * 100) });
    setAttributes(handle, {
      cx, cy, class: index === this.chosen ? "point chosen" : "point", "aria-valuenow": point.strength,
      "aria-label": say("point", { number: index + 1, where }), "aria-valuetext": say("strengthAt", { strength: point.strength, where }),
    });
  }

  drawAxes(toPixels, box, top) {
    const rows = [0, 0.5, 1].map((part) => toPixels(0, part * top)[1]);
    setAttributes(this.layers.grid, { d: rows.map((y) => `M${box.margin},${y}H${box.width - box.margin}`).join("") });
    const steps = this.services.steps();
    const ticks = steps && steps <= 200 ? Array.from({ length: steps }, (_, step) => toPixels(step / steps, 0)) : [];
    setAttributes(this.layers.ticks, { d: ticks.map(([x, y]) => `M${x},${y}v${MARGIN_PX - 2}`).join("") });
    const [start, end] = this.services.range();
    const blocks = [[0, start], [end, 1]].filter(([from, to]) => to > from);
    setAttributes(this.layers.outside, { d: blocks.map(([from, to]) =>
      `M${toPixels(from, 0)[0]},0V${box.height}H${toPixels(to, 0)[0]}V0Z`).join("") });
    const [middle, corner] = this.axes;
    setAttributes(corner, { x: 2, y: 9 });
    corner.textContent = `${top}`;
    setAttributes(middle, { x: box.width / 2, y: box.height - 1 });
    middle.textContent = steps ? this.services.say("steps", { count: steps }) : "";
  }

  drawNumbers({ points, interpolation }) {
    const point = points[this.chosen];
    this.interpolation.value = interpolation;
    this.interpolation.disabled = this.plus.disabled = !this.good;
    this.at.disabled = this.strength.disabled = this.minus.disabled = !point;
    this.at.step = point?.unit === "step" ? 1 : 0.01;
    for (const [input, value] of [[this.at, point?.at], [this.strength, point?.strength]]) {
      if (document.activeElement !== input || input.valueAsNumber !== value) input.value = value ?? "";
    }
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
    const { points } = this.read();
    const index = geometry.nearest(points, ...pointerIn(this.plot, event), this.box, this.top, this.steps);
    if (index < 0) return;
    this.heldTop = this.top;
    this.dragged = index;
    this.plot.setPointerCapture(event.pointerId);
    this.handles.children[index].focus({ preventScroll: true });
    this.choose(index);
  }

  drag(event) {
    if (this.dragged < 0) return;
    const schedule = this.read();
    const [x, strength] = geometry.fromPixels(...pointerIn(this.plot, event), this.box, this.top);
    this.write({ ...schedule, points: geometry.moved(schedule.points, this.dragged, x, strength, this.steps) });
  }

  release(event) {
    if (this.dragged < 0) return;
    this.drag(event);
    this.dragged = -1;
    this.draw();
    this.services.settled();
  }

  // A double click takes the point under it away, or puts one where there is none.
  toggleAt(event) {
    if (!this.good) return;
    const { points } = this.read();
    const [px, py] = pointerIn(this.plot, event);
    const index = geometry.nearest(points, px, py, this.box, this.top, this.steps);
    if (index >= 0) this.remove(index);
    else this.insert(...geometry.fromPixels(px, py, this.box, this.top));
    this.services.settled();
  }

  insert(x = geometry.between(this.read().points, this.chosen, this.steps), strength) {
    const schedule = this.read();
    const [points, index] = geometry.added(schedule.points, x, strength ?? this.curve(schedule)(x), this.steps);
    this.chosen = index;
    this.write({ ...schedule, points });
    this.handles.children[index]?.focus({ preventScroll: true });
  }

  remove(index = this.chosen) {
    const schedule = this.read();
    if (!schedule.points[index]) return;
    this.chosen = Math.max(0, index - 1);
    this.write({ ...schedule, points: geometry.removed(schedule.points, index) });
    (this.handles.children[this.chosen] ?? this.plus).focus({ preventScroll: true });
  }

  // From the number fields: each keeps the other's value.
  place(at, strength) {
    const { points } = this.read();
    const point = points[this.chosen];
    if (!point) return;
    const x = at === null ? geometry.fraction(point, this.steps) : point.unit === "step" ? at / this.steps : at;
    this.moveTo(x, strength === null ? point.strength : geometry.clamp(strength, 0, geometry.AXIS_TOPS.at(-1)));
  }

  moveTo(x, strength) {
    const schedule = this.read();
    this.write({ ...schedule, points: geometry.moved(schedule.points, this.chosen, x, strength, this.steps) });
  }

  key(event) {
    const point = this.read().points[this.chosen];
    const [dx, dy] = ARROWS[event.key] ?? [0, 0];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (point && (dx || dy)) {
      const by = event.shiftKey ? LEAP : NUDGE;
      const across = point.unit === "step" ? 1 / this.steps : by;
      const strength = geometry.clamp(point.strength + dy * by, 0, geometry.AXIS_TOPS.at(-1));
      this.moveTo(geometry.fraction(point, this.steps) + dx * across, strength);
    } else if (event.key === "Delete" || event.key === "Backspace") this.remove();
    else if (event.key === "Insert" || event.key === "+" || event.key === "Enter") this.insert();
    else return;
    event.preventDefault();
    this.services.settled({ soon: true });
  }
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

// Positions that a drawn line must go through: the points, and for steps the instant before each.
function corners(schedule, steps) {
  const at = schedule.points.map((point) => geometry.fraction(point, steps));
  return at.flatMap((x) => [Math.max(0, x - 1e-6), x]);
}

function polyline(samples, toPixels, more = []) {
  const xs = [...Array.from({ length: samples + 1 }, (_, i) => i / samples), ...more].sort((a, b) => a - b);
  return `M${xs.map((x) => toPixels(x).map((value) => Math.round(value * 100) / 100).join(",")).join("L")}`;
}
