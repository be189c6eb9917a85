// The settings of a row's preprocessor, behind a fold: a widget for each, as its declaration says.

import { element, setAttributes } from "./dom.js";
import { Choices, NumberInput } from "./panel_parts.js";

export class RowSettings {
  constructor(row) {
    this.row = row;
    this.element = element("div", { className: "controlstack-settings", hidden: true });
    this.shown = ""; // the method whose settings are drawn
    this.inputs = [];
  }

  settings(method) {
    return this.row.panel.services.catalogue()[method] ?? [];
  }

  count(method) {
    return this.settings(method).length;
  }

  get values() {
    const { params } = this.row.full;
    return typeof params === "object" && params !== null ? params : {};
  }

  write(name, value) {
    this.row.write({ params: { ...this.values, [name]: value } });
  }

  draw(number) {
    const { method } = this.row.full, settings = this.settings(method);
    if (method !== this.shown) {
      this.shown = method;
      this.inputs = settings.map((setting) => this.input(setting));
      this.element.replaceChildren(...this.inputs.map(({ row }) => row));
    }
    const { say, settingWords } = this.row.panel.services;
    for (const [index, setting] of settings.entries()) {
      const { words, draw, row } = this.inputs[index];
      const { label, tip } = settingWords(setting);
      words.textContent = label;
      setAttributes(row, { title: tip });
      const name = say("rowSetting", { number, field: label });
      draw(this.values[setting.name] ?? setting.default, name);
    }
  }

  // The widget of a setting: {row: its element, words, draw(value, label)}.
  input(setting) {
    const words = element("span");
    const { part, draw } = MAKERS[setting.kind]?.(this, setting) ?? text(this, setting);
    return { row: element("label", {}, words, part), words, draw };
  }
}

const settled = (settings, how) => settings.row.panel.settled(how);

function choices(settings, { name, choices: all }) {
  const list = new Choices((value) => {
    settings.write(name, value);
    settled(settings);
  });
  const pairs = all.map((choice) => [choice, String(choice)]);
  return { part: list.element, draw: (value, label) => list.draw(pairs, value, label) };
}

function number(settings, { name, kind, min, max, step }) {
  const write = (value) => settings.write(name, kind === "INT" ? Math.round(value) : value);
  const input = new NumberInput(write, (how) => settled(settings, how));
  const range = [min ?? -Infinity, max ?? Infinity, step ?? (kind === "INT" ? 1 : 0.01)];
  return { part: input.element, draw: (value, label) => input.draw(value, label, range) };
}

function toggle(settings, { name }) {
  const change = () => {
    settings.write(name, part.checked);
    settled(settings);
  };
  const part = element("input", { type: "checkbox", on: { change } });
  const draw = (value, label) => {
    part.checked = value === true;
    setAttributes(part, { "aria-label": label });
  };
  return { part, draw };
}

function text(settings, { name }) {
  const part = element("input", {
    type: "text", className: "controlstack-text",
    on: { input: () => settings.write(name, part.value), change: () => settled(settings) },
  });
  const draw = (value, label) => {
    const written = typeof value === "string" ? value : JSON.stringify(value) ?? "";
    if (part.value !== written) part.value = written;
    setAttributes(part, { "aria-label": label });
  };
  return { part, draw };
}

const MAKERS = { COMBO: choices, INT: number, FLOAT: number, BOOLEAN: toggle };
