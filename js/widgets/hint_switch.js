// The switch under a hint: whether it follows the settings, and whether it is compared with its
// source.

import { claimInput, element } from "./dom.js";

export const SWITCH_PX = 24;

export class HintSwitch {
  // `choose(mode)` is called with "off", "live" or "compare".
  constructor({ say, forward, choose }) {
    const words = {
      off: [say("hintOff"), say("hintOffTip")],
      live: [say("hintLive"), say("hintLiveTip")],
      compare: [say("hintCompare"), say("hintCompareTip")],
    };
    this.buttons = Object.entries(words).map(([mode, [label, title]]) => element("button", {
      type: "button", textContent: label, title, value: mode,
      attributes: { role: "radio" },
      on: { click: () => choose(mode) },
    }));
    const attributes = { role: "radiogroup", "aria-label": say("hintSwitch") };
    const className = "controlstack-switch";
    const inside = element("div", { className, attributes }, ...this.buttons);
    this.element = element("div", { className: "controlstack-switch-row" }, inside);
    claimInput(inside, ["pointerdown", "pointermove", "pointerup", "mousedown"]);
    forward(this.element);
  }

  show(mode) {
    for (const button of this.buttons) {
      button.setAttribute("aria-checked", String(button.value === mode));
    }
  }
}
