// What we use of ComfyUI's frontend: graph, widgets, undo, settings, requests. The other files get
// a Host; only mounting.js and stack_type.js know the frontend too.

import { reportParts } from "./lib/report_text.js";
import { inLanguage, withLabels } from "./lib/sentences.js";
import { wordsOf } from "./lib/words.js";

const MARGIN_PX = 5;
const MUTED_MODES = [2, 4]; // of a node: muted, bypassed
const PAGE = Math.random().toString(36).slice(2); // where ComfyUI gives the page no id
// Of our routes: statuses of questions that were passed over, and when they are asked again.
const PASSED_OVER = [409, 429], AGAIN_MS = 150, MOST_TRIES = 100;
const MIDDLE_BUTTON = 1, MIDDLE_PRESSED = 4; // of a pointer event's `button` and `buttons`

export class Host {
  constructor(app, api) {
    this.app = app;
    this.api = api;
    this.labels = {}; // names of inputs → how nodes show them in the frontend's language
    this.isLoading = false; // whether a graph is being built: values are set, nobody changes them
  }

  get graph() {
    return this.app.rootGraph ?? this.app.graph;
  }

  get manager() {
    return this.app.extensionManager;
  }

  setting(id) {
    return this.manager?.setting?.get(id);
  }

  // Our texts in the frontend's language: (key, values) → text.
  get say() {
    const say = wordsOf(this.setting("Comfy.Locale"));
    return (key, values = {}) => {
      const { base } = values; // a model, which has words of its own only where it is unusual
      const spoken = base ? { ...values, base: this.translated(base) } : values;
      return withLabels(say(key, spoken), this.labels);
    };
  }

  // A sentence of the server or of the grammar in the frontend's language, with the inputs named
  // as the nodes show them.
  translated(sentence) {
    const spoken = inLanguage(sentence, this.setting("Comfy.Locale"));
    return spoken === sentence ? spoken : withLabels(spoken, this.labels);
  }

  // The text of a Control Report in the frontend's language; null where that is its own.
  reportParts(text) {
    return reportParts(text, this.setting("Comfy.Locale"));
  }

  // The texts of all packs: {LANGUAGE: {nodeDefs, settings, …}}.
  async translations() {
    return (await this.api.fetchApi("/i18n")).json();
  }

  // ComfyUI's last runs, by their ids: {prompt: [number, id, nodes, …], outputs, …}.
  async history(most) {
    return (await this.api.fetchApi(`/history?max_items=${most}`)).json();
  }

  // Every node, those of subgraphs too.
  nodes() {
    const graphs = [this.graph, ...(this.graph?.subgraphs?.values() ?? [])];
    return graphs.flatMap(nodesOf);
  }

  // The node of an execution id: "7", or "2:7" for node 7 of the subgraph in node 2; null where
  // there is no such node.
  nodeOf(id) {
    let graph = this.graph, node = null;
    for (const part of String(id ?? "").split(":")) {
      node = nodesOf(graph).find((one) => String(one.id) === part) ?? null;
      graph = node?.subgraph;
    }
    return node;
  }

  // A node's name that undo and tabs leave as it is: by it is remembered what was said of the node.
  nameOf(node) {
    const { graph } = node;
    return `${graph?.rootGraph?.id ?? ""} ${graph?.id ?? ""} ${node.id}`;
  }

  // What a node would run with, as a text: its values, and the nodes that feed it.
  settingsOf(node) {
    const values = (node.widgets ?? []).filter(({ name, serialize }) =>
      serialize !== false && !name.startsWith("$$")).map(({ name, value }) => [name, value]);
    const feeders = (node.inputs ?? []).map((_, slot) =>
      (node.graph && node.getInputNode(slot)?.id) ?? null);
    return JSON.stringify([values, feeders]);
  }

  comfyClass(node) {
    return node.comfyClass ?? node.constructor?.comfyClass ?? node.type;
  }

  // Classic names a text of several lines by its input's English name, inside the empty field.
  namePlaceholders(node) {
    for (const { element, label, name } of node.widgets ?? []) {
      if (element?.placeholder === name && label) element.placeholder = label;
    }
  }

  category(node) {
    return node.constructor?.nodeData?.category ?? "";
  }

