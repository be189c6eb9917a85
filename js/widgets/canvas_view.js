// A canvas to draw on: tools, and a sheet over a picture. Its text is the name of a drawing, or the
// drawing itself where the server could not store it. `services`: {label(), say, translated,
// isWired(), size(view), isInverted(), underlay(), changed(), settled(), resized(),
// forward(element), store, history()}; `settings` are the tools', the same for all canvases.

import { isInline, parse, toText } from "../lib/drawing.js";
import { SheetView } from "../lib/sheet_view.js";
import { CanvasPointer } from "./canvas_pointer.js";
import { CanvasTools } from "./canvas_tools.js";
import { claimInput, element, everyFrame, setAttributes, tell } from "./dom.js";
import { StrokePainter } from "./stroke_painter.js";

const STAGE_PX = 260, TOOLS_PX = 56, LINE_PX = 34;

export class CanvasView {
  constructor(services, settings) {
    Object.assign(this, { services, settings, text: "", drawing: null, problem: "" });
    this.open = true;
    this.sheetView = new SheetView();
    this.painter = new StrokePainter();
    this.chosen = ""; // the address of a picture that was chosen or dropped here
    this.build();
    this.pointer = new CanvasPointer(this.surface, this);
    this.listen();
    this.take({ width: 512, height: 512, strokes: [] });
  }

  build() {
    const act = (work) => () => { work(); this.services.settled(); };
    const actions = {
      undo: () => this.step(-1),
      redo: () => this.step(1),
      clear: () => this.clear(),
      zoomIn: () => this.zoomStep(1),
      zoomOut: () => this.zoomStep(-1),
      zoomFit: () => this.fitView(),
      choosePicture: (file) => this.choosePicture(file),
      removePicture: act(() => this.choosePicture(null)),
      changed: () => this.placeSheet(),
    };
    const { say, label } = this.services;
    this.tools = new CanvasTools({ say, settings: this.settings, actions, label });
    this.picture = element("img", { alt: "", draggable: false });
    this.sheet = element("div", { className: "controlstack-sheet" },
      this.picture, this.painter.canvas);
    this.tip = element("div", { className: "controlstack-tip", hidden: true });
    // An input, because ComfyUI leaves the keys of inputs alone, Ctrl+Z among them.
    this.surface = element("input", {
      type: "text", readOnly: true, inputMode: "none", className: "controlstack-surface",
      attributes: { "data-capture-wheel": "true" },
    });
    this.stage = element("div", { className: "controlstack-stage" },
      this.sheet, this.tip, this.surface);
    this.stage.style.minHeight = `${STAGE_PX}px`;
    this.message = element("p", {
      className: "controlstack-error", hidden: true, attributes: { role: "alert" },
    });
    this.spoken = element("span", {
      className: "controlstack-spoken", attributes: { "aria-live": "polite" },
    });
    const attributes = { role: "group" };
    const className = "controlstack-field controlstack-canvas controlstack-grows";
    this.element = element("div", { className, attributes },
      this.tools.bar, this.stage, this.message, this.spoken);
    this.element.style.minHeight = `${this.height}px`;
  }

  listen() {
    claimInput(this.element, [
      "pointerdown", "pointermove", "pointerup", "mousedown", "dblclick", "contextmenu",
    ]);
    this.services.forward(this.element);
    this.drawSoon = everyFrame(() => this.pointer.draw());
    this.element.addEventListener("dragover", (event) => claim(event));
    this.element.addEventListener("drop", (event) => {
      const file = [...(event.dataTransfer?.files ?? [])].find(({ type }) => (
        type.startsWith("image/")));
      claim(event);
      if (file) this.choosePicture(file);
    });
    new ResizeObserver(everyFrame(() => this.placeSheet())).observe(this.stage);
  }

  get height() {
    return TOOLS_PX + STAGE_PX + (this.message?.hidden === false ? LINE_PX : 0);
  }

  // -- the value ----------------------------------------------------------------------------------

