// Hints while a setting is turned, and the picture that compares them with their source.
//
// Methods without a network are drawn by our own route at once; the others run through the host's queue, alone, when
// it has nothing else to do. Off until the setting says so.

import { chain } from "./host.js";
import { promptFor, question } from "./lib/live.js";
import { Compare, HEIGHT_PX } from "./widgets/compare.js";

export const LIVE = "ControlStack.LiveHint";
const CATEGORY = "ControlStack/Preprocess";
const WIDGET = "controlstack_compare";
const NOW_MS = 60, QUEUE_MS = 400;
const PASSED_OVER = 409, QUEUES_BUSINESS = [413, 422]; // by a newer question; too many pixels, or a network

export class Live {
  constructor(host) {
    this.host = host;
    this.watched = new WeakSet(); // widgets whose changes are heard
    this.compared = new Set(); // ids of the nodes that the user asked to compare
    this.waiting = new WeakMap(); // node → {timer, abort}
    this.queued = 0; // jobs of the host's queue, as it last said
    this.running = null; // the node whose hint the queue draws for us
    host.api.addEventListener("status", ({ detail }) => { this.queued = detail?.exec_info?.queue_remaining ?? 0; });
    host.api.addEventListener("executed", ({ detail }) => this.executed(detail));
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) {
      host.api.addEventListener(end, () => { this.running = null; });
    }
  }

  isOurs(node) {
    return this.host.category(node) === CATEGORY;
  }

  get isOn() {
    return this.host.setting(LIVE) === true;
  }

  // Hears every setting of a node, also those that a choice of method brings.
  watch(node) {
    for (const widget of node.widgets ?? []) {
      if (this.watched.has(widget) || widget.name === WIDGET) continue;
      this.watched.add(widget);
      chain(widget, "callback", () => { this.watch(node); this.changed(node); });
    }
  }

  changed(node) {
    if (!this.isOn || !node.graph) return;
    const before = this.waiting.get(node);
    clearTimeout(before?.timer);
    before?.abort.abort();
    const ask = this.question(node), abort = new AbortController();
    const work = () => (ask ? this.now(node, ask, abort.signal) : this.throughQueue(node));
    const timer = setTimeout(() => work().catch((error) => error.name === "AbortError" || console.error("ControlStack: live hint", error)),
      ask ? NOW_MS : QUEUE_MS);
    this.waiting.set(node, { timer, abort });
  }

  file(node) {
    const source = this.host.source(node, "image");
    return source && this.host.comfyClass(source) === "LoadImage" ? this.host.widget(source, "image")?.value : null;
  }

  question(node) {
    const isWired = (node.inputs ?? []).some((slot, index) => slot.widget && node.isInputConnected(index));
    if (isWired) return null; // a setting comes over a wire: only the queue knows it
    const values = Object.fromEntries((node.widgets ?? []).filter((one) => one.name !== WIDGET && !one.name.startsWith("$$"))
      .map((widget) => [widget.name, widget.value]));
    return question(this.host.comfyClass(node), values, this.file(node));
  }

  async now(node, ask, signal) {
    const answer = await this.host.ask("hint", ask, signal);
    if (signal.aborted) return;
    if (answer.ok) this.show(node, { hint: URL.createObjectURL(await answer.blob()), said: "" });
    else if (QUEUES_BUSINESS.includes(answer.status)) await this.throughQueue(node);
    else if (answer.status !== PASSED_OVER) this.show(node, { said: (await answer.json().catch(() => ({}))).error ?? "" });
  }

  // Only where nothing else is queued, and only in the workflow itself: a subgraph's nodes have other ids.
  async throughQueue(node) {
    if (this.queued > 0 || this.running !== null || node.graph !== this.host.graph) return;
    this.running = String(node.id);
    try {
      const { output, workflow } = await this.host.app.graphToPrompt();
      const made = promptFor(output, this.running);
      await this.host.api.queuePrompt(0, { output: made.output, workflow }, { partialExecutionTargets: [made.asked] });
    } catch (error) {
      this.running = null;
      this.show(node, { said: error.message });
    }
  }

  executed({ node: id, output }) {
    const node = this.host.nodes().find((one) => String(one.id) === String(id));
    const picture = output?.images?.[0];
    const isAwaited = this.running === String(id) || node?.widgets?.some((widget) => widget.name === WIDGET);
    if (picture && isAwaited && this.isOurs(node)) {
      this.show(node, { hint: this.host.view(picture), said: "" });
    }
  }

  show(node, { hint, said }) {
    const file = this.file(node);
    const source = typeof file === "string" ? this.host.view(named(file)) : "";
    this.picture(node).show({ source, hint, said });
  }

  picture(node) {
    const there = node.widgets?.find((widget) => widget.name === WIDGET);
    if (there) return there.controlstack;
    const compare = new Compare({ say: this.host.say, forward: (element) => this.host.forward(element) });
    this.host.addPicture(node, WIDGET, compare.element, HEIGHT_PX).controlstack = compare;
    chain(node, "onRemoved", () => compare.destroy());
    return compare;
  }

  // The node's menu: compare, or stop comparing.
  menu(node) {
    if (!this.isOurs(node)) return [];
    const there = node.widgets?.find((widget) => widget.name === WIDGET);
    const id = String(node.id);
    const content = this.host.say(there ? "hide" : "compare");
    return [{ content, callback: () => {
      if (there) {
        this.compared.delete(id);
        this.host.removeWidget(node, there);
      } else {
        this.compared.add(id);
        this.restore(node);
      }
    } }];
  }

  // After loading (also by undo) nodes are new: what was compared is compared again.
  restore(node) {
    if (!this.compared.has(String(node.id)) || !this.isOurs(node)) return;
    const images = this.host.app.nodeOutputs?.[node.id]?.images;
    this.show(node, { hint: images?.[0] ? this.host.view(images[0]) : "", said: images?.[0] ? "" : this.host.say("runOnce") });
  }
}

// "folder/name.png [output]" as the host's /view wants it.
function named(file) {
  const [, path, type = "input"] = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(file);
  const cut = path.lastIndexOf("/");
  return { filename: path.slice(cut + 1), subfolder: cut < 0 ? "" : path.slice(0, cut), type };
}
