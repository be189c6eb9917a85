// After a run, what each net did: a bar on its Add ControlNet with its share of the step and the
// size of what it added, or why it did nothing. The server sends it when sampling has ended.

import { chain } from "./host.js";
import { bar } from "./lib/results.js";
import { element } from "./widgets/dom.js";

const EVENT = "controlstack.results", ADD = "ControlStackAdd", WIDGET = "controlstack_result";
const WIDGET_PX = 30;

export class NetBars {
  // `contradiction(node)`: why a node's settings make its net do nothing; the node says so already.
  constructor(host, contradiction, resized) {
    this.host = host;
    this.contradiction = contradiction;
    this.resized = resized;
    // Node → the net's result and the settings that it had: undo makes new nodes.
    this.memory = new Map();
    host.api.addEventListener(EVENT, ({ detail }) => this.take(detail));
  }

  take({ nets }) {
    for (const net of nets) {
      const node = this.host.nodeOf(net.node);
      if (!node || this.host.comfyClass(node) !== ADD) continue;
      if (this.contradiction(node) === `idle_${net.reason}`) {
        this.forget(node);
        continue;
      }
      const settings = this.host.settingsOf(node);
      this.memory.set(this.host.nameOf(node), { ...net, settings });
      this.show(node, net);
    }
  }

  // A net that did nothing has another reason, or none, once its settings have changed.
  watch(node) {
    if (this.host.comfyClass(node) !== ADD) return;
    for (const widget of node.widgets ?? []) {
      chain(widget, "callback", () => {
        const reason = this.memory.get(this.host.nameOf(node))?.reason;
        if (reason && !this.host.isLoading) this.forget(node);
      });
    }
  }

  forget(node) {
    this.memory.delete(this.host.nameOf(node));
    const shown = this.host.widget(node, WIDGET);
    if (!shown) return;
    this.host.removeWidget(node, shown);
    this.host.adjust(node, -WIDGET_PX);
    this.resized();
  }

  restore() {
    for (const node of this.host.nodes()) {
      const net = this.memory.get(this.host.nameOf(node));
      if (net?.reason && net.settings !== this.host.settingsOf(node)) this.forget(node);
      else if (net && !this.host.widget(node, WIDGET)) this.show(node, net);
    }
  }

  show(node, net) {
    const { text, fill, isIdle } = bar(net, this.host.say);
    const widget = this.host.widget(node, WIDGET) ?? this.add(node);
    const shown = widget.element.firstChild;
    shown.classList.toggle("controlstack-idle", isIdle);
    shown.style.setProperty("--controlstack-fill", `${(fill ?? 0) * 100}%`);
    shown.textContent = text;
    shown.title = `${text}\n${this.host.say("resultTip")}`;
  }

  add(node) {
    const attributes = { role: "status" };
    const shown = element("div", { className: "controlstack-result-row" },
      element("div", { className: "controlstack-result", attributes }));
    this.host.forward(shown);
    const widget = this.host.addDisplay(node, WIDGET, shown, () => WIDGET_PX);
    this.resized();
    return widget;
  }
}
