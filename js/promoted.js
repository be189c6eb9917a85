// Texts of ours that a subgraph shows on its node: each gets a field of its own there, because the
// one inside can stand in one place only. ComfyUI does the same for its texts of several lines.

import { promotedField } from "./fields.js";

const OFTEN_MS = 1000;
const PROMOTED = "widget-promoted"; // ComfyUI's event of a subgraph that shows one widget more
const TYPES = /^controlstack_(schedule|layers|union_type|frame_strength|rows|drawing)$/;

export class Promoted {
  constructor(host, nets, mounting, panels, canvases) {
    this.host = host;
    this.nets = nets;
    this.mounting = mounting;
    this.panels = panels;
    this.canvases = canvases;
    this.fields = new WeakMap(); // widget → {refresh()}
    this.heard = new WeakSet(); // subgraphs whose events are listened to
    this.reported = false;
    setInterval(() => this.try(), OFTEN_MS); // copies of subgraphs are made without an event
  }

  try() {
    try {
      this.run();
    } catch (error) {
      if (!this.reported) console.error("ControlStack: promoted fields", error);
      this.reported = true;
    }
  }

  // Gives fields to the promoted inputs that have none yet, and shows the values of the others.
  run() {
    for (const node of this.host.nodes()) {
      if (!node.subgraph) continue;
      this.listen(node.subgraph);
      for (const input of node.inputs ?? []) this.look(node, input);
    }
  }

  listen(subgraph) {
    if (this.heard.has(subgraph)) return;
    this.heard.add(subgraph);
    subgraph.events?.addEventListener(PROMOTED, () => queueMicrotask(() => this.try()));
  }

  look(node, input) {
    const widget = input._widget; // ComfyUI's: a mere value, which nobody draws
    const [, name] = TYPES.exec(widget?.type ?? "") ?? [];
    if (!name) return;
    if (widget.element) this.fields.get(widget)?.refresh();
    else this.add(node, input, name, widget);
  }

  add(node, input, name, source) {
    const { widget, field } = name === "drawing"
      ? this.canvases.promoted(node, input, source)
      : promotedField(this, { node, input, name, source });
    this.fields.set(widget, { refresh: () => field.setText(source.value) });
    this.mounting.soon();
  }
}
