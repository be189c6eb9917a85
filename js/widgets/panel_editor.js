// Control Stack Panel in its node: a row for each ControlNet. The text is the only state: every
// change writes it, every text that comes from outside is drawn anew. A text that is not a panel is
// shown as it is, with what is wrong with it. `services` as Field's, and what panel.js adds: isOpen
// (key), nets(saved), known(), catalogue(), settingWords(setting), thumb(row), newRow(rows),
// presets.

import * as panels from "../lib/panel_rows.js";
import { claimInput, element, everyFrame, setAttributes, tell } from "./dom.js";
import { button, named } from "./panel_parts.js";
import { PanelRow } from "./panel_row.js";
import { PresetsBar } from "./presets_bar.js";

const HEAD_PX = 26, ROW_PX = 64, LEAST_PX = 92, MOST_PX = 560;
const EDGE_PX = 24, SCROLL_PX = 12; // while a row is dragged, near the ends of the list

export class PanelEditor {
  constructor(services) {
    this.services = services;
    this.text = panels.EMPTY;
    this.open = true; // it takes the height that the node has left
    this.panel = panels.parse(this.text);
    this.problem = null;
    this.rows = new Map(); // key → PanelRow
    this.natural = LEAST_PX;
    this.isUsers = false; // whether a user's change is being drawn
    this.dragged = null; // {from, to} while a row is dragged
    this.build();
    this.listen();
    this.draw();
  }

  build() {
    const { say } = this.services;
    this.plus = button(`+ ${say("addRow")}`, () => this.add(), "controlstack-wide");
    this.title = element("label");
    this.count = element("span", { className: "controlstack-note" });
    this.presets = new PresetsBar(this);
    this.presetsButton = button(say("presets"), () => this.toggle("presets"), "controlstack-wide");
    this.rawButton = button(say("asRawText"), () => this.toggle("text"), "controlstack-wide");
    const head = element("div", { className: "controlstack-row controlstack-panel-head" },
      this.plus, this.title, this.count, this.presetsButton, this.rawButton);
    this.alert = element("p", {
      className: "controlstack-error", hidden: true, attributes: { role: "alert" },
    });
    this.note = element("p", { className: "controlstack-panel-note", hidden: true });
    this.raw = element("textarea", {
      className: "controlstack-text", spellcheck: false, hidden: true,
      on: { input: () => this.edit(this.raw.value), change: () => this.settled() },
    });
    this.list = element("div", { className: "controlstack-panel-list" });
    const attributes = { role: "group", "data-capture-wheel": "true" };
    const className = "controlstack-field controlstack-panel controlstack-grows";
    this.body = element("div", { className: "controlstack-panel-body" },
      this.alert, this.note, this.raw, this.list);
    this.element = element("div", { className, attributes },
      head, this.presets.element, this.body);
  }

  listen() {
    const events = ["pointerdown", "pointermove", "pointerup", "mousedown", "dblclick"];
    claimInput(this.element, events, () => this.restore());
    for (const name of ["copy", "cut", "paste"]) {
      this.element.addEventListener(name, (event) => event.stopPropagation());
    }
    this.body.addEventListener("wheel", (event) => this.wheel(event));
    this.services.forward(this.element);
    const measure = everyFrame(() => this.measure());
    this.observer = new ResizeObserver(measure);
    for (const part of [this.list, this.presets.element]) this.observer.observe(part);
  }

  // The wheel scrolls a list that is longer than its room; else it stays ComfyUI's.
  wheel(event) {
    const { scrollHeight, clientHeight } = this.body;
    if (scrollHeight > clientHeight + 1 && !event.ctrlKey) event.stopPropagation();
  }

  // Shows every text as the panel has it, also where nothing has changed.
  restore() {
    this.around = null;
    this.presets.restore();
    this.draw();
  }

  // -- state --------------------------------------------------------------------------------------

  // A change from outside: loading, undo, another script. Anything but a text is made one.
  setText(value) {
    const text = typeof value === "object" && value ? JSON.stringify(value) : String(value ?? "");
    if (text === this.text) return;
    this.text = text;
    this.read();
    this.draw();
  }

