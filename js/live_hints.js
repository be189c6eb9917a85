// Hints that follow a preprocessor's settings, and the picture that compares hint and source.
// Methods without a network are answered by our own route at once; the others run through ComfyUI's
// queue, alone, when it is empty. A switch under each hint chooses off, live, or live and compared;
// the node remembers it. Nodes that were never switched follow the setting.

import { chain } from "./host.js";
import { hintRequest, promptFor } from "./lib/hint_request.js";
import { WORDS, wordsOf } from "./lib/words.js";
import { CompareView, HEIGHT_PX } from "./widgets/compare.js";
import { HintSwitch, SWITCH_PX } from "./widgets/hint_switch.js";

export const LIVE = "ControlStack.LiveHint";
// The page translates the category before it registers a node.
const CATEGORIES = Object.keys(WORDS).map(
  (locale) => `ControlStack/${wordsOf(locale)("preprocess")}`,
);
const WIDGET = "controlstack_compare", SWITCH = "controlstack_switch", OURS = "controlstack_";
const MODE = "controlstack_hint"; // the node's property that stores how it was switched
const MODES = ["off", "live", "compare"];
const ROUTE_DELAY_MS = 60, QUEUE_DELAY_MS = 400;
// Statuses of our route: too many pixels, or a method with a network.
const NEEDS_QUEUE = [413, 422];

