// Source and hint over each other, with a divider that is dragged or moved by arrow keys.

import { claimInput, element, tell } from "./dom.js";

export const HEIGHT_PX = 220;

export class CompareView {
  constructor({ say, forward }) {
    this.say = say;
    this.source = element("img", { alt: say("source"), draggable: false });
    this.hint = element("img", { alt: say("hint"), draggable: false });
    this.divider = element("div", { className: "divider" });
    this.message = element("p");
    this.slider = element("input", {
      type: "range", min: 0, max: 100, value: 50, attributes: { "aria-label": say("divider") },
      on: { input: () => this.divide() },
    });
    const attributes = { role: "group", "aria-label": say("both") };
    this.element = element("div", { className: "controlstack-compare", attributes },
      this.source, this.hint, this.divider, this.message, this.slider);
    this.element.style.minHeight = `${HEIGHT_PX}px`;
    claimInput(this.element, ["pointerdown", "pointermove", "pointerup", "mousedown"]);
    this.element.classList.add("controlstack-grows");
    forward(this.element);
    this.setDivided(true);
  }

  // Divided, it shows the source beside the hint; else the hint alone.
  setDivided(isDivided) {
    this.isDivided = isDivided;
    this.source.hidden = this.divider.hidden = this.slider.hidden = !isDivided;
    this.divide();
  }

  // Left of the divider the source, right of it the hint.
  divide() {
    const percent = Number(this.slider.value);
    this.hint.style.clipPath = this.isDivided ? `inset(0 0 0 ${percent}%)` : "";
    this.divider.style.left = `calc(${percent}% - 1px)`;
    this.slider.setAttribute("aria-valuetext", this.say("share", { percent }));
  }

  get hasHint() {
    return Boolean(this.hint.getAttribute("src"));
  }

  // Shows addresses of pictures and a message; an empty address keeps the picture before, dim
  // beside a message.
  show({ source, hint, message }) {
    this.element.classList.toggle("controlstack-outdated", Boolean(message) && !hint);
    if (source && this.source.src !== source) this.source.src = source;
    if (hint) {
      const before = this.hint.src;
      this.hint.src = hint;
      revoke(before);
    }
    if (message !== undefined) tell(this.message, message);
  }

  destroy() {
    revoke(this.hint.src);
  }
}

function revoke(address) {
  if (address.startsWith("blob:")) URL.revokeObjectURL(address);
}
