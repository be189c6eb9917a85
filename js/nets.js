// Lists of nets: those of the family of the connected model, each with its family's name.

import { baseModel } from "./lib/reading.js";
import { isTable, label, offered } from "./lib/nets.js";

const LOADER = "ControlStackLoad", INPUT = "control_net_name";
export const FILTER = "ControlStack.FilterNets";
const QUIET_MS = 200;

export class Nets {
  // `learnt` is called when a table has come.
  constructor(host, learnt) {
    this.host = host;
    this.learnt = learnt;
    this.tables = new Map(); // the model as JSON → a promise of the server's table
    this.known = null; // the newest table, for how many blocks a net has
    this.lists = new WeakMap(); // widget → {whole, ours}
    this.timer = 0;
  }

  // After a change of the graph, when it has come to rest.
  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.update().catch((error) => console.error("ControlStack: the lists of nets", error)), QUIET_MS);
  }

  async update() {
    const loaders = this.host.nodes().filter((node) => this.host.comfyClass(node) === LOADER);
    for (const node of loaders) {
      const table = await this.table(baseModel(this.host, node));
      const widget = this.host.widget(node, INPUT);
      if (table && widget) this.show(widget, table);
    }
  }

  blocks(file) {
    return (file && this.known?.nets[file]?.blocks) || null;
  }

  table(model) {
    const key = JSON.stringify(model);
    if (!this.tables.has(key)) this.tables.set(key, this.ask(model, key));
    return this.tables.get(key);
  }

  // What the server says; where it says nothing the lists stay as the host made them.
  async ask(model, key) {
    const answer = await this.host.ask("nets", { model }).catch(() => null);
    const table = answer?.ok ? await answer.json().catch(() => null) : null;
    if (!isTable(table)) {
      this.tables.delete(key);
      return null;
    }
    this.known = table;
    this.learnt();
    return table;
  }

  // The list gets its names from the host each time that the host has made them anew.
  show(widget, table) {
    const before = this.lists.get(widget);
    const whole = before && widget.options.values === before.ours ? before.whole : [...(widget.options.values ?? [])];
    const isOn = this.host.setting(FILTER) !== false;
    const ours = isOn ? offered(whole, table, widget.value) : whole;
    this.lists.set(widget, { whole, ours });
    widget.options.values = ours;
    widget.options.getOptionLabel = (name) => label(String(name ?? widget.value ?? ""), table, this.host.say);
    this.host.redraw();
  }
}
