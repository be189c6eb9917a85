// Control Stack Panel in the page: what its editor reads from the graph, the node declarations and
// the server; the hints that runs and live settings give its rows.

import { openFields, storeOpen } from "./fields.js";
import { chain } from "./host.js";
import { LIVE } from "./live_hints.js";
import { choicesOf, methodsOf } from "./lib/catalogue.js";
import { AUTO, NONE, parse, read } from "./lib/panel_rows.js";
import { isNodeOf, ofHint, pastHints } from "./lib/past_hints.js";
import { PresetFiles } from "./preset_files.js";

const PANEL = "ControlStackPanel", ADD = "ControlStackAdd", PREPROCESS = "ControlStackPreprocess";
const PICTURES = /^images\.image(\d+)$/, MASKS = /^masks\.mask(\d+)$/;
const WIDTH_PX = 690;
const LIVE_MS = 120; // after the last change of a row
const LOADED_MS = 600; // after a node was made: its workflow is whole then
const MOST_RUNS = 32; // that are looked through
// Keys of a row → the inputs that name them.
const INPUTS = { start: "start_percent", end: "end_percent", net: "control_net" };

export class Panels {
  constructor(host, nets, tooltips) {
    this.host = host;
    this.nets = nets;
    this.tooltips = tooltips;
    this.presets = new PresetFiles(host);
    // Node → row → {src, of: the settings that made it}: undo makes new nodes.
    this.hints = new Map();
    this.remarks = new Map(); // node → row → {text, of: the row that it was said of}
    this.timers = new WeakMap(); // node → the timer of its live hints
    this.sought = new Map(); // node → the rows that were looked for in ComfyUI's history last
    host.api.addEventListener("executed", ({ detail }) => this.executed(detail));
    host.api.addEventListener("execution_cached", ({ detail }) => this.cached(detail));
    host.api.addEventListener("execution_start", () => this.remarks.clear());
  }

  isOurs(node) {
    return this.host.comfyClass(node) === PANEL;
  }

  // A new panel: wide enough for its rows, and without a preview of one hint below them.
  watch(node) {
    if (!this.isOurs(node)) return;
    this.host.hidePreview(node);
    chain(node, "onConnectionsChange", () => this.nets.soon()); // older Nodes 2.0 tell no more
    if (this.host.isLoading) setTimeout(() => this.recall(node), LOADED_MS);
    else this.host.widen(node, WIDTH_PX, 0);
  }

  // What the editor of a node needs beside a field's services.
  services(node) {
    const { host, nets } = this;
    return {
      isOpen: (key) => openFields(node).includes(key),
      setOpen: (key, open) => storeOpen(node, key, open),
      inputLabel: (key) => this.inputLabel(key),
      nets: (saved) => nets.offered(node, saved),
      known: () => this.known(node),
      catalogue: () => this.methods,
      settingWords: (setting) => this.settingWords(setting),
      thumb: (row) => this.thumb(node, row),
      remark: (row) => this.remark(node, row),
      newRow: (rows) => this.newRow(node, rows),
      presets: this.presets,
      blocks: (file) => nets.blocks(file),
      depth: (file) => nets.depth(file),
      union: (file) => nets.union(typeof file === "string" ? file : null),
      drawn: () => this.followLive(node),
      adjusted: () => host.adjust(node),
    };
  }

  // The same for the rows that a subgraph shows on its node: of the panel inside, where it has one
  // alone.
  promoted(node) {
    const inside = (node.subgraph.nodes ?? []).filter((one) => this.isOurs(one));
    return {
      ...this.services(inside.length === 1 ? inside[0] : node),
      isOpen: (key) => openFields(node).includes(key),
      setOpen: (key, open) => storeOpen(node, key, open),
      adjusted: () => this.host.adjust(node),
    };
  }

  get methods() {
    this.catalogue ??= methodsOf(this.tooltips.nodes.get(PREPROCESS));
    return this.catalogue;
  }

  inputLabel(key) {
    return this.tooltips.label(INPUTS[key] ?? key, [ADD, PREPROCESS]) ?? key;
  }

  settingWords({ name, tooltip }) {
    const label = this.tooltips.label(`method_${name}`, [PREPROCESS]) ?? name;
    return { label, tip: this.tooltips.translated(name, tooltip) ?? tooltip };
  }

  known(node) {
    const declared = this.tooltips.nodes.get(ADD);
    return {
      table: this.nets.ofPanels.get(node) ?? null,
      pictures: sockets(node, PICTURES),
      masks: sockets(node, MASKS),
      methods: Object.keys(this.methods),
      modes: choicesOf(declared, "mode"),
      fits: choicesOf(declared, "fit"),
    };
  }

  // A row to begin with: a net that fits and that no row has yet, with the hint that it reads.
  newRow(node, rows) {
    const table = this.nets.ofPanels.get(node);
    const used = new Set(rows.map((row) => row.net));
    const names = this.nets.offered(node, null).map(([name]) => name);
    const fits = names.filter((name) => table.nets[name]?.fits !== false);
    const net = fits.find((name) => !used.has(name)) ?? fits[0] ?? names[0] ?? "";
    return { on: true, net, image: 0, method: AUTO, strength: 1 };
  }

  // -- pictures of rows ---------------------------------------------------------------------------

