// What a node has to say, on the node: the error of its last run or of queueing in red, a warning,
// a remark, settings that contradict each other, and the report's table. Each goes when it is
// cured: when the node runs again, or its settings change. ComfyUI's own preview of a text shows
// two lines at most, and newer frontends remove it when the run ends.

import { chain } from "./host.js";
import { contradiction, isAbout, refusals, withoutRepeats } from "./lib/results.js";
import { RemarkView } from "./widgets/remark.js";

const SPEAKERS = {
  ControlStackAdd: "remark", ControlStackDataset: "remark", ControlStackSave: "remark",
  ControlStackSavePose: "remark", ControlStackReport: "table",
};
const ADD = "ControlStackAdd", OURS = "ControlStack", ERRORS = "controlstack.";
const WIDGET = "controlstack_remark", COMFYUIS_PREVIEW = "$$node-text-preview";
const CHECK_MS = 400; // how often ComfyUI's list of refused nodes is looked at: it has no event
const REPORT_PX = [560, 720]; // room for the report's table, and its plot below
const OF_SETTINGS = ["run", "error", "refusal"]; // sources that speak of settings as they were
const NUMBERS = ["strength", "start_percent", "end_percent"];
const TEXTS = ["schedule", "layers", "frame_strength"];

export class Remarks {
  // `pack` is the folder of this pack, as it stands in tracebacks.
  constructor(host, pack, resized) {
    this.host = host;
    this.pack = pack;
    this.resized = resized;
    // Node → {source: {level, text, settings: those that it was said of}}: undo makes new nodes.
    this.memory = new Map();
    this.watched = new WeakSet();
    this.restored = new WeakSet(); // nodes, once they were loaded
    this.refused = "";
    const on = (name, listener) => host.api.addEventListener(name, listener);
    on("executing", ({ detail }) => this.executing(detail));
    on("executed", ({ detail }) => this.executed(detail));
    on("execution_start", () => this.host.nodes().forEach((node) => this.say(node, "error")));
    on("execution_error", ({ detail }) => this.failed(detail));
    setInterval(() => this.lookForRefusals(), CHECK_MS);
  }

  // `detail` is {node: id}, or the id itself in older frontends; null at the end of a run.
  executing(detail) {
    const node = this.host.nodeOf(detail?.node ?? detail);
    if (!node) return;
    for (const source of ["run", "error"]) this.say(node, source);
  }

  executed({ node: id, output }) {
    const node = this.host.nodeOf(id), text = [output?.text ?? []].flat().join("\n");
    const kind = node && SPEAKERS[this.host.comfyClass(node)];
    if (!kind || !text) return;
    this.remove(node, COMFYUIS_PREVIEW);
    this.say(node, "run", kind === "table" ? kind : output.level?.[0] ?? kind, text);
    if (kind === "table") this.host.widen(node, ...REPORT_PX);
  }

  // An error of a node of ours, or of ours in another's: a net that does not fit fails in the
  // sampler.
  failed({ node_id: id, exception_message: message, exception_type: type, traceback }) {
    const node = this.host.nodeOf(id);
    if (!node || !message) return;
    const isOurs = this.isOurs(node) || type?.startsWith(ERRORS)
      || [traceback ?? []].flat().some((line) => line.includes(`custom_nodes/${this.pack}/`)
        || line.includes(`custom_nodes\\${this.pack}\\`));
    if (!isOurs) return;
    this.remove(node, COMFYUIS_PREVIEW); // such as the download that failed
    this.say(node, "error", "error", this.unsaid(node, [message.trim()]).join("\n"));
  }

  lookForRefusals() {
    const errors = Object.entries(this.host.app.lastNodeErrors ?? {})
      .filter(([, { class_type: kind }]) => kind?.startsWith(OURS));
    for (const [, { errors: list = [] }] of errors) {
      const own = withoutRepeats(list);
      if (own.length < list.length) list.splice(0, list.length, ...own); // else all turn red
    }
    const now = JSON.stringify(errors);
    if (now === this.refused) return;
    const before = this.refused ? JSON.parse(this.refused) : [];
    this.refused = now;
    for (const [id] of before) this.say(this.host.nodeOf(id), "refusal");
    for (const [id, { errors: list = [] }] of errors) {
      const node = this.host.nodeOf(id);
      const sentences = this.unsaid(node, refusals(list, this.host.say));
      this.say(node, "refusal", "error", sentences.join("\n"));
    }
  }

