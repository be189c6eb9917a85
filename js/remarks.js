// The remark of a node's last run, shown in full until it runs again. ComfyUI's own preview of it
// shows two lines at most, and newer frontends remove it when the run ends.

import { element } from "./widgets/dom.js";

const NODES = [
  "ControlStackAdd", "ControlStackDataset", "ControlStackSave", "ControlStackSavePose",
];
const WIDGET = "controlstack_remark", COMFYUIS_PREVIEW = "$$node-text-preview";
const LINE_PX = 16, GAP_PX = 4, CHARACTER_PX = 6.5, PADDING_PX = 40, MOST_LINES = 12;

export class Remarks {
  constructor(host) {
    this.host = host;
    host.api.addEventListener("executing", ({ detail }) => this.executing(detail));
    host.api.addEventListener("executed", ({ detail }) => this.executed(detail));
  }

  // `detail` is {node: id}, or the id itself in older frontends; null at the end of a run.
  executing(detail) {
    this.remove(this.host.nodeOf(detail?.node ?? detail), WIDGET);
  }

  executed({ node: id, output }) {
    const node = this.host.nodeOf(id), text = [output?.text ?? []].flat().join("\n");
    if (!node || !text || !NODES.includes(this.host.comfyClass(node))) return;
    this.remove(node, WIDGET);
    this.remove(node, COMFYUIS_PREVIEW);
    const attributes = { role: "status" };
    const className = "controlstack-remark";
    const remark = element("p", { className, textContent: text, attributes });
    this.host.forward(remark);
    const heightPx = LINE_PX * lineCount(text, node.size[0] - PADDING_PX) + GAP_PX;
    this.host.addDisplay(node, WIDGET, remark, heightPx);
  }

  remove(node, name) {
    const widget = node && this.host.widget(node, name);
    if (widget) this.host.removeWidget(node, widget);
  }
}

// Estimates the lines of a text; past the most, the remark scrolls.
function lineCount(text, widthPx) {
  const perLine = Math.max(widthPx, LINE_PX) / CHARACTER_PX;
  const counts = text.split("\n").map((line) => Math.max(1, Math.ceil(line.length / perLine)));
  return Math.min(MOST_LINES, counts.reduce((sum, count) => sum + count, 0));
}
