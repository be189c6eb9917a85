// The one place that knows the host's page: graph, widgets, undo, settings, requests. Everything else is given this.

import { wordsOf } from "./lib/words.js";

export class Host {
  constructor(app, api) {
    this.app = app;
    this.api = api;
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

  // What we say, in the page's language: (key, values) → text.
  get say() {
    return wordsOf(this.setting("Comfy.Locale"));
  }

  // The texts of all packs: {LANGUAGE: {nodeDefs, settings, …}}.
  async translations() {
    return (await this.api.fetchApi("/i18n")).json();
  }

  // Every node of every subgraph.
  nodes() {
    const graphs = [this.graph, ...(this.graph?.subgraphs?.values() ?? [])];
    return graphs.flatMap((graph) => graph?.nodes ?? graph?._nodes ?? []);
  }

  // The node of an execution id: "7", or "2:7" for node 7 of the subgraph that node 2 is; null where there is none.
  nodeOf(id) {
    let graph = this.graph, node = null;
    for (const part of String(id ?? "").split(":")) {
      node = (graph?.nodes ?? graph?._nodes ?? []).find((one) => String(one.id) === part) ?? null;
      graph = node?.subgraph;
    }
    return node;
  }

  comfyClass(node) {
    return node.comfyClass ?? node.constructor?.comfyClass ?? node.type;
  }

  category(node) {
    return node.constructor?.nodeData?.category ?? "";
  }

  widget(node, name) {
    return node.widgets?.find((widget) => widget.name === name);
  }

  // The node that feeds an input, through reroutes; null where nothing does or a subgraph's border comes first.
  source(node, input) {
    const slot = node.inputs?.findIndex((one) => one.name === input) ?? -1;
    const found = slot < 0 || !node.graph ? null : node.getInputNode(slot);
    if (found && this.comfyClass(found) === "Reroute") return this.source(found, found.inputs[0].name);
    return found ?? null;
  }

  // Every node that a node feeds, directly.
  targets(node) {
    if (!node.graph) return []; // on its way into a subgraph or out of the workflow
    return (node.outputs ?? []).flatMap((_, slot) => node.getOutputNodes(slot) ?? []);
  }

  // A widget that is an element. `view`: {element, height, text, setText(value)}; its value is one text.
  addTextWidget(node, name, type, view) {
    return node.addDOMWidget(name, type, view.element, {
      getValue: () => view.text,
      setValue: (value) => view.setText(value),
      getMinHeight: () => view.height + 2 * MARGIN_PX,
      getMaxHeight: () => view.height + 2 * MARGIN_PX,
      margin: MARGIN_PX,
      hideInPanel: true,
    });
  }

  // A widget that shows and stores nothing. It comes after the node's values were restored, so it shifts none of them.
  addPicture(node, name, element, heightPx) {
    const widget = node.addDOMWidget(name, name, element, {
      getValue: () => "", setValue: () => {}, getMinHeight: () => heightPx, margin: MARGIN_PX, serialize: false, hideInPanel: true,
    });
    widget.serialize = false;
    this.refit(node);
    return widget;
  }

  removeWidget(node, widget) {
    if (node.removeWidget) node.removeWidget(widget);
    else {
      widget.onRemove?.();
      node.widgets.splice(node.widgets.indexOf(widget), 1);
    }
    this.refit(node);
  }

  // The node gets `byPx` taller (or shorter), and never less than its widgets need.
  refit(node, byPx = 0) {
    const [, needed] = node.computeSize();
    node.setSize([node.size[0], Math.max(needed, node.size[1] + byPx)]);
    this.redraw();
  }

  redraw() {
    this.app.canvas?.setDirty(true, true);
  }

  // What was done becomes one step of the page's undo.
  captureUndo() {
    const tracker = this.manager?.workflow?.activeWorkflow?.changeTracker;
    (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
  }

  // The middle button pans and the wheel zooms over our elements as they do beside them.
  forward(element) {
    const canvas = () => this.app.canvas;
    const isClassic = () => !globalThis.LiteGraph?.vueNodesMode;
    const pass = (name, method, isMiddle) => element.addEventListener(name, (event) => {
      if (isMiddle(event) && isClassic()) canvas()?.[method]?.(event);
    });
    pass("pointerdown", "processMouseDown", (event) => event.button === 1);
    pass("pointermove", "processMouseMove", (event) => (event.buttons & 4) === 4);
    pass("pointerup", "processMouseUp", (event) => event.button === 1);
    pass("wheel", "processMouseWheel", () => true);
  }

  onGraphChange(listener) {
    this.api.addEventListener("graphChanged", listener);
  }

  // The answer of one of our routes, or null where it refused; `signal` ends the wait.
  async ask(path, body, signal) {
    const headers = { "Content-Type": "application/json" };
    return this.api.fetchApi(`/controlstack/${path}`, { method: "POST", headers, body: JSON.stringify(body), signal });
  }

  // A picture of the host's folders as an address.
  view({ filename, subfolder = "", type = "input" }) {
    return this.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type, rand: Math.random() })}`);
  }
}

const MARGIN_PX = 5;

// Calls both: what was there, then ours.
export function chain(target, name, ours) {
  const before = target[name];
  target[name] = function (...args) {
    const result = before?.apply(this, args);
    ours.apply(this, args);
    return result;
  };
}
