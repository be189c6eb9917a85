// The lists of nets in the loaders: those that fit the connected model, each with its family.

import { baseModel } from "./lib/graph.js";
import { isTable, label, offered } from "./lib/net_choices.js";

const LOADER = "ControlStackLoad", INPUT = "control_net_name";
export const FILTER = "ControlStack.FilterNets";
const QUIET_MS = 200;

export class NetLists {
  // `onTable` is called when the server has sent a table.
  constructor(host, onTable) {
    this.host = host;
    this.onTable = onTable;
    this.tables = new Map(); // the model as JSON → a promise of the server's table
    this.latest = null; // the newest table, for how many blocks a net has
    this.lists = new WeakMap(); // widget → {all, ours}
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
    const loaders = this.host.nodes().filter((node) => this.host.comfyClass(node) === LOADER);
    for (const node of loaders) {
      const table = await this.table(baseModel(this.host, node));
      const widget = this.host.widget(node, INPUT);
      if (table && widget) this.show(widget, table);
    }
  }

  // How many blocks a net has, or null where the server does not tell.
  blocks(file) {
    return (file && this.latest?.nets[file]?.blocks) || null;
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
