// Small parts of the panel: lists that keep a value they do not have, numbers, and buttons.

import { element, option, setAttributes, svg } from "./dom.js";

// A list of choices, made anew only where they differ, because it may be open. `pick(value)` gets
// the choice's value, which may be a text, a number or null.
export class Choices {
  constructor(pick, attributes = {}) {
    const change = () => pick(JSON.parse(this.element.value));
    this.element = element("select", { attributes, on: { change } });
    this.shown = "";
  }

  // `choices`: [[value, label], …]; a value that is not among them stays, as it is written.
  draw(choices, value, label, { title = label, isInvalid = false } = {}) {
    setAttributes(this.element, { "aria-label": label, title, "aria-invalid": String(isInvalid) });
    const isListed = choices.some(([one]) => one === value);
    const written = typeof value === "string" ? value : JSON.stringify(value);
    const all = isListed || value === undefined ? choices : [[value, written], ...choices];
    const key = JSON.stringify(all);
    if (key !== this.shown) {
      this.shown = key;
      const options = all.map(([one, words]) => option(words, JSON.stringify(one)));
      this.element.replaceChildren(...options);
    }
    const chosen = JSON.stringify(value);
    if (this.element.value !== chosen) this.element.value = chosen;
  }
}

// A number that is typed or stepped: steps that follow each other are one of undo.
export class NumberInput {
  constructor(write, settled, className = "") {
    this.element = element("input", {
      type: "number", className,
      on: {
        input: () => this.element.value !== "" && write(this.element.valueAsNumber),
        change: () => settled({ soon: true }),
      },
    });
  }

  draw(value, label, [least, most, step]) {
    const { element: input } = this;
    const isRight = Number.isFinite(value) && value >= least && value <= most;
    const limits = { min: least, max: most, step };
    setAttributes(input, { "aria-label": label, title: label, "aria-invalid": String(!isRight) });
    setAttributes(input, limits);
    const isTyped = document.activeElement === input && input.valueAsNumber === value;
    const text = Number.isFinite(value) ? String(value) : "";
    if (!isTyped && input.value !== text) input.value = text;
  }
}

export function button(sign, act, className = "") {
  return element("button", { type: "button", textContent: sign, className, on: { click: act } });
}

// Two sheets, one behind the other.
export function twinButton(act) {
  const sheet = (x, y) => svg("rect", { x, y, width: 7, height: 8, rx: 1 });
  const box = { class: "controlstack-icon", viewBox: "0 0 13 13", "aria-hidden": "true" };
  const twin = button("", act);
  twin.append(svg("svg", box, sheet(1.5, 1.5), sheet(4.5, 3.5)));
  return twin;
}

// Gives an element a name for screen readers, which is its tooltip too.
export function named(target, label, more = {}) {
  setAttributes(target, { "aria-label": label, title: label, ...more });
}

// The choices of sockets, by number; `wired`: {number: whether it is connected}.
export function sockets(say, prefix, wired) {
  return Object.entries(wired).map(([number, isWired]) => {
    const name = `${prefix}${number}`;
    return [Number(number), isWired ? name : say("socketOpen", { name })];
  });
}
