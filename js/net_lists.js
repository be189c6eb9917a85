// The lists of nets in the loaders: those that fit the connected model, each with its family.

import { baseModel } from "./lib/graph.js";
import { isTable, isWithoutNets, label, offered, spokenFamily } from "./lib/net_choices.js";

const LOADER = "ControlStackLoad", ADD = "ControlStackAdd", PANEL = "ControlStackPanel";
const INPUT = "control_net_name";
export const FILTER = "ControlStack.FilterNets";
const QUIET_MS = 200;

export class NetLists {
  // `onTable` is called when the server has sent a table, `onLooked(node, isWithoutNets)` for each
  // loader.
  constructor(host, onTable, onLooked) {
    this.host = host;
    this.onTable = onTable;
    this.onLooked = onLooked;
    this.tables = new Map(); // the model as JSON → a promise of the server's table
    this.latest = null; // the newest table, for how many blocks a net has
    this.lists = new WeakMap(); // widget → {all, ours}
    this.ofPanels = new WeakMap(); // panel → the table of its model
    this.timer = 0;
  }

  // Updates once the graph has stopped changing.
  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.update().catch((error) => {
      console.error("ControlStack: the lists of nets", error);
    }), QUIET_MS);
  }

  async update() {
    const nodes = this.host.nodes(), isA = (kind) => (node) => this.host.comfyClass(node) === kind;
    const loaders = nodes.filter(isA(LOADER));
    if (!loaders.length && nodes.some(isA(ADD))) await this.table(null); // for its union types
    for (const node of nodes.filter(isA(PANEL))) await this.lookForPanel(node);
    for (const node of loaders) {
      const table = await this.table(baseModel(this.host, node));
      const widget = this.host.widget(node, INPUT);
      if (!table || !widget) continue;
      this.show(widget, table);
      this.onLooked(node, isWithoutNets(table));
    }
  }

  async lookForPanel(node) {
    const table = await this.table(baseModel(this.host, node));
    if (!table || this.ofPanels.get(node) === table) return;
    this.ofPanels.set(node, table);
    this.onTable();
  }

  // The nets that a panel's row offers: [[name, label]].
  offered(node, saved) {
    const table = this.ofPanels.get(node);
    if (!table) return [];
    const all = Object.keys(table.nets);
    const isOn = this.host.setting(FILTER) !== false;
    const names = isOn ? offered(all, table, saved) : all;
    return names.map((name) => [name, label(name, table, this.host.say)]);
  }

  // The lists are read anew: there may be other files.
  refresh() {
    this.tables.clear();
    this.soon();
  }

  // How many blocks of its own a net has, or null where the server does not tell.
  blocks(file) {
    return (file && this.latest?.nets[file]?.blocks) || null;
  }

  // How they lie, as lib/layers.js calls it; "unet" where the server does not tell.
  depth(file) {
    return (file && this.latest?.nets[file]?.depth) || "unet";
  }

  // The types of union nets, as lib/unions.js takes them; `file` is the connected net's, or null.
  union(file) {
    const net = (file && this.latest?.nets[file]) || {};
    const { types: own = null, fuses = false } = net;
    const all = this.latest?.types ?? null;
    const named = own && `ControlNet '${file}' (${spokenFamily(net, this.host.say)})`;
    return { all, own, fuses, net: named };
  }

  table(model) {
    const key = JSON.stringify(model);
    if (!this.tables.has(key)) this.tables.set(key, this.ask(model, key));
    return this.tables.get(key);
  }

  // The server's table for a model, or null: then the lists stay as ComfyUI filled them, and the
  // next update asks again.
  async ask(model, key) {
    const response = await this.host.ask("nets", { model }, { who: key }).catch(() => null);
    const table = response?.ok ? await response.json().catch(() => null) : null;
    if (!isTable(table)) {
      this.tables.delete(key);
      return null;
    }
    this.latest = table;
    this.onTable();
    return table;
  }

  // Filters and labels a list. A list that is not the one we set was filled by ComfyUI since.
  show(widget, table) {
    const before = this.lists.get(widget);
    const isOurs = before && widget.options.values === before.ours;
    const all = isOurs ? before.all : [...(widget.options.values ?? [])];
    const isOn = this.host.setting(FILTER) !== false;
    const ours = isOn ? offered(all, table, widget.value) : all;
    this.lists.set(widget, { all, ours });
    widget.options.values = ours;
    widget.options.getOptionLabel = (name) =>
      label(String(name ?? widget.value ?? ""), table, this.host.say);
    this.host.redraw();
  }
}
