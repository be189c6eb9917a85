// The frame of a text with a picture: a row with the text itself, a small drawing, and a body that opens below it.
//
// The text is the only state. A view is {body, draw(), error(text), spark(): path data}; `services` is what the host
// offers: {label(), say(key, values), changed(), settled(), resized(byPx), setOpen(open), forward(element)}.

import { element, setAttributes, svg } from "./dom.js";

const ROW_PX = 22, GAP_PX = 4, ERROR_PX = 32;

export class Field {
  constructor(services, { makeView, bodyHeight }) {
    this.services = services;
    this.bodyHeight = bodyHeight;
    this.text = "";
    this.open = false;
    this.disclose = element("button", {
      type: "button", on: { click: () => this.toggle() }, attributes: { "aria-expanded": "false" },
    });
    this.input = element("input", {
      type: "text", className: "controlstack-text", spellcheck: false, autocomplete: "off",
      on: { input: () => this.edit(this.input.value), change: () => services.settled() },
    });
    this.sparkPath = svg("path", {});
    this.error = element("p", { className: "controlstack-error", hidden: true, attributes: { role: "alert" } });
    this.title = element("label");
    const row = element("div", { className: "controlstack-row" }, this.disclose, this.title, this.input,
      svg("svg", { class: "controlstack-spark", viewBox: "-1 -1 46 18", "aria-hidden": "true" }, this.sparkPath));
    this.body = element("div", { className: "controlstack-body", hidden: true });
    this.element = element("div", {
      className: "controlstack-field", attributes: { role: "group" },
    }, row, this.error, this.body);
    this.view = makeView(this);
    this.body.append(...this.view.parts);
    this.listen();
    this.draw();
  }

  // Keys and pointers that are ours stay here: the page would delete or drag the node.
  listen() {
    const { element: root } = this;
    for (const name of ["pointerdown", "pointermove", "pointerup", "mousedown", "dblclick"]) {
      root.addEventListener(name, (event) => event.button === 1 || event.buttons === 4 || event.stopPropagation());
    }
    root.addEventListener("keydown", (event) => event.ctrlKey || event.metaKey || event.stopPropagation());
    this.body.addEventListener("copy", (event) => this.copy(event));
    this.body.addEventListener("paste", (event) => this.paste(event));
    this.services.forward(root);
  }

  get height() {
    const error = this.error.hidden ? 0 : ERROR_PX + GAP_PX;
    return ROW_PX + error + (this.open ? this.bodyHeight + GAP_PX : 0);
  }

  // From outside: loading, undo, another script. Anything but a text becomes one.
  setText(value) {
    const text = typeof value === "string" ? value : value == null ? "" : String(value);
    if (text === this.text) return;
    this.text = text;
    this.draw();
    this.services.resized(0);
  }

  // From here: the workflow is told.
  edit(text) {
    if (text === this.text) return;
    const before = this.height;
    this.text = text;
    this.draw();
    if (this.height !== before) this.services.resized(this.height - before);
    this.services.changed();
  }

  // From outside too: a saved node has its size already.
  setOpen(open) {
    this.open = open;
    this.draw();
  }

  toggle() {
    const before = this.height;
    this.setOpen(!this.open);
    this.services.resized(this.height - before);
    this.services.setOpen(this.open);
    this.services.settled();
  }

  draw() {
    this.name(this.services.label());
    const problem = this.view?.error(this.text) ?? "";
    if (this.input.value !== this.text) this.input.value = this.text;
    this.input.setAttribute("aria-invalid", String(Boolean(problem)));
    this.error.hidden = !problem;
    this.error.textContent = this.error.title = problem;
    this.body.hidden = !this.open;
    this.disclose.textContent = this.open ? "▾" : "▸";
    this.disclose.setAttribute("aria-expanded", String(this.open));
    this.sparkPath.setAttribute("d", problem ? "" : this.view?.spark() ?? "");
    if (this.open) this.view?.draw();
    this.element.style.minHeight = `${this.height}px`;
  }

  name(field) {
    const { say } = this.services;
    this.title.textContent = field;
    setAttributes(this.element, { "aria-label": field });
    setAttributes(this.input, { "aria-label": say("asText", { field }), placeholder: field });
    setAttributes(this.disclose, { "aria-label": say(this.open ? "hidePicture" : "showPicture", { field }) });
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
