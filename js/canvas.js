// The canvas of Draw Scribble: its widget, its drawings on the server, the picture below it.

import { chain } from "./host.js";
import { DrawingStore } from "./lib/drawing_store.js";
import { History } from "./lib/drawing.js";
import { CanvasView } from "./widgets/canvas_view.js";

export const NODE = "ControlStackScribbleCanvas", INPUT = "drawing";
const TYPE = "CONTROLSTACK_DRAWING", WIDGET = "controlstack_drawing";
const SIDE_PX = 512; // where neither the node nor a picture tells
const NODE_PX = [400, 520];
const WAIT_MS = 15_000; // for the server, before a prompt is queued all the same
const JSON_TYPE = { "Content-Type": "application/json" };

export class Canvases {
  constructor(host, mounting) {
    Object.assign(this, { host, mounting });
    this.views = new Map(); // node → view
    this.histories = new Map(); // a node's name → its steps, which outlive undo of the page
    this.pictures = new Map(); // the picture of a node → its address
    this.settings = {
      tool: "brush", size: 8, eraserSize: 24, smoothing: 0.4, opacity: 0.5,
    };
    this.store = new DrawingStore({
      send: (text) => this.send(text), fetch: (name) => this.fetch(name),
    });
    this.widgets = { [TYPE]: (node, name, spec) => ({ widget: this.widget(node, name, spec) }) };
    this.reported = false;
  }

  // What Python declares as a plain text gets the canvas.
  declare(nodeData) {
    if (nodeData.name !== NODE) return;
    const declared = nodeData.input?.required?.[INPUT];
    if (declared) declared[1] = { ...declared[1], widgetType: TYPE };
  }

  widget(node, name, spec) {
    const text = spec[1]?.default ?? "";
    try {
      return this.add(node, name, text);
    } catch (error) {
      const message = `ControlStack: '${name}' is shown as plain text, because its widget failed`;
      if (!this.reported) console.error(message, error);
      this.reported = true;
      return node.addWidget("text", name, text, () => {});
    }
  }

  add(node, name, text) {
    let widget = null;
    const { host, mounting } = this;
    const view = new CanvasView({
      label: () => widget?.label ?? name,
      say: host.say,
      translated: (sentence) => host.translated(sentence),
      isWired: () => host.isWired(node, name),
      size: (view) => this.sizeOf(node, view),
      isInverted: () => host.widget(node, "invert")?.value === true,
      underlay: () => this.pictureOf(node),
      changed: () => widget?.callback?.(view.text),
      settled: () => host.captureUndo(),
      resized: () => {
        if (widget) host.refit(node);
        mounting.soon();
      },
      forward: (element) => host.forward(element),
      store: this.store,
      history: () => this.historyOf(node),
    }, this.settings);
    view.setText(text);
    widget = host.addTextWidget(node, name, WIDGET, view);
    widget.controlstack = view;
    widget.serializeValue = () => this.whenStored(view);
    this.follow(node, view);
    return widget;
  }

  // The canvas of a drawing that a subgraph shows on its node; `source` holds its value. Size,
  // colours and picture are those of the canvas inside, where it has one alone.
  promoted(node, input, source) {
    const { host, mounting } = this;
    const inside = (node.subgraph.nodes ?? []).filter((one) => host.comfyClass(one) === NODE);
    const [inner] = inside.length === 1 ? inside : [];
    const history = new History();
    let widget = null;
    const view = new CanvasView({
      label: () => input.label ?? input.name,
      say: host.say,
      translated: (sentence) => host.translated(sentence),
      isWired: () => node.isInputConnected(node.inputs.indexOf(input)),
      size: (view) => (inner ? this.sizeOf(inner, view) : [SIDE_PX, SIDE_PX]),
      isInverted: () => Boolean(inner) && host.widget(inner, "invert")?.value === true,
      underlay: () => (inner ? this.pictureOf(inner) : ""),
      changed: () => { source.value = view.text; },
      settled: () => host.captureUndo(),
      resized: () => {
        if (widget) host.refit(node);
        mounting.soon();
      },
      forward: (element) => host.forward(element),
      store: this.store,
      history: () => history,
    }, this.settings);
    view.setText(source.value);
    view.picture.addEventListener("load", () => view.refresh());
    widget = host.addPromoted(node, input, WIDGET, {
      element: view.element,
      open: true,
      get height() { return view.height; },
      get text() { return String(source.value ?? ""); },
      setText: (value) => {
        source.value = value;
        view.setText(value);
      },
    });
    chain(widget, "onRemove", () => view.destroy());
    return { widget, field: view };
  }