  read() {
    try {
      this.panel = panels.parse(this.text);
      this.problem = null;
    } catch (error) {
      if (!(error instanceof panels.PanelError)) throw error;
      this.problem = error;
    }
  }

  // The node was loaded: which folds are open stands in its properties.
  setOpen() {
    this.draw();
  }

  // A change by the user.
  edit(text) {
    if (text === this.text) return;
    this.text = text;
    this.read();
    this.resizing(() => this.draw());
    this.services.changed();
  }

  write(panel) {
    this.edit(panels.format(panels.withIds(panel)));
  }

  settled(how) {
    this.services.settled(how);
  }

  // Writes a whole change, one step of undo.
  act(panel, how) {
    this.write(panel);
    this.settled(how);
  }

  add() {
    this.act(panels.added(this.panel, this.services.newRow(this.panel.rows)));
    this.focus(this.panel.rows.length - 1, ".net select");
  }

  change(index, changes) {
    this.write(panels.changed(this.panel, index, changes));
  }

  remove(index) {
    this.act(panels.removed(this.panel, index));
    const { length } = this.panel.rows;
    if (length) this.focus(Math.min(index, length - 1), ".controlstack-handle");
    else this.plus.focus({ preventScroll: true });
  }

  duplicate(index) {
    this.act(panels.duplicated(this.panel, index));
    this.focus(index + 1, ".controlstack-handle");
  }

  mute(index) {
    this.act(panels.muted(this.panel, index));
  }

  solo(index) {
    this.act(panels.solo(this.panel, index));
  }

  move(from, to, how) {
    const place = Math.min(Math.max(to, 0), this.panel.rows.length - 1);
    this.act(panels.moved(this.panel, from, place), how);
    this.focus(place, ".controlstack-handle");
  }

  focus(index, selector) {
    const row = this.list.children[index];
    row?.scrollIntoView?.({ block: "nearest" });
    row?.querySelector(selector)?.focus({ preventScroll: true });
  }

  toggle(fold) {
    this.services.setOpen(fold, !this.services.isOpen(fold));
    this.resizing(() => this.draw());
    this.settled();
  }

  // -- dragging a row by its handle ---------------------------------------------------------------

  drag(event, index) {
    const { type, button: pressed, target } = event;
    if (type === "pointerdown" && pressed === 0) {
      target.setPointerCapture(event.pointerId);
      this.dragged = { from: index, to: index };
    } else if (this.dragged && type === "pointermove") {
      this.dragged.to = this.placeAt(event.clientY);
      this.scrollNear(event.clientY);
      this.drawDrag();
    } else if (this.dragged) {
      const { from, to } = this.dragged;
      this.dragged = null;
      this.drawDrag();
      if (type === "pointerup" && from !== to) this.move(from, to);
    }
  }

  // Where the dragged row would stand: behind the rows whose middle is above the pointer.
  placeAt(y) {
    const { from } = this.dragged;
    const isAbove = (row) => {
      const { top, height } = row.getBoundingClientRect();
      return top + height / 2 < y;
    };
    const others = [...this.list.children].filter((_, index) => index !== from);
    return others.filter(isAbove).length;
  }

  scrollNear(y) {
    const { top, bottom } = this.body.getBoundingClientRect();
    if (y < top + EDGE_PX) this.body.scrollTop -= SCROLL_PX;
    else if (y > bottom - EDGE_PX) this.body.scrollTop += SCROLL_PX;
  }

  drawDrag() {
    const { from = -1, to = -1 } = this.dragged ?? {};
    for (const [index, row] of [...this.list.children].entries()) {
      row.classList.toggle("controlstack-dragged", index === from);
      row.classList.toggle("controlstack-before", index === to && to < from);
      row.classList.toggle("controlstack-behind", index === to && to > from);
    }
  }

  // -- drawing ------------------------------------------------------------------------------------

