// A row of the panel: its main line, its marks, and two folds: the settings of its preprocessor,
// and when, where and how deep it acts. `panel` is the PanelEditor, which has the rows.

import { AUTO, NONE, RANGES, isOn, marks, read, short } from "../lib/panel_rows.js";
import { spokenFamily } from "../lib/net_choices.js";
import { element, setAttributes, tell } from "./dom.js";
import { RowDetails } from "./panel_details.js";
import { Choices, NumberInput, button, named, sockets, twinButton } from "./panel_parts.js";
import { RowSettings } from "./panel_settings.js";

const KEYS = {
  ArrowUp: (row) => row.move(row.index - 1),
  ArrowDown: (row) => row.move(row.index + 1),
  Home: (row) => row.move(0),
  End: (row) => row.move(Infinity),
  Delete: (row) => row.panel.remove(row.index),
  d: (row) => row.panel.duplicate(row.index),
  m: (row) => row.panel.mute(row.index),
  s: (row) => row.panel.solo(row.index),
};

export class PanelRow {
  constructor(panel, key) {
    this.panel = panel;
    this.key = key;
    this.index = 0;
    this.row = {};
    this.build();
    this.listen();
  }

  build() {
    const { panel } = this;
    const write = (name) => (value) => this.write({ [name]: value });
    const choose = (name) => (value) => this.choose({ [name]: value });
    this.handle = button("⠿", () => {}, "controlstack-handle");
    this.on = element("input", { type: "checkbox", on: { change: () => panel.mute(this.index) } });
    this.thumb = element("img", { className: "controlstack-thumb", draggable: false });
    this.net = new Choices(choose("net"));
    this.solo = button("S", () => panel.solo(this.index));
    this.twin = twinButton(() => panel.duplicate(this.index));
    this.gone = button("✕", () => panel.remove(this.index));
    this.picture = new Choices(choose("image"));
    this.method = new Choices((method) => this.choose({ method, params: {} }));
    this.gear = button("⚙", () => this.toggle("settings"));
    const number = (name) => new NumberInput(write(name), (how) => panel.settled(how));
    this.numbers = { strength: number("strength"), start: number("start"), end: number("end") };
    this.mode = new Choices(choose("mode"));
    this.more = button("▸", () => this.toggle("more"));
    const attributes = { role: "status" };
    this.marks = element("div", { className: "controlstack-marks", attributes });
    this.settings = new RowSettings(this);
    this.details = new RowDetails(this);
    this.element = this.lines();
  }

  lines() {
    const { say } = this.panel.services, { strength, start, end } = this.numbers;
    const row = (className, ...parts) =>
      element("div", { className: `controlstack-row ${className}` }, ...parts);
    const words = (text, ...parts) => element("label", {}, text, ...parts);
    const lines = element("div", { className: "controlstack-lines" },
      row("net", this.net.element, this.solo, this.twin, this.gone),
      row("hint", this.picture.element, this.method.element, this.gear),
      row("when", words(say("strengthWord"), strength.element),
        words(say("startWord"), start.element), words(say("endWord"), end.element),
        this.mode.element, this.more));
    const main = element("div", { className: "controlstack-main" },
      this.handle, this.on, this.thumb, lines);
    return element("div", { className: "controlstack-panel-row", attributes: { role: "group" } },
      main, this.marks, this.settings.element, this.details.element);
  }