export class LiveHints {
  constructor(host, resized) {
    this.host = host;
    this.resized = resized;
    this.watched = new WeakSet(); // nodes, and widgets with our callback
    this.pending = new WeakMap(); // node → {timer, abort}
    this.waiting = new Set(); // nodes whose hints wait until ComfyUI's queue is empty
    this.made = new Map(); // node → the settings that ComfyUI's queue made its last hint with
    this.queued = 0; // jobs in ComfyUI's queue
    this.running = null; // id of the node whose hint the queue makes for us
    const on = (name, listener) => host.api.addEventListener(name, listener);
    on("status", ({ detail }) => {
      this.queued = detail?.exec_info?.queue_remaining ?? 0;
      if (!this.queued) setTimeout(() => this.next());
    });
    on("executed", ({ detail }) => this.executed(detail));
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) {
      on(end, () => { this.running = null; });
    }
  }

  isOurs(node) {
    return CATEGORIES.includes(this.host.category(node));
  }

  // How a node is switched: "off", "live" or "compare".
  mode(node) {
    const own = node.properties?.[MODE];
    if (MODES.includes(own)) return own;
    return this.host.setting(LIVE) === true ? "live" : "off";
  }

  setMode(node, mode) {
    node.setProperty(MODE, mode);
    this.host.widget(node, SWITCH)?.controlstack.show(mode);
    const shown = this.host.widget(node, WIDGET);
    if (mode === "off") {
      if (shown) this.hide(node, shown, { isUsers: true });
    } else {
      this.compareView(node, { isUsers: true }).setDivided(mode === "compare");
      this.restore(node);
      this.changed(node);
    }
    this.host.captureUndo();
  }

  // Takes the picture away, with its height.
  hide(node, shown, { isUsers = false } = {}) {
    this.host.removeWidget(node, shown);
    if (isUsers) this.host.refit(node, -HEIGHT_PX);
    else this.host.adjust(node, -HEIGHT_PX);
    this.resized();
  }

  // Adds the switch, once the node's values are restored: it stores nothing itself.
  addSwitch(node) {
    const hasSource = node.inputs?.some(({ name }) => name === "image");
    if (!node.graph || !hasSource || this.host.widget(node, SWITCH)) return;
    const view = new HintSwitch({
      say: this.host.say,
      forward: (element) => this.host.forward(element),
      choose: (mode) => this.setMode(node, mode),
    });
    const widget = this.host.addDisplay(node, SWITCH, view.element, () => SWITCH_PX + 10);
    widget.controlstack = view;
    view.show(this.mode(node));
    this.loaded(node);
    this.resized();
  }

  // The setting has changed: nodes that were never switched follow it.
  settingChanged() {
    for (const node of this.host.nodes()) {
      if (!this.isOurs(node) || MODES.includes(node.properties?.[MODE])) continue;
      this.host.widget(node, SWITCH)?.controlstack.show(this.mode(node));
      const shown = this.host.widget(node, WIDGET);
      if (shown && this.mode(node) === "off") this.hide(node, shown);
    }
  }

  // Watches every setting of a node, also those that the choice of a method adds.
  watch(node) {
    for (const widget of node.widgets ?? []) {
      if (this.watched.has(widget) || widget.name.startsWith(OURS)) continue;
      this.watched.add(widget);
      chain(widget, "callback", () => { this.watch(node); this.changed(node); });
    }
    const add = () => setTimeout(() => this.addSwitch(node));
    if (!this.watched.has(node)) chain(node, "onAdded", add);
    this.watched.add(node);
    add();
  }

  // Replaces what is pending for a node by a new request.
  changed(node) {
    if (this.host.isLoading || !node.graph || this.mode(node) === "off") return;
    const before = this.pending.get(node);
    clearTimeout(before?.timer);
    before?.abort.abort();
    const request = this.request(node), abort = new AbortController();
    const timer = setTimeout(() => this.update(node, request, abort.signal),
      request ? ROUTE_DELAY_MS : QUEUE_DELAY_MS);
    this.pending.set(node, { timer, abort });
  }

  async update(node, request, signal) {
    try {
      if (request) await this.throughRoute(node, request, signal);
      else await this.throughQueue(node);
    } catch (error) {
      if (error.name !== "AbortError") console.error("ControlStack: live hint", error);
    }
  }

  // The file of the Load Image node that feeds a node, else null.
  file(node) {
    const source = this.host.source(node, "image");
    const isLoader = source && this.host.comfyClass(source) === "LoadImage";
    return isLoader ? this.host.widget(source, "image")?.value : null;
  }

  // What to ask our route for a node's hint, or null where only the queue can answer.
  request(node) {
    const isWired = (slot, index) => slot.widget && node.isInputConnected(index);
    if ((node.inputs ?? []).some(isWired)) return null; // only the queue has the wire's value
    const settings = (node.widgets ?? [])
      .filter(({ name }) => !name.startsWith(OURS) && !name.startsWith("$$"))
      .map(({ name, value }) => [name, value]);
    const values = Object.fromEntries(settings);
    return hintRequest(this.host.comfyClass(node), values, this.file(node));
  }

  // A node was made, also by undo and from a copy: shows the hint of its settings as they are now.
  loaded(node) {
    if (!["live", "compare"].includes(node.properties?.[MODE])) return;
    this.compareView(node); // the node was saved with its height
    this.restore(node);
    setTimeout(() => this.peek(node), ROUTE_DELAY_MS);
  }

  // Opening a workflow queues nothing: only methods without a network answer. Of the others the
  // last hint is shown, and said to be outdated where it is.
  async peek(node) {
    if (!node.graph || this.mode(node) === "off") return;
    const request = this.request(node), who = `${node.graph.id} ${node.id}`;
    const response = request && await this.host.ask("hint", request, { who }).catch(() => null);
    if (!response?.ok) return this.outdated(node);
    this.show(node, { hint: URL.createObjectURL(await response.blob()), message: "" });
  }

  // Says that the picture in a node is one of other settings.
  outdated(node) {
    const isShown = this.host.widget(node, WIDGET)?.controlstack.hasHint;
    if (!isShown || this.made.get(this.host.nameOf(node)) === this.host.settingsOf(node)) return;
    this.show(node, { message: this.host.say("outdated") });
  }

  async throughRoute(node, request, signal) {
    const who = `${node.graph?.id} ${node.id}`;
    const response = await this.host.ask("hint", request, { who, signal });
    if (signal.aborted) return;
    if (response.ok) {
      this.show(node, { hint: URL.createObjectURL(await response.blob()), message: "" });
    } else if (NEEDS_QUEUE.includes(response.status)) {
      await this.throughQueue(node);
    } else {
      const { error } = await response.json().catch(() => ({}));
      this.show(node, { message: error ?? "" });
    }
  }

  // Only while the queue is empty, and only for nodes outside subgraphs, whose ids are others.
  async throughQueue(node) {
    if (!this.host.isWired(node, "image")) {
      return this.show(node, { message: this.host.say("noSource") });
    }
    const isInside = node.graph !== this.host.graph;
    if (isInside || this.queued > 0 || this.running !== null) {
      if (!isInside) this.waiting.add(node);
      return this.outdated(node);
    }
    this.waiting.delete(node);
    this.running = String(node.id);
    try {
      const { output, workflow } = await this.host.app.graphToPrompt();
      const prompt = promptFor(output, this.running);
      const options = { partialExecutionTargets: [prompt.target] };
      await this.host.api.queuePrompt(0, { output: prompt.output, workflow }, options);
    } catch { // ComfyUI shows its own error
      this.running = null;
      this.show(node, { message: this.host.say("hintFailed") });
    }
  }

  // The queue is empty: the next hint that waits for it.
  next() {
    for (const node of this.waiting) {
      this.waiting.delete(node);
      if (node.graph && this.mode(node) !== "off") return this.changed(node);
    }
  }

  executed({ node: id, output }) {
    const node = this.host.nodes().find((one) => String(one.id) === String(id));
    const picture = output?.images?.[0];
    if (!node || !picture || !this.isOurs(node)) return;
    this.made.set(this.host.nameOf(node), this.host.settingsOf(node));
    if (this.running === String(id) || this.host.widget(node, WIDGET)) {
      this.show(node, { hint: this.host.view(picture), message: "" });
    }
  }

  // Shows a hint, a message, or both, beside the node's source.
  show(node, { hint, message }) {
    const file = this.file(node);
    const source = typeof file === "string" ? this.host.view(folderAndName(file)) : "";
    this.compareView(node).show({ source, hint, message });
  }

  // The node's CompareView, added where it has none.
  compareView(node, { isUsers = false } = {}) {
    const widget = this.host.widget(node, WIDGET);
    if (widget) return widget.controlstack;
    const forward = (element) => this.host.forward(element);
    const view = new CompareView({ say: this.host.say, forward });
    view.setDivided(this.mode(node) === "compare");
    const options = { grows: true, isUsers };
    this.host.addDisplay(node, WIDGET, view.element, () => HEIGHT_PX, options).controlstack = view;
    chain(node, "onRemoved", () => view.destroy());
    this.resized();
    return view;
  }

  // The node's menu: compare, or stop comparing.
  menu(node) {
    if (!this.isOurs(node)) return [];
    const isCompared = this.mode(node) === "compare";
    const content = this.host.say(isCompared ? "hide" : "compare");
    return [{ content, callback: () => this.setMode(node, isCompared ? "off" : "compare") }];
  }

  // The node's last picture, where it has one.
  restore(node) {
    const picture = this.host.app.nodeOutputs?.[node.id]?.images?.[0];
    if (picture) this.show(node, { hint: this.host.view(picture), message: "" });
    else this.show(node, { hint: "", message: this.host.say("runOnce") });
  }
}

// "folder/name.png [output]" as ComfyUI's /view takes it.
function folderAndName(file) {
  const [, path, type = "input"] = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(file);
  const cut = path.lastIndexOf("/");
  const subfolder = cut < 0 ? "" : path.slice(0, cut);
  return { filename: path.slice(cut + 1), subfolder, type };
}
