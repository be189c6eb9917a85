// A text input with a picture: a row with the text and a small drawing, and an editor that opens
// below it. The text is the only state. An editor is {parts: its elements, draw(), check(text):
// the error's message or "", spark(): path data of the small drawing}. Without a body
// (`bodyHeight` 0) its `tools` stand in the row instead of the drawing. `services` is what the node
// offers: {label(), example, say(key, values), translated(sentence), isWired(), changed(),
// settled(), resized(byPx), setOpen(open), forward(element)}. An open editor takes whatever height
// the node has left. What is wrong with the text is said here, whole, and nowhere else.

import { claimInput, element, setAttributes, svg, tell } from "./dom.js";

const ROW_PX = 22, GAP_PX = 4, LINES_PX = 48; // three lines, until they can be measured

export class Field {
  constructor(services, { makeEditor, bodyHeight }) {
    this.services = services;
    this.bodyHeight = bodyHeight;
    this.text = "";
    this.open = false;
    this.errorPx = LINES_PX;
    this.build();
    this.editor = makeEditor(this);
    this.body.append(...this.editor.parts);
    if (!bodyHeight) this.spark.replaceWith(...this.editor.tools);
    this.listen();
    this.draw();
  }

  build() {
    this.disclose = element("button", {
      type: "button", on: { click: () => this.toggle() }, attributes: { "aria-expanded": "false" },
    });
    this.input = element("input", {
      type: "text", className: "controlstack-text", spellcheck: false, autocomplete: "off",
      on: {
        input: () => this.edit(this.input.value),
        change: () => this.services.settled(),
      },
    });
    this.sparkPath = svg("path");
    const spark = { class: "controlstack-spark", viewBox: "-1 -1 46 18", "aria-hidden": "true" };
    this.spark = svg("svg", spark, this.sparkPath);
    this.title = element("label");
    const row = element("div", { className: "controlstack-row" },
      this.disclose, this.title, this.input, this.spark);
    const alert = { className: "controlstack-error", hidden: true, attributes: { role: "alert" } };
    this.error = element("p", alert);
    this.body = element("div", { className: "controlstack-body", hidden: true });
    const group = { className: "controlstack-field", attributes: { role: "group" } };
    this.element = element("div", group, row, this.error, this.body);
  }

  listen() {
    const pointerEvents = ["pointerdown", "pointermove", "pointerup", "mousedown", "dblclick"];
    claimInput(this.element, pointerEvents, () => this.draw());
    this.body.addEventListener("copy", (event) => this.copy(event));
    this.body.addEventListener("paste", (event) => this.paste(event));
    this.services.forward(this.element);
    new ResizeObserver(() => this.measure()).observe(this.error);
  }

  // The sentence that stands under the text, in the frontend's language; "" for a right text.
  get problem() {
    return this.error.hidden ? "" : this.error.textContent;
  }

  // The height of the sentence, once it is drawn, at the node's width.
  measure() {
    const actual = this.error.hidden ? 0 : this.error.offsetHeight;
    if (!actual || actual === this.errorPx) return;
    this.errorPx = actual;
    this.element.style.minHeight = `${this.height}px`;
    this.services.resized(0);
  }

  get height() {
    const error = this.error.hidden ? 0 : this.errorPx + GAP_PX;
    return ROW_PX + error + (this.open ? this.bodyHeight + GAP_PX : 0);
  }

  // A change from outside: loading, undo, another script. Anything but a text is made one.
  setText(value) {
    const text = String(value ?? "");
    if (text === this.text) return;
    this.text = text;
    this.draw();
    this.services.resized(0);
  }

  // A change by the user.
  edit(text) {
    if (text === this.text) return;
    const before = this.height;
    this.text = text;
    this.draw();
    if (this.height !== before) this.services.resized(this.height - before);
    this.services.changed();
  }

  // Opens or closes without resizing the node: a saved node has its size already.
  setOpen(open) {
    this.open = open && this.bodyHeight > 0;
    this.draw();
  }

  toggle() {
    const before = Math.max(this.height, this.open ? this.element.offsetHeight : 0);
    this.setOpen(!this.open);
    this.services.resized(this.height - before);
    this.services.setOpen(this.open);
    this.services.settled();
  }

  draw() {
    this.drawNames(this.services.label());
    const isWired = this.services.isWired();
    const problem = isWired ? "" : this.services.translated(this.editor.check(this.text));
    if (this.input.value !== this.text) this.input.value = this.text;
    this.input.title = this.text; // which may be longer than its box
    this.input.disabled = isWired; // the wire's value runs
    this.element.classList.toggle("controlstack-wired", isWired);
    this.element.classList.toggle("controlstack-grows", this.open);
    this.input.setAttribute("aria-invalid", String(Boolean(problem)));
    this.error.hidden = !problem;
    tell(this.error, this.error.title = problem);
    if (problem) this.errorPx = this.error.offsetHeight || LINES_PX;
    this.body.hidden = !this.open;
    this.spark.toggleAttribute("hidden", this.open); // the plot says the same
    this.disclose.textContent = this.open ? "▾" : "▸";
    this.disclose.style.visibility = this.bodyHeight ? "" : "hidden";
    this.disclose.setAttribute("aria-expanded", String(this.open));
    const spark = problem ? "" : this.editor.spark?.() ?? "";
    this.sparkPath.setAttribute("d", spark);
    if (this.open || !this.bodyHeight) this.editor.draw();
    this.element.style.minHeight = `${this.height}px`;
  }

  drawNames(field) {
    const { say } = this.services;
    this.title.textContent = field;
    setAttributes(this.element, { "aria-label": field });
    const placeholder = this.services.example;
    setAttributes(this.input, { "aria-label": say("asText", { field }), placeholder });
    const label = say(this.open ? "hidePicture" : "showPicture", { field });
    setAttributes(this.disclose, { "aria-label": label });
  }

  copy(event) {
    event.clipboardData.setData("text/plain", this.text);
    event.preventDefault();
    event.stopPropagation();
  }

  paste(event) {
    if (event.target instanceof HTMLInputElement) return;
    this.edit(event.clipboardData.getData("text/plain").trim());
    this.services.settled();
    event.preventDefault();
    event.stopPropagation();
  }
}
