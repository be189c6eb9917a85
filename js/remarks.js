// What a node of ours says of its last run, whole and until it runs again. The page's own line for it shows two lines at
// most, and newer pages take it away when the run ends.

import { element } from "./widgets/dom.js";

const SPEAKERS = ["ControlStackAdd", "ControlStackDataset", "ControlStackSave", "ControlStackSavePose"];
const WIDGET = "controlstack_remark", PAGES_OWN = "$$node-text-preview";
const LINE_PX = 16, GAP_PX = 4, SIGN_PX = 6.5, PADDING_PX = 40, MOST_LINES = 12;

export class Remarks {
  constructor(host) {
    this.host = host;
    host.api.addEventListener("executing", ({ detail }) => this.clear(host.nodeOf(detail?.node ?? detail)));
    host.api.addEventListener("executed", ({ detail }) => this.executed(detail));
  }

  executed({ node: id, output }) {
    const node = this.host.nodeOf(id), text = [output?.text ?? []].flat().join("\n");
    if (!node || !text || !SPEAKERS.includes(this.host.comfyClass(node))) return;
    this.clear(node);
    this.remove(node, PAGES_OWN);
    const said = element("p", { className: "controlstack-remark", textContent: text, attributes: { role: "status" } });
    this.host.forward(said);
    this.host.addPicture(node, WIDGET, said, LINE_PX * lines(text, node.size[0] - PADDING_PX) + GAP_PX);
  }

  clear(node) {
    if (node) this.remove(node, WIDGET);
  }

  remove(node, name) {
    const widget = this.host.widget(node, name);
    if (widget) this.host.removeWidget(node, widget);
  }
}

// How many lines a text takes, about: what is more is scrolled to.
function lines(text, widthPx) {
  const each = text.split("\n").map((line) => Math.max(1, Math.ceil((line.length * SIGN_PX) / Math.max(widthPx, LINE_PX))));
  return Math.min(MOST_LINES, each.reduce((sum, count) => sum + count, 0));
}
