// The tools above a canvas: what a pointer does there, how broad, and what else can be done.
// `settings` is shared by all canvases of a page. `actions`: {undo, redo, clear, zoomIn, zoomOut,
// zoomFit, choosePicture(file), removePicture}, and changed() after a setting.

import { element, setAttributes, svg } from "./dom.js";

export const TOOLS = ["brush", "eraser", "line", "fill", "hand"];
const MOST_PX = 200;
// Drawn in 16 x 16.
const SIGNS = {
  brush: "M3 13l1-4 7-7 3 3-7 7zM9 4l3 3",
  eraser: "M6 13L2 9l7-7 5 5-6 6zM5 6l5 5M6 13h8",
  line: "M2 14L14 2",
  fill: "M3 8l5-5 5 5-5 5zM8 3L6 1M14 10q2 3 0 4q-2-1 0-4",
  hand: "M8 1v14M1 8h14M6 3l2-2 2 2M6 13l2 2 2-2M3 6L1 8l2 2M13 6l2 2-2 2",
  undo: "M6 3L2 7l4 4M2 7h8q4 0 4 5",
  redo: "M10 3l4 4-4 4M14 7H6q-4 0-4 5",
  clear: "M3 4h10M6 4V2h4v2M4 4l1 10h6l1-10",
  zoomOut: "M7 2a5 5 0 1 0 .01 0M11 11l4 4M5 7h4",
  zoomFit: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
  zoomIn: "M7 2a5 5 0 1 0 .01 0M11 11l4 4M5 7h4M7 5v4",
  picture: "M2 3h12v10H2zM2 11l4-4 3 3 2-2 3 3",
  remove: "M4 4l8 8M12 4l-8 8",
};

export class CanvasTools {
  constructor({ say, settings, actions, label }) {
    Object.assign(this, { say, settings, actions, label });
    this.build();
    this.draw();
  }

  build() {
    const { say, actions } = this;
    const tips = [say("brush"), say("eraser"), say("line"), say("fill"), say("hand")];
    this.tools = TOOLS.map((tool, i) => this.button(tool, tips[i], () => this.choose(tool)));
    this.undo = this.button("undo", say("undoStroke"), actions.undo);
    this.redo = this.button("redo", say("redoStroke"), actions.redo);
    this.clear = this.button("clear", say("clearCanvas"), actions.clear);
    this.size = this.slider(say("sizeOf"), 1, MOST_PX, 1, (value) => this.set("size", value));
    this.sizeText = element("output", { className: "controlstack-note" });
    this.smoothing = this.slider(say("smoothing"), 0, 1, 0.05,
      (value) => this.set("smoothing", value));
    this.opacity = this.slider(say("underlay"), 0, 1, 0.05,
      (value) => this.set("opacity", value));
    this.file = element("input", {
      type: "file", accept: "image/*", hidden: true,
      on: { change: () => this.file.files[0] && actions.choosePicture(this.file.files[0]) },
    });
    this.picture = this.button("picture", say("choosePicture"), () => this.file.click());
    this.remove = this.button("remove", say("removePicture"), actions.removePicture);
    const zooms = [
      this.button("zoomOut", say("zoomOut"), actions.zoomOut),
      this.button("zoomFit", say("zoomFit"), actions.zoomFit),
      this.button("zoomIn", say("zoomIn"), actions.zoomIn),
    ];
    const row = (...parts) => element("div", { className: "controlstack-row" }, ...parts);
    const attributes = { role: "toolbar" };
    this.bar = element("div", { className: "controlstack-tools", attributes },
      row(...this.tools, this.size, this.sizeText, this.undo, this.redo, this.clear),
      row(sign("~"), this.smoothing, this.picture, this.remove, this.opacity, this.file,
        ...zooms));
  }

  button(name, label, act) {
    const attributes = { "aria-label": label };
    return element("button", { type: "button", title: label, attributes, on: { click: act } },
      svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: SIGNS[name] })));
  }

  slider(label, min, max, step, apply) {
    return element("input", {
      type: "range", min, max, step, title: label, attributes: { "aria-label": label },
      on: { input: ({ target }) => apply(target.valueAsNumber) },
    });
  }

  // The eraser has a width of its own.
  get sizeKey() {
    return this.settings.tool === "eraser" ? "eraserSize" : "size";
  }

  get width() {
    return this.settings[this.sizeKey];
  }

  choose(tool) {
    this.settings.tool = tool;
    this.draw();
    this.actions.changed();
  }

  set(name, value) {
    this.settings[name === "size" ? this.sizeKey : name] = value;
    this.draw();
    this.actions.changed();
  }

  // A tenth broader (1) or narrower (-1), by a unit at least.
  resize(by) {
    const next = this.width + by * Math.max(1, Math.round(this.width / 10));
    this.set("size", Math.min(MOST_PX, Math.max(1, next)));
  }

  // What can be done is told by who knows it: {canUndo, canRedo, canClear, hasPicture, isChosen}.
  show(state) {
    this.state = state;
    this.draw();
  }

  draw() {
    const { settings, state = {} } = this;
    setAttributes(this.bar, { "aria-label": this.say("tools", { field: this.label() }) });
    this.tools.forEach((button, i) => setAttributes(button, {
      "aria-pressed": String(TOOLS[i] === settings.tool),
    }));
    this.size.value = this.width;
    this.sizeText.textContent = String(this.width);
    this.smoothing.value = settings.smoothing;
    this.opacity.value = settings.opacity;
    this.opacity.disabled = !state.hasPicture;
    this.opacity.title = this.say(state.hasPicture ? "underlay" : "noPicture");
    this.remove.hidden = !state.isChosen;
    this.undo.disabled = !state.canUndo;
    this.redo.disabled = !state.canRedo;
    this.clear.disabled = !state.canClear;
  }
}

// A small sign before a slider.
function sign(text) {
  const attributes = { "aria-hidden": "true" };
  return element("span", { className: "controlstack-note", textContent: text, attributes });
}