  // A run waits until the server has what the text names.
  async whenStored(view) {
    const late = new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    await Promise.race([this.store.settled(), late]);
    return view.text;
  }

  follow(node, view) {
    const { host } = this;
    view.picture.addEventListener("load", () => view.refresh());
    const watched = new WeakSet();
    const watch = () => {
      for (const input of ["width", "height", "invert"]) {
        const widget = host.widget(node, input);
        if (!widget || watched.has(widget)) continue;
        watched.add(widget);
        chain(widget, "callback", () => view.refresh());
      }
      view.refresh();
    };
    queueMicrotask(watch); // the other widgets come after this one
    chain(node, "onAdded", () => this.views.set(node, view));
    chain(node, "onRemoved", () => {
      this.views.delete(node);
      view.destroy();
    });
    chain(node, "onConfigure", watch);
    chain(node, "onConnectionsChange", () => queueMicrotask(() => view.refresh()));
  }

  // A node that nobody has saved yet is large enough to draw in.
  created(node) {
    if (this.host.comfyClass(node) === NODE && !this.host.isLoading) {
      this.host.widen(node, ...NODE_PX);
    }
  }

  refresh() {
    for (const view of this.views.values()) view.refresh();
  }

  historyOf(node) {
    if (!node.graph) return new History();
    const name = this.host.nameOf(node);
    if (!this.histories.has(name)) this.histories.set(name, new History());
    return this.histories.get(name);
  }

  // Width and height of the hint, as far as the page can tell.
  sizeOf(node, { picture, address, chosen }) {
    const sides = [picture.naturalWidth, picture.naturalHeight];
    const isShown = address && !chosen;
    return ["width", "height"].map((name, i) => {
      const isWired = this.host.isWired(node, name);
      const side = isWired ? 0 : this.host.widget(node, name)?.value;
      const other = (isShown && sides[i]) || SIDE_PX;
      return Math.min(8192, Math.max(64, Math.round(side || other)));
    });
  }

  // The address of the picture that is connected: the file of Load Image, else the last preview of
  // the node that gives it; "" where there is none.
  pictureOf(node) {
    const source = node.graph && this.host.source(node, "image");
    if (!source) return "";
    const file = this.host.comfyClass(source) === "LoadImage"
      && this.host.widget(source, "image")?.value;
    const shown = this.host.app.nodeOutputs?.[source.id]?.images?.[0];
    const picture = file ? folderAndName(String(file)) : shown;
    if (!picture) return "";
    const key = JSON.stringify([picture.filename, picture.subfolder, picture.type]);
    if (!this.pictures.has(key)) this.pictures.set(key, this.host.view(picture));
    return this.pictures.get(key);
  }

  // -- the server ---------------------------------------------------------------------------------

  async send(text) {
    const options = { method: "POST", headers: JSON_TYPE, body: text };
    return this.answered("drawings", options, async () => ({ problem: "" }));
  }

  async fetch(name) {
    const read = async (response) => ({ text: await response.text(), problem: "" });
    return this.answered(`drawings/${encodeURIComponent(name)}`, {}, read);
  }

  async answered(route, options, read) {
    try {
      const response = await this.host.fetch(route, options);
      if (response.ok) return await read(response);
      const { error } = await response.json().catch(() => ({}));
      return { problem: error ?? `HTTP ${response.status}` };
    } catch (error) {
      return { problem: String(error.message ?? error) };
    }
  }
}

// "folder/name.png [output]" as ComfyUI's /view takes it.
function folderAndName(file) {
  const [, path, type = "input"] = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(file);
  const cut = path.lastIndexOf("/");
  const subfolder = cut < 0 ? "" : path.slice(0, cut);
  return { filename: path.slice(cut + 1), subfolder, type };
}
