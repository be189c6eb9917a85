// Source and hint over each other, with a divider that is dragged, or moved by arrow keys.

import { element } from "./dom.js";

export const HEIGHT_PX = 220;

export class Compare {
  constructor({ say, forward }) {
    this.say = say;
    this.source = element("img", { alt: say("source"), draggable: false });
    this.hint = element("img", { alt: say("hint"), draggable: false });
    this.divider = element("div", { className: "divider" });
    this.said = element("p");
    this.slider = element("input", {
      type: "range", min: 0, max: 100, value: 50, attributes: { "aria-label": say("divider") },
      on: { input: () => this.divide() },
    });
    this.element = element("div", {
      className: "controlstack-compare", attributes: { role: "group", "aria-label": say("both") },
    }, this.source, this.hint, this.divider, this.said, this.slider);
    this.element.style.minHeight = `${HEIGHT_PX}px`;
    for (const name of ["pointerdown", "pointermove", "pointerup", "mousedown"]) {
      this.element.addEventListener(name, (event) => event.button === 1 || event.buttons === 4 || event.stopPropagation());
    }
    this.element.addEventListener("keydown", (event) => event.ctrlKey || event.metaKey || event.stopPropagation());
    forward(this.element);
    this.divide();
  }

  // Left of the divider the source, right of it the hint.
  divide() {
    const percent = Number(this.slider.value);
    this.hint.style.clipPath = `inset(0 0 0 ${percent}%)`;
    this.divider.style.left = `calc(${percent}% - 1px)`;
    this.slider.setAttribute("aria-valuetext", this.say("share", { percent }));
  }

  show({ source, hint, said }) {
    if (source && this.source.src !== source) this.source.src = source;
    if (hint) {
      const old = this.hint.src;
      this.hint.src = hint;
      if (old.startsWith("blob:")) URL.revokeObjectURL(old);
    }
    if (said !== undefined) this.said.textContent = said;
  }

  destroy() {
    if (this.hint.src.startsWith("blob:")) URL.revokeObjectURL(this.hint.src);
  }
}