  widget(node, name) {
    return node.widgets?.find((widget) => widget.name === name);
  }

  // The node that feeds an input, through reroutes; null for an unconnected input and at a
  // subgraph's border.
  source(node, input) {
    const slot = node.inputs?.findIndex((one) => one.name === input) ?? -1;
    if (slot < 0 || !node.graph) return null;
    const feeder = node.getInputNode(slot);
    if (feeder && this.comfyClass(feeder) === "Reroute") {
      return this.source(feeder, feeder.inputs[0].name);
    }
    return feeder ?? null;
  }

  // Every node that a node feeds directly.
  targets(node) {
    if (!node.graph) return []; // being moved into a subgraph or out of the workflow
    return (node.outputs ?? []).flatMap((_, slot) => node.getOutputNodes(slot) ?? []);
  }

  // Adds a DOM widget whose value is one text. `view`: {element, height, open, text,
  // setText(value)}; an open view takes the height that the node has left.
  addTextWidget(node, name, type, view) {
    return this.addElement(node, name, type, view.element, {
      getValue: () => view.text,
      setValue: (value) => view.setText(value),
      getMinHeight: () => view.height + 2 * MARGIN_PX,
      getMaxHeight: () => (view.open ? undefined : view.height + 2 * MARGIN_PX),
    });
  }

  // Adds a DOM widget that stores nothing. It must be added after the node's values were restored,
  // so that it shifts none of them. `heightPx` is a function; the widget `grows` into the height
  // that the node has left, or stays as it is; `isUsers`: a user asked for it, so that its height
  // is part of a step of undo.
  addDisplay(node, name, element, heightPx, { grows = false, isUsers = false } = {}) {
    const widget = this.addElement(node, name, name, element, {
      getValue: () => "",
      setValue: () => {},
      getMinHeight: heightPx,
      getMaxHeight: () => (grows ? undefined : heightPx()),
      serialize: false,
    });
    widget.serialize = false;
    if (isUsers) this.refit(node);
    else this.adjust(node);
    return widget;
  }

  addElement(node, name, type, element, options) {
    element.dataset.controlstack = name; // by which Mounting finds its place
    const dim = () => {
      element.classList.toggle("controlstack-muted", MUTED_MODES.includes(node.mode));
    };
    const common = { margin: MARGIN_PX, hideInPanel: true, onDraw: dim };
    return node.addDOMWidget(name, type, element, { ...common, ...options });
  }

  // Puts a DOM widget in the place of a promoted input's own. The input holds it, as it does
  // ComfyUI's promoted texts; the node's list of widgets is made from its inputs.
  addPromoted(node, input, type, view) {
    node.addCustomWidget = (widget) => widget;
    try {
      input._widget = this.addTextWidget(node, input.name, type, view);
    } finally {
      delete node.addCustomWidget;
    }
    this.refit(node); // the classic renderer shows an element once it has drawn its node
    return input._widget;
  }

  isWired(node, name) {
    const slot = node.inputs?.findIndex((one) => one.name === name) ?? -1;
    return slot >= 0 && node.isInputConnected(slot);
  }

  removeWidget(node, widget) {
    if (node.removeWidget) node.removeWidget(widget);
    else {
      widget.onRemove?.();
      node.widgets.splice(node.widgets.indexOf(widget), 1);
    }
    this.refit(node);
  }

  // Makes the node taller by `byPx` (negative: shorter), and never smaller than its widgets need.
  refit(node, byPx = 0) {
    const [, needed] = node.computeSize();
    node.setSize([node.size[0], Math.max(needed, node.size[1] + byPx)]);
    this.redraw();
  }

  // The same where no user changed it: this makes no step of undo of its own. What is shown comes
  // again after undo, and would be a new step each time, which nobody gets behind.
  adjust(node, byPx = 0) {
    this.refit(node, byPx);
    const state = this.manager?.workflow?.activeWorkflow?.changeTracker?.activeState;
    const graphs = [state, ...(state?.definitions?.subgraphs ?? [])];
    const { graph } = node;
    const own = graph === this.graph ? state : graphs.find((one) => one?.id === graph?.id);
    const saved = own?.nodes?.find((one) => String(one.id) === String(node.id));
    if (saved && !this.isLoading) saved.size = [...node.size];
  }

