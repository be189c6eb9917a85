// What pointers and keys do on a canvas: they draw, move the view, or fill. `view` has the tools,
// the painter and the drawing; its `place(event)` is a place in units of the canvas.

import { Pen, lineTo, pressureOf } from "../lib/drawing.js";
import { addListeners } from "./dom.js";

const MAIN_BUTTON = 0;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LEAP = 10; // times as far with Shift
const TOOL_KEYS = { b: "brush", e: "eraser", l: "line", f: "fill", h: "hand" };

export class CanvasPointer {
  constructor(surface, view) {
    Object.assign(this, { surface, view });
    this.touches = new Map(); // fingers that are down → where they were last
    this.stroke = null; // {pen, stroke, pointer}: what is being drawn
    this.filled = null; // {place, pointer}: where a fill begins once the pointer is lifted
    this.panned = null; // where the view was last taken hold of
    this.tip = null; // where keys draw, in units
    addListeners(surface, {
      pointerdown: (event) => this.down(event),
      pointermove: (event) => this.move(event),
      pointerup: (event) => this.up(event),
      pointercancel: (event) => this.cancel(event),
      pointerleave: () => view.showTip(null),
      keydown: (event) => this.key(event),
    });
    keepTouches();
    surface.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  // -- pointers -----------------------------------------------------------------------------------

  down(event) {
    if (event.button !== MAIN_BUTTON || !this.view.canDraw) return;
    this.surface.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      this.touches.set(event.pointerId, [event.clientX, event.clientY]);
      if (this.touches.size > 1) return this.drop(); // two move the view
    }
    if (this.stroke) return;
    const { tool } = this.view.settings, place = this.view.place(event);
    if (tool === "hand") this.panned = [event.clientX, event.clientY];
    else if (tool === "fill") this.filled = { place, pointer: event.pointerId };
    else this.begin(place, pressureOf(event), event.pointerId);
  }

  fillAt([x, y]) {
    const tenths = (value) => Math.round(value * 10) / 10;
    return [tenths(x), tenths(y), 1];
  }

  begin(place, pressure, pointer) {
    const { settings, tools, drawing, painter } = this.view;
    const { width, height } = drawing;
    const isLine = settings.tool === "line";
    const smoothing = isLine ? 0 : settings.smoothing;
    const pen = new Pen({
      tool: settings.tool, size: tools.width, smoothing, canvas: { width, height },
    });
    pen.move(...place, isLine ? 1 : pressure);
    painter.begin();
    this.stroke = { pen, stroke: pen.stroke, pointer };
    if (!isLine) painter.extend(pen.stroke);
  }