  // A value from outside: loading, undo of the page, another script. It may come again and again.
  setText(value) {
    const text = String(value ?? "").trim();
    if (text === this.text) return this.refresh();
    this.text = text;
    this.pointer.drop();
    this.load(text);
  }

  async load(text) {
    const { store, say } = this.services;
    const here = isInline(text) ? text : store.text(text);
    if (!text || here !== undefined) return this.loaded(text, here ?? "");
    this.drawing = null;
    this.say(say("loadingDrawing"));
    const { text: content, problem } = await store.read(text);
    if (text === this.text) this.loaded(text, content, problem);
  }

  loaded(text, content, problem = "") {
    const { history, say, translated } = this.services;
    let drawing = { ...this.emptySheet(), strokes: [] }, reason = problem;
    try {
      if (content && !problem) drawing = parse(content);
    } catch (error) {
      reason = error.message;
    }
    this.problem = reason && say("notLoaded", { reason: translated(reason) });
    history().visit(this.keyOf(text, content));
    if (text && !isInline(text) && !reason) this.keep(text);
    this.take(drawing);
  }

  // A drawing by its name, also where the text holds it.
  keyOf(text, content) {
    return isInline(text) && !this.problem ? this.services.store.name(content.trim()) : text;
  }

  emptySheet() {
    const [width, height] = this.services.size(this);
    return { width, height };
  }

  // Shows a drawing, and what else follows from it.
  take(drawing) {
    this.drawing = drawing;
    this.refresh();
  }

  // A change by the user: the drawing with one stroke more.
  commit(stroke) {
    if (!this.canDraw) return;
    this.change({ ...this.drawing, strokes: [...this.drawing.strokes, stroke] });
  }

  clear() {
    if (this.canDraw && this.drawing.strokes.length) {
      this.change({ ...this.emptySheet(), strokes: [] });
    }
  }

  change(drawing) {
    const { store, history } = this.services;
    let text = "";
    try {
      text = toText(drawing);
    } catch (error) { // too much: what was there before stays
      this.problem = error.message;
      this.painter.shown = { strokes: [null] };
      return this.refresh();
    }
    this.problem = "";
    const name = text && store.name(text);
    history().push(name);
    this.set(name, drawing);
  }

  set(name, drawing) {
    this.text = name;
    this.take(drawing);
    this.services.changed();
    this.services.settled();
    if (name) this.keep(name);
  }

  // Has the server store what the text names; what it cannot store stays in the text itself.
  async keep(name) {
    const { store, say, translated, changed } = this.services;
    const reason = await store.keep(name);
    if (!reason || this.text !== name) return;
    this.text = store.text(name);
    this.problem = say("notStored", { reason: translated(reason).replace(/[.。]$/, "") });
    this.refresh();
    changed();
  }

  // One stroke back (-1) or forward (1).
  step(by) {
    if (!this.canDraw) return;
    const { history, store } = this.services;
    const name = history().step(by);
    if (name === null) return;
    this.problem = "";
    const content = name && store.text(name);
    if (!name || content) {
      return this.set(name, content ? parse(content) : { ...this.emptySheet(), strokes: [] });
    }
    this.setText(name); // of a file that is gone
    this.services.changed();
    this.services.settled();
  }

  get canDraw() {
    return this.drawing !== null && !this.services.isWired();
  }

  // -- what is shown ------------------------------------------------------------------------------

  // Follows what is around: sizes, colours, the picture, the names.
  refresh() {
    const { services, drawing, element: whole } = this;
    const isWired = services.isWired();
    whole.classList.toggle("controlstack-wired", isWired);
    this.stage.classList.toggle("controlstack-inverted", services.isInverted());
    const label = services.label();
    setAttributes(whole, { "aria-label": label });
    setAttributes(this.surface, { "aria-label": services.say("drawHere", { field: label }) });
    this.surface.disabled = isWired;
    this.showPicture();
    if (drawing) this.show(drawing);
    const history = services.history();
    this.tools.show({
      canUndo: this.canDraw && history.can(-1),
      canRedo: this.canDraw && history.can(1),
      canClear: this.canDraw && drawing.strokes.length > 0,
      hasPicture: Boolean(this.address),
      isChosen: Boolean(this.chosen),
    });
    if (drawing) this.say(services.translated(this.problem));
  }

