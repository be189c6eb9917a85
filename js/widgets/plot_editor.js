// What the curve and the bars share: a plot with handles that are dragged, focused and moved by
// keys, and rows of numbers below it.
//
// A subclass has buildPlot(): makes `plot` and its `handles`; buildNumbers(): makes `rows`; draw(),
// spark(); strengths: all values of the plot; handleAt(event): an index, or -1;
// dragTo(event); press(key, by): whether the key did something. The plot is as wide as its node and
// as tall as the node leaves room for.

import { axisTop } from "../lib/curve_geometry.js";
import { addListeners, chooser, element, everyFrame, setAttributes } from "./dom.js";

const NUDGE = 0.01, LEAP = 0.1; // what an arrow key changes, without and with Shift

export class PlotEditor {
  // `services` as Field's; parse(text) throws an Error for a text that does not parse; the plot is
  // at least `leastPx` tall.
  constructor(field, services, parse, leastPx) {
    this.field = field;
    this.services = services;
    this.parse = parse;
    this.value = null; // the parsed text, null where it does not parse
    this.chosen = 0; // index of the handle that numbers and keys change
    this.isDragging = false;
    this.draggedTop = 1; // the axis stays as it was when the drag began
    this.width = 200;
    this.height = leastPx;
    this.buildPlot();
    this.plot.style.minHeight = `${leastPx}px`;
    this.buildNumbers();
    this.parts = [this.plot, ...this.rows];
    this.listen();
  }

  listen() {
    const drag = everyFrame((event) => this.drag(event));
    addListeners(this.plot, {
      pointerdown: (event) => this.grab(event),
      pointermove: (event) => this.isDragging && drag(event),
      pointerup: (event) => this.release(event),
      pointercancel: (event) => this.release(event),
      keydown: (event) => this.key(event),
      focusin: (event) => this.choose([...this.handles.children].indexOf(event.target)),
    });
    new ResizeObserver(everyFrame(() => this.resize())).observe(this.plot);
  }

  // -- elements -----------------------------------------------------------------------------------

  numberInput(label, apply, properties = {}) {
    const change = ({ target }) => target.value !== "" && apply(target.valueAsNumber);
    return element("input", {
      type: "number", min: 0, step: 0.01, ...properties, attributes: { "aria-label": label },
      on: { input: change, change: () => this.services.settled() },
    });
  }

  // Keeps what the user is typing where it means the same.
  showNumber(input, value) {
    const isTyped = document.activeElement === input && input.valueAsNumber === value;
    if (!isTyped) input.value = value ?? "";
  }

  presetChooser(presets) {
    const { say } = this.services;
    const choices = presets.map(([name, text]) => [text, say(name)]);
    return chooser(say("preset"), choices, (text) => this.usePreset(text));
  }

  usePreset(text) {
    this.field.edit(text);
    this.services.settled();
  }

  drawGrid(grid, ys, marginPx) {
    const right = this.width - marginPx;
    setAttributes(grid, { d: ys.map((y) => `M${marginPx},${y}H${right}`).join("") });
  }

  focus(index) {
    this.handles.children[index]?.focus({ preventScroll: true });
  }

  // -- state --------------------------------------------------------------------------------------

  // Parses a text; returns the error's message, or "".
  check(text) {
    try {
      this.value = this.parse(text);
      return "";
    } catch (error) {
      this.value = null;
      return error.message;
    }
  }

  get top() {
    return this.isDragging ? this.draggedTop : axisTop(this.strengths);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (!width || (width === this.width && height === this.height)) return;
    Object.assign(this, { width, height });
    if (this.field.open) this.draw();
  }

  choose(index) {
    if (index < 0 || index === this.chosen) return;
    this.chosen = index;
    this.draw();
  }

  // -- pointer and keys ---------------------------------------------------------------------------

  grab(event) {
    if (event.button !== 0 || !this.value) return;
    const index = this.handleAt(event);
    if (index < 0) return;
    this.draggedTop = this.top;
    this.isDragging = true;
    this.plot.setPointerCapture(event.pointerId);
    this.focus(index);
    this.choose(index);
  }

  drag(event) {
    if (this.isDragging) this.dragTo(event);
  }

  release(event) {
    if (!this.isDragging) return;
    this.dragTo(event);
    this.isDragging = false;
    this.draw();
    this.services.settled();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.value) return;
    if (!this.press(event.key, event.shiftKey ? LEAP : NUDGE)) return;
    event.preventDefault();
    this.services.settled({ soon: true });
  }
}