  // {src, isHint, isOld} of a row: the hint that was made last, else the picture it is made of.
  thumb(node, row) {
    const hint = this.hints.get(this.host.nameOf(node))?.get(row.id);
    const isHint = row.method === NONE; // its picture is one already
    if (hint && !isHint) return { src: hint.src, isHint: true, isOld: hint.of !== ofHint(row) };
    const file = this.file(node, row);
    return { src: file ? this.host.pictureOf(file) : "", isHint, isOld: false };
  }

  // The file of the Load Image node behind a row's socket, or null.
  file(node, { image }) {
    const source = this.host.source(node, `images.image${image}`);
    const isLoader = source && this.host.comfyClass(source) === "LoadImage";
    const file = isLoader ? this.host.widget(source, "image")?.value : null;
    return typeof file === "string" ? file : null;
  }

  setHint(node, id, hint) {
    const name = this.host.nameOf(node);
    if (!this.hints.has(name)) this.hints.set(name, new Map());
    const before = this.hints.get(name).get(id)?.src;
    if (before?.startsWith("blob:")) URL.revokeObjectURL(before);
    this.hints.get(name).set(id, hint);
    this.editor(node)?.drawThumbs();
  }

  editor(node) {
    return this.host.widget(node, "rows")?.controlstack;
  }

  rows(node) {
    try {
      return parse(String(this.host.widget(node, "rows")?.value ?? "")).rows.map(read);
    } catch {
      return [];
    }
  }

  // A node that the panel was expanded into has run, or was cached: its picture is a row's hint.
  // Adding a row to the stack may remark on it.
  executed({ node: id, display_node: shown, output }) {
    const node = String(shown) === String(id) ? null : this.host.nodeOf(shown);
    if (!node || !this.isOurs(node)) return;
    const rows = this.rows(node), [picture] = output?.images ?? [];
    const row = rows.find((one) => isNodeOf(String(id), one.id, "hint"));
    if (row && picture) {
      this.setHint(node, row.id, { src: this.host.view(picture), of: ofHint(row) });
    }
    const added = rows.find((one) => isNodeOf(String(id), one.id, "add"));
    const text = [output?.text ?? []].flat().join("\n");
    if (added && text) this.setRemark(node, added.id, { text, of: JSON.stringify(added) });
  }

  // ComfyUI runs nothing of a panel that is as it was: what its rows showed stands in its history.
  cached({ nodes: ids = [] }) {
    const cached = ids.map((id) => this.host.nodeOf(id)).filter(Boolean);
    for (const node of cached.filter((one) => this.isOurs(one))) this.recall(node, true);
  }

  // Gives rows without a hint the one that an earlier run made of the same settings and picture.
  async recall(node, again = false) {
    if (!node.graph) return;
    const name = this.host.nameOf(node);
    const rows = this.rows(node).filter((row) =>
      row.method !== NONE && !this.hints.get(name)?.has(row.id));
    const looked = rows.map(ofHint).join();
    if (!rows.length || (!again && this.sought.get(name) === looked)) return;
    this.sought.set(name, looked);
    try {
      const history = await this.host.history(MOST_RUNS);
      const { output } = await this.host.app.graphToPrompt();
      const id = Object.keys(output).find((one) => this.host.nodeOf(one) === node);
      const hints = pastHints(history, output, id);
      for (const row of rows.filter((one) => hints.has(one.id))) {
        this.setHint(node, row.id, { src: this.host.view(hints.get(row.id)), of: ofHint(row) });
      }
    } catch (error) {
      console.warn("ControlStack: earlier hints", error);
    }
  }

  setRemark(node, id, remark) {
    const name = this.host.nameOf(node);
    if (!this.remarks.has(name)) this.remarks.set(name, new Map());
    this.remarks.get(name).set(id, remark);
    this.editor(node)?.draw();
  }

  // What the last run remarked on a row as it still is, or "".
  remark(node, row) {
    const remark = this.remarks.get(this.host.nameOf(node))?.get(row.id);
    return remark?.of === JSON.stringify(row) ? this.host.translated(remark.text) : "";
  }

  // -- live hints ---------------------------------------------------------------------------------

  followLive(node) {
    clearTimeout(this.timers.get(node));
    if (this.host.setting(LIVE) !== true || !node.graph) return;
    this.timers.set(node, setTimeout(() => this.ask(node), LIVE_MS));
  }

  // Asks our route for every hint that is not the present one; methods with a network wait for a
  // run.
  async ask(node) {
    for (const row of this.rows(node)) {
      const { method, params, resolution } = row, image = this.file(node, row), of = ofHint(row);
      const before = this.hints.get(this.host.nameOf(node))?.get(row.id);
      const isAsked = row.on === true && image && ![NONE, AUTO].includes(method);
      if (!isAsked || before?.of === of) continue;
      const who = `${this.host.nameOf(node)} ${row.id}`;
      const request = { image, method, params, resolution };
      const response = await this.host.ask("hint", request, { who }).catch(() => null);
      if (!response?.ok) continue;
      this.setHint(node, row.id, { src: URL.createObjectURL(await response.blob()), of });
    }
  }
}

// The sockets of one kind, {number: whether it is connected}.
function sockets(node, pattern) {
  const pairs = (node.inputs ?? []).map(({ name }, slot) =>
    [pattern.exec(name)?.[1], Boolean(node.isInputConnected(slot))]);
  return Object.fromEntries(pairs.filter(([number]) => number !== undefined));
}