  show(drawing) {
    const size = this.services.size(this);
    if (!drawing.strokes.length) {
      [drawing.width, drawing.height] = size;
    }
    const key = String(size);
    this.painter.show(drawing, size);
    if (key === this.shownSize) return;
    this.shownSize = key;
    this.placeSheet();
  }

  say(sentence) {
    if (this.message.textContent === sentence && this.message.hidden === !sentence) return;
    tell(this.message, this.message.title = sentence);
    this.message.hidden = !sentence;
    this.element.style.minHeight = `${this.height}px`;
    this.services.resized();
  }

  showPicture() {
    this.address = this.chosen || this.services.underlay();
    if (this.picture.getAttribute("src") !== this.address) {
      setAttributes(this.picture, { src: this.address || null });
    }
    this.picture.hidden = !this.address;
  }

  choosePicture(file) {
    if (this.chosen) URL.revokeObjectURL(this.chosen);
    this.chosen = file ? URL.createObjectURL(file) : "";
    this.refresh();
  }

  placeSheet() {
    this.picture.style.opacity = this.settings.opacity;
    const stage = [this.stage.clientWidth, this.stage.clientHeight];
    if (!stage[0] || !stage[1]) return;
    const place = this.sheetView.place(this.services.size(this), stage);
    for (const [side, value] of Object.entries(place)) this.sheet.style[side] = `${value}px`;
    this.surface.style.cursor = this.settings.tool === "hand" ? "grab" : "crosshair";
  }

  // A pointer's place in units of the canvas.
  place({ clientX, clientY }) {
    const frame = this.painter.canvas.getBoundingClientRect(), { width, height } = this.drawing;
    return [
      (clientX - frame.left) / frame.width * width,
      (clientY - frame.top) / frame.height * height,
    ];
  }

  // The tip of the tool over the sheet, as broad as it draws; null for none.
  showTip(at, { isSpoken = false } = {}) {
    const isHidden = !at || !this.canDraw || ["hand", "fill"].includes(this.settings.tool);
    this.tip.hidden = isHidden && !isSpoken;
    if (!at || !this.drawing) return;
    const { width, height } = this.drawing;
    const [across, down] = [this.sheet.offsetWidth / width, this.sheet.offsetHeight / height];
    const size = Math.max(3, this.tools.width * Math.sqrt(across * down));
    Object.assign(this.tip.style, {
      width: `${size}px`, height: `${size}px`,
      left: `${this.sheet.offsetLeft + at[0] * across - size / 2}px`,
      top: `${this.sheet.offsetTop + at[1] * down - size / 2}px`,
    });
    const [x, y] = at.map(Math.round);
    if (isSpoken) this.spoken.textContent = this.services.say("tipAt", { x, y });
  }

  // -- the view -----------------------------------------------------------------------------------

  // A place of the page as the stage's own pixels from its middle; the graph may be zoomed.
  inStage([clientX, clientY]) {
    const frame = this.stage.getBoundingClientRect();
    const scale = frame.width / (this.stage.clientWidth || 1) || 1;
    const middle = [frame.left + frame.width / 2, frame.top + frame.height / 2];
    return [(clientX - middle[0]) / scale, (clientY - middle[1]) / scale];
  }

  zoomAt(factor, place) {
    this.sheetView.zoomBy(factor, this.inStage(place));
    this.placeSheet();
  }

  zoomStep(direction) {
    this.sheetView.step(direction);
    this.placeSheet();
  }

  fitView() {
    this.sheetView.fit();
    this.placeSheet();
  }

  moveView(dx, dy) {
    const [from, to] = [this.inStage([0, 0]), this.inStage([dx, dy])];
    this.sheetView.moveBy(to[0] - from[0], to[1] - from[1]);
    this.placeSheet();
  }

  destroy() {
    if (this.chosen) URL.revokeObjectURL(this.chosen);
  }
}

function claim(event) {
  event.preventDefault();
  event.stopPropagation();
}