  move(event) {
    if (this.touches.size > 1) return this.pinch(event);
    if (this.panned) return this.pan(event);
    this.view.showTip(this.view.place(event));
    if (this.stroke?.pointer !== event.pointerId) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) {
      this.lengthen(this.view.place(one), pressureOf(one), one.shiftKey);
    }
    this.view.drawSoon();
  }

  // The stroke reaches to another place; it is drawn with the next frame.
  lengthen(place, pressure, isEven) {
    const { pen, stroke } = this.stroke;
    if (stroke.tool !== "line") pen.move(...place, pressure);
    else this.stroke.stroke = lineTo(stroke, place, this.view.drawing, isEven);
  }

  // Draws what is new of the stroke.
  draw() {
    if (!this.stroke) return;
    const { stroke } = this.stroke;
    if (stroke.tool === "line") this.view.painter.replace(stroke);
    else this.view.painter.extend(stroke);
  }

  up(event) {
    this.touches.delete(event.pointerId);
    this.panned = null;
    if (this.filled?.pointer === event.pointerId) {
      this.view.commit({ tool: "fill", points: this.fillAt(this.filled.place) });
      this.filled = null;
    }
    if (this.stroke?.pointer === event.pointerId) {
      this.finish(this.view.place(event), pressureOf(event), event.shiftKey);
    }
  }

  finish(place, pressure, isEven) {
    const { pen, stroke } = this.stroke;
    // A pen that is lifted presses no more: the line ends as broad as it was.
    const last = stroke.points.at(-1);
    if (stroke.tool === "line") this.lengthen(place, 1, isEven);
    else pen.end(...place, last ?? pressure);
    const { stroke: whole } = this.stroke;
    this.stroke = null;
    this.view.painter.cancel();
    const isWhole = whole.tool !== "line" || whole.points.length > 3;
    if (isWhole) this.view.commit(whole);
  }

  cancel(event) {
    this.touches.delete(event.pointerId);
    this.panned = null;
    const { pointer } = this.stroke ?? this.filled ?? {};
    if (pointer === event.pointerId) this.drop();
  }

  // Gives a stroke or a fill up: it was the first finger of two, or the pointer went away.
  drop() {
    if (this.stroke) this.view.painter.cancel();
    this.stroke = this.filled = this.panned = null;
  }

  // Two fingers zoom the view by their distance and move it with their middle.
  pinch({ pointerId, clientX, clientY }) {
    if (!this.touches.has(pointerId)) return;
    const before = span(this.touches);
    this.touches.set(pointerId, [clientX, clientY]);
    const after = span(this.touches);
    this.view.zoomAt(after.distance / before.distance, after.middle);
    this.view.moveView(...after.middle.map((place, i) => place - before.middle[i]));
  }

  pan(event) {
    const [x, y] = this.panned;
    this.panned = [event.clientX, event.clientY];
    this.view.moveView(event.clientX - x, event.clientY - y);
  }

  // The wheel zooms the canvas while it has the focus, else the graph.
  wheel(event) {
    if (document.activeElement !== this.surface) return;
    event.preventDefault();
    event.stopPropagation();
    this.view.zoomAt(1.0015 ** -event.deltaY, [event.clientX, event.clientY]);
  }

  // -- keys ---------------------------------------------------------------------------------------

  key(event) {
    const key = event.key.toLowerCase(), isCommand = event.ctrlKey || event.metaKey;
    if (event.altKey || !this.view.canDraw) return;
    const isDone = isCommand ? this.command(key, event.shiftKey) : this.press(event, key);
    if (!isDone) return;
    event.preventDefault();
    event.stopPropagation(); // the graph has other meanings for these keys
  }

  command(key, isShift) {
    if (key === "z" && !isShift) this.view.step(-1);
    else if (key === "y" || key === "z") this.view.step(1);
    else return false;
    return true;
  }

  press(event, key) {
    const { view } = this;
    if (MOVES[event.key]) this.moveTip(MOVES[event.key], event.shiftKey ? LEAP : 1);
    else if (key === " " || key === "enter") this.setTip();
    else if (TOOL_KEYS[key]) view.tools.choose(TOOL_KEYS[key]);
    else if (key === "[" || key === "]") view.tools.resize(key === "[" ? -1 : 1);
    else if (key === "+" || key === "=") view.zoomStep(1);
    else if (key === "-") view.zoomStep(-1);
    else if (key === "0") view.fitView();
    else if (key === "escape" && this.stroke) this.drop();
    else return false;
    return true;
  }

  // Keys move by a hundredth of the canvas.
  moveTip([dx, dy], times) {
    const { width, height } = this.view.drawing, unit = Math.max(width, height) / 100;
    const [x, y] = this.tip ?? [width / 2, height / 2];
    const within = (value, side) => Math.min(side, Math.max(0, value));
    this.tip = [within(x + dx * unit * times, width), within(y + dy * unit * times, height)];
    this.view.showTip(this.tip, { isSpoken: true });
    if (this.stroke?.pointer !== "keys") return;
    this.lengthen(this.tip, 1, false);
    this.view.drawSoon();
  }

  // Sets the tip down, or lifts it.
  setTip() {
    const { drawing, settings } = this.view;
    this.tip ??= [drawing.width / 2, drawing.height / 2];
    this.view.showTip(this.tip);
    if (this.stroke) this.finish(this.tip, 1, false);
    else if (settings.tool === "fill") {
      this.view.commit({ tool: "fill", points: this.fillAt(this.tip) });
    } else if (settings.tool !== "hand") this.begin(this.tip, 1, "keys");
  }
}

let areKept = false; // whether touches of canvases are kept from the graph

// What two fingers do on a canvas is not for the graph, which looks before the canvas does.
function keepTouches() {
  if (areKept) return;
  areKept = true;
  const keep = (event) => {
    if (event.target.classList?.contains("controlstack-surface")) event.stopPropagation();
  };
  for (const name of ["touchstart", "touchmove", "touchend", "touchcancel"]) {
    window.addEventListener(name, keep, { capture: true, passive: true });
  }
}

// The first two of some places: how far they are apart, and their middle.
function span(places) {
  const [a, b] = places.values();
  const distance = Math.max(1, Math.hypot(b[0] - a[0], b[1] - a[1]));
  return { distance, middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
}