  draw() {
    const { services } = this, { say, isOpen } = services;
    const field = services.label(), isWired = services.isWired(), { rows } = this.panel;
    setAttributes(this.element, { "aria-label": say("panel", { field }) });
    this.title.textContent = field;
    this.element.classList.toggle("controlstack-wired", isWired);
    this.body.inert = isWired;
    const isRaw = this.problem !== null || isOpen("text");
    this.plus.disabled = isWired || this.problem !== null;
    named(this.plus, say("addRowTip"));
    const on = rows.filter(panels.isOn).length;
    this.count.textContent = this.problem ? "" : say("rowsOn", { on, count: rows.length });
    named(this.presetsButton, say("presetsTip"), { "aria-expanded": String(isOpen("presets")) });
    named(this.rawButton, say("asRawTextTip"), { "aria-expanded": String(isRaw) });
    this.presets.setOpen(isOpen("presets") && !isWired);
    this.drawProblem(isWired);
    this.raw.hidden = !isRaw;
    setAttributes(this.raw, { "aria-label": say("rawText", { field }) });
    if (this.raw.value !== this.text) this.raw.value = this.text;
    this.list.hidden = this.problem !== null;
    if (!this.problem) this.drawRows();
    this.measure();
    services.drawn();
  }

  drawProblem(isWired) {
    const { say } = this.services, { problem } = this;
    const example = panels.EMPTY;
    const values = { example, ...problem?.values };
    tell(this.alert, problem && !isWired ? say(problem.key, values) : "");
    this.alert.hidden = !this.alert.textContent;
    const isEmpty = !problem && !this.panel.rows.length;
    this.note.textContent = isWired ? say("wiredRows") : isEmpty ? say("panelEmpty") : "";
    this.note.hidden = !this.note.textContent;
  }

  drawRows() {
    const { rows } = this.panel, known = this.services.known(), keys = keysOf(rows);
    const before = this.rows;
    this.rows = new Map(keys.map((key) => [key, before.get(key) ?? new PanelRow(this, key)]));
    const wanted = [...this.rows.values()];
    for (const [key, row] of before) if (!this.rows.has(key)) row.element.remove();
    for (const [index, { element: one }] of wanted.entries()) {
      const there = this.list.children[index];
      if (there !== one) this.list.insertBefore(one, there ?? null);
    }
    const { table, ...sockets } = known, around = JSON.stringify(sockets);
    const isSame = around === this.around && table === this.table;
    Object.assign(this, { around, table });
    for (const [index, row] of wanted.entries()) {
      const isSolo = panels.isSolo(this.panel, index);
      row.follow(rows[index], index, { isSolo }, known, isSame);
    }
  }

  // A picture of a row has come.
  drawThumbs() {
    for (const row of this.rows.values()) row.drawThumb(row.index + 1);
  }

  // -- height -------------------------------------------------------------------------------------

  get height() {
    return Math.min(MOST_PX, Math.max(LEAST_PX, this.natural));
  }

  // Does what changes the height as a user asked: the node becomes as much taller or shorter.
  resizing(work) {
    if (this.isUsers) return work(); // within another change
    const before = this.height;
    this.isUsers = true;
    work();
    this.isUsers = false;
    if (this.height !== before) this.services.resized(this.height - before);
  }

  // The height that everything would have, once it is drawn; before, by the number of rows. A node
  // that was saved has its size already, and only grows where that does not do.
  measure() {
    const drawn = this.list.offsetHeight + this.raw.offsetHeight + this.alert.offsetHeight
      + this.note.offsetHeight + this.presets.element.offsetHeight;
    const guess = this.panel.rows.length * ROW_PX;
    const before = this.height;
    this.natural = HEAD_PX + 8 + (this.element.offsetHeight ? drawn : guess);
    if (this.height === before) return;
    this.element.style.minHeight = `${this.height}px`;
    if (!this.isUsers) this.services.adjusted();
  }
}

// What rows are told apart by: their ids, also where two have the same one, or none.
function keysOf(rows) {
  const seen = new Map();
  return rows.map(({ id }) => {
    const name = typeof id === "string" ? encodeURIComponent(id.toWellFormed()) : "";
    const number = (seen.get(name) ?? 0) + 1;
    seen.set(name, number);
    return number > 1 ? `${name}~${number}` : name;
  });
}