  // In front of the nodes that it has grown over; Nodes 2.0 does it by style.css.
  bringToFront(node) {
    if (node.graph === this.app.canvas?.graph) this.app.canvas.bringToFront?.(node);
  }

  // Makes a node at least so large.
  widen(node, widthPx, heightPx) {
    node.setSize([Math.max(node.size[0], widthPx), Math.max(node.size[1], heightPx)]);
    this.redraw();
  }

  redraw() {
    this.app.canvas?.setDirty(true, true);
  }

  // Makes the changes since the last capture one step of undo.
  captureUndo() {
    const tracker = this.manager?.workflow?.activeWorkflow?.changeTracker;
    (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
  }

  // Lets the middle button pan and the wheel zoom over our element, as they do beside it.
  forward(element) {
    const pass = (name, method, applies) => element.addEventListener(name, (event) => {
      if (applies(event) && !this.isNodes2) this.app.canvas?.[method]?.(event);
    });
    pass("pointerdown", "processMouseDown", (event) => event.button === MIDDLE_BUTTON);
    pass("pointermove", "processMouseMove", (event) => (event.buttons & MIDDLE_PRESSED) !== 0);
    pass("pointerup", "processMouseUp", (event) => event.button === MIDDLE_BUTTON);
    pass("wheel", "processMouseWheel", () => true);
  }

  onPalette(listener) {
    this.app.ui?.settings?.addEventListener?.("Comfy.ColorPalette.change", listener);
  }

  onGraphChange(listener) {
    this.api.addEventListener("graphChanged", listener);
  }

  // What is shown may be built anew: another graph, another renderer, other nodes.
  onShown(listener) {
    this.onGraphChange(listener);
    this.app.canvas?.canvas?.addEventListener("litegraph:set-graph", listener);
    this.app.ui?.settings?.addEventListener?.("Comfy.VueNodes.Enabled.change", listener);
  }

  get isNodes2() {
    return Boolean(globalThis.LiteGraph?.vueNodesMode);
  }

  // The nodes of the graph that is on the screen.
  get shownNodes() {
    return nodesOf(this.app.canvas?.graph);
  }

  // Posts to one of our routes and returns the Response, whatever its status; `signal` aborts it.
  // Of the questions of one asker that wait, the server answers the newest; an asker is `who` in
  // this page. A question that was passed over all the same is asked again until it is aborted.
  async ask(path, body, { who = "", signal } = {}) {
    const headers = { "Content-Type": "application/json" };
    const asker = `${this.api.clientId ?? PAGE} ${who}`.slice(0, 200);
    const options = { method: "POST", headers, body: JSON.stringify({ ...body, asker }), signal };
    for (let tries = 0; ; tries += 1) {
      const response = await this.api.fetchApi(`/controlstack/${path}`, options);
      if (!PASSED_OVER.includes(response.status) || tries === MOST_TRIES) return response;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      signal?.throwIfAborted();
    }
  }

  // One of our routes; returns the Response, whatever its status.
  fetch(path, options = {}) {
    return this.api.fetchApi(`/controlstack/${path}`, options);
  }

  // The address of "folder/name.png [output]", the same one while the file's name is.
  pictureOf(file) {
    const [, path, type = "input"] = /^(.*?)(?: \[(input|output|temp)\])?$/s.exec(file);
    const cut = path.lastIndexOf("/"), filename = path.slice(cut + 1);
    const subfolder = cut < 0 ? "" : path.slice(0, cut);
    return this.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
  }

  // Keeps ComfyUI from showing a node's last picture below its widgets: Nodes 2.0 asks the node,
  // the classic renderer looks for pictures in the node's own background.
  hidePreview(node) {
    node.hideOutputImages = true;
    node.onDrawBackground = () => {};
  }

  // The address of a picture in ComfyUI's folders, a new one each time: the file may have changed.
  view({ filename, subfolder = "", type = "input" }) {
    const rand = Math.random();
    return this.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type, rand })}`);
  }
}

function nodesOf(graph) {
  return graph?.nodes ?? graph?._nodes ?? [];
}

// Makes target[name] call what was there and then `ours`.
export function chain(target, name, ours) {
  const before = target[name];
  target[name] = function (...args) {
    const result = before?.apply(this, args);
    ours.apply(this, args);
    return result;
  };
}