  // The sentences that no field of the node says already, under the text that is wrong.
  unsaid(node, sentences) {
    const problems = (node?.widgets ?? [])
      .filter(({ controlstack }) => controlstack?.problem)
      .map(({ name, controlstack }) => [name, controlstack.problem]);
    return sentences.filter((sentence) => !problems.some(([name, problem]) =>
      isAbout(name, sentence) || problem === this.host.translated(sentence)));
  }

  isOurs(node) {
    return String(this.host.comfyClass(node)).startsWith(OURS);
  }

  // Follows a node's settings and wires: what was said of the others is no longer so.
  watch(node) {
    if (!this.isOurs(node)) return;
    const change = () => {
      if (this.host.isLoading) return;
      for (const source of OF_SETTINGS) this.say(node, source);
      this.check(node);
    };
    for (const widget of node.widgets ?? []) {
      if (this.watched.has(widget)) continue;
      this.watched.add(widget);
      chain(widget, "callback", change);
    }
    if (this.watched.has(node)) return;
    this.watched.add(node);
    chain(node, "onConnectionsChange", () => {
      if (node.graph && !this.host.isLoading) queueMicrotask(change); // loading ends before it
    });
  }

  // Says which settings of an Add ControlNet contradict each other.
  check(node, options) {
    if (this.host.comfyClass(node) !== ADD || !node.graph) return;
    const key = this.contradiction(node);
    this.say(node, "settings", "warning", key && this.host.say(key), options);
  }

  // Says on a loader what to do where there are no nets.
  needsNet(node, isWithoutNets) {
    this.say(node, "settings", "warning", isWithoutNets ? this.host.say("noNets") : "");
  }

  contradiction(node) {
    const values = [...NUMBERS, ...TEXTS].filter((name) => !this.host.isWired(node, name))
      .map((name) => [name, this.host.widget(node, name)?.value]);
    return contradiction(Object.fromEntries(values));
  }

  // After nodes were made anew: what was said of the nodes that they replace still holds, unless
  // their settings are others.
  restore() {
    for (const node of this.host.nodes()) {
      const settings = this.host.settingsOf(node);
      const before = this.memory.get(this.host.nameOf(node)) ?? {};
      for (const source of OF_SETTINGS) {
        if (before[source] && before[source].settings !== settings) this.say(node, source);
      }
      const isSilent = !this.host.widget(node, WIDGET);
      const isSaid = this.memory.has(this.host.nameOf(node));
      const options = { isLoaded: !this.restored.has(node) };
      this.restored.add(node);
      if (isSilent && isSaid) this.show(node, options);
      this.check(node, options);
    }
  }

  // Says a text at a level ("error", "warning", "remark", "table") for one source; without a text
  // the source has nothing more to say.
  say(node, source, level = "", text = "", options = {}) {
    if (!node) return;
    const parts = level === "table" ? this.host.reportParts(text) : null;
    text = level === "table" ? text : this.host.translated(text);
    const key = this.host.nameOf(node), before = this.memory.get(key) ?? {};
    if ((before[source]?.text ?? "") === text) return;
    const settings = this.host.settingsOf(node);
    const after = { ...before, [source]: { level, text, parts, settings } };
    if (!text) delete after[source];
    if (Object.keys(after).length) this.memory.set(key, after);
    else this.memory.delete(key);
    this.show(node, options);
  }

  show(node, options = {}) {
    const lines = Object.values(this.memory.get(this.host.nameOf(node)) ?? {});
    const widget = this.host.widget(node, WIDGET);
    if (!lines.length) {
      if (widget) this.remove(node, WIDGET);
      return;
    }
    const view = widget?.controlstack ?? this.add(node);
    view.show(lines, node.size[0], options);
    if (lines.some(({ level }) => level === "error")) this.host.bringToFront(node);
  }

  add(node) {
    const view = new RemarkView({
      forward: (element) => this.host.forward(element),
      resized: (byPx) => this.host.adjust(node, byPx),
    });
    const options = { grows: this.host.comfyClass(node) === "ControlStackReport" };
    const widget = this.host.addDisplay(node, WIDGET, view.element, () => view.height, options);
    widget.controlstack = view;
    this.resized();
    return view;
  }

  remove(node, name) {
    const widget = this.host.widget(node, name);
    if (!widget) return;
    const height = widget.controlstack?.height ?? 0;
    this.host.removeWidget(node, widget);
    if (height) this.host.adjust(node, -height);
    this.resized();
  }
}