  listen() {
    const { panel } = this;
    this.handle.addEventListener("keydown", (event) => this.press(event));
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      this.handle.addEventListener(name, (event) => panel.drag(event, this.index));
    }
  }

  press(event) {
    const act = KEYS[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(this);
  }

  // Keys follow each other quickly: they are one step of undo.
  move(to) {
    this.panel.move(this.index, to, { soon: true });
  }

  write(changes) {
    this.panel.change(this.index, changes);
  }

  choose(changes) {
    this.write(changes);
    this.panel.settled();
  }

  // -- folds --------------------------------------------------------------------------------------

  isOpen(fold) {
    return this.panel.services.isOpen(`${this.key}.${fold}`);
  }

  toggle(fold) {
    this.panel.toggle(`${this.key}.${fold}`);
  }

  // -- drawing ------------------------------------------------------------------------------------

  // Draws what has changed: nothing but its picture where row and surroundings are the same.
  follow(row, index, panel, known, isSame) {
    const remark = this.panel.services.remark(read(row, index));
    const key = JSON.stringify([row, index, panel.isSolo, this.isOpen("settings"), remark]);
    if (isSame && key === this.shown && !this.isOpen("more") && this.details.element.hidden) {
      return this.drawThumb(index + 1);
    }
    this.shown = key;
    this.draw(row, index, panel, known);
  }

  // `known`: what the graph and the server tell, as lib/panel_rows.js takes it.
  draw(row, index, panel, known) {
    this.row = row;
    this.index = index;
    this.full = read(row, index);
    const { say } = this.panel.services, number = index + 1, { net } = this.full;
    const shown = typeof net === "string" ? net : short(net);
    setAttributes(this.element, { "aria-label": say("row", { number, net: shown }) });
    this.drawNet(number, panel.isSolo);
    this.drawHint(number, known);
    this.drawWhen(number, known);
    this.drawMarks(known);
    this.drawFolds(number, known);
  }

  drawNet(number, isSolo) {
    const { say, nets } = this.panel.services, { row, full } = this;
    named(this.handle, say("moveRow", { number }));
    named(this.on, say("rowIsOn", { number }), { title: say("rowIsOnTip") });
    this.on.checked = isOn(row);
    this.element.classList.toggle("controlstack-off", !isOn(row));
    this.net.draw(nets(full.net), full.net, say("rowNet", { number }));
    named(this.solo, say("soloRow", { number }), { "aria-pressed": String(isSolo) });
    named(this.twin, say("duplicateRow", { number }));
    named(this.gone, say("removeRow", { number }));
  }

  drawHint(number, { pictures, methods }) {
    const { say } = this.panel.services, { full } = this;
    this.picture.draw(sockets(say, "image", pictures), full.image, say("rowPicture", { number }));
    const names = [[NONE, say("methodNone")], [AUTO, say("methodAuto")],
      ...methods.map((name) => [name, name])];
    const title = say("methodTip");
    this.method.draw(names, full.method, say("rowMethod", { number }), { title });
    this.drawThumb(number);
  }

  drawThumb(number) {
    const { say, thumb } = this.panel.services, { src, isHint, isOld } = thumb(this.full);
    const alt = isHint ? say("hintOf", { number }) : say("pictureOf", { number });
    setAttributes(this.thumb, { src: src || null, alt, title: alt });
    this.thumb.classList.toggle("controlstack-source", !isHint || isOld);
  }

  drawWhen(number, { modes }) {
    const { say } = this.panel.services, { full } = this;
    const labels = {
      strength: say("rowStrength", { number }), start: say("rowStart", { number }),
      end: say("rowEnd", { number }),
    };
    for (const [name, input] of Object.entries(this.numbers)) {
      input.draw(full[name], labels[name], RANGES[name]);
    }
    this.mode.draw(modes.map((name) => [name, name]), full.mode, say("rowMode", { number }));
  }

  drawMarks(known) {
    const all = marks(this.row, known).map((mark) => [this.sentence(mark, known), mark.isError]);
    const remark = this.panel.services.remark(this.full);
    if (remark) all.push([remark, false]);
    const key = JSON.stringify(all);
    if (key === this.shownMarks) return;
    this.shownMarks = key;
    this.marks.hidden = !all.length;
    this.marks.replaceChildren(...all.map(([sentence, isError]) => tell(element("p", {
      className: isError ? "controlstack-error" : "controlstack-warning",
    }), sentence)));
  }

  sentence({ key, values }, { table }) {
    const { say, inputLabel } = this.panel.services;
    const net = table?.nets[this.full.net];
    return say(key, {
      ...values,
      ...(values.is ? { is: spokenFamily(net, say) } : {}),
      ...(values.field ? { field: inputLabel(values.field) } : {}),
    });
  }

  drawFolds(number, known) {
    const { say } = this.panel.services;
    const hasSettings = this.settings.count(this.full.method) > 0;
    const isOpen = { settings: hasSettings && this.isOpen("settings"), more: this.isOpen("more") };
    this.gear.disabled = !hasSettings;
    named(this.gear, say("rowSettings", { number }), { "aria-expanded": String(isOpen.settings) });
    named(this.more, say("rowMore", { number }), { "aria-expanded": String(isOpen.more) });
    this.more.textContent = isOpen.more ? "▾" : "▸";
    this.settings.element.hidden = !isOpen.settings;
    this.details.element.hidden = !isOpen.more;
    if (isOpen.settings) this.settings.draw(number);
    if (isOpen.more) this.details.draw(number, known);
  }
}
