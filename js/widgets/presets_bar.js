// Presets of the panel: a list of the saved ones, and what can be done with them. `panel` is the
// PanelEditor; its services.presets keeps the files: {list(), read(name), save(name, text,
// {overwrite}), rename(old, name), remove(name)}, each a promise.

import * as panels from "../lib/panel_rows.js";
import { PresetError, problem, unusedName } from "../lib/preset_names.js";
import { element, keepChildren, option, tell } from "./dom.js";
import { Choices, button, named } from "./panel_parts.js";

const ALL = null; // of what is saved: all rows
const MOST_BYTES = 1_000_000; // of a file to import
// Button → its tooltip; the key of a button is what it does.
const ACTIONS = {
  presetOpen: "presetOpenTip", presetAdd: "presetAddTip", presetSave: "presetSaveTip",
  presetRename: "presetRenameTip", presetDelete: "presetDeleteTip",
  presetExport: "presetExportTip", presetImport: "presetImportTip",
};
export const WORDS_OF_PRESETS = Object.entries(ACTIONS).flat();

export class PresetsBar {
  constructor(panel) {
    this.panel = panel;
    this.names = [];
    this.what = ALL;
    this.written = ""; // the name that was typed
    this.asked = ""; // what a second press does
    this.build();
  }

  get presets() {
    return this.panel.services.presets;
  }

  build() {
    const { say } = this.panel.services;
    this.list = element("select", { on: { change: () => this.chosen() } });
    this.name = element("input", {
      type: "text", on: { input: () => { this.written = this.name.value; } },
    });
    this.whatList = new Choices((what) => { this.what = what; });
    this.buttons = Object.fromEntries(Object.entries(ACTIONS).map(([key, tip]) => {
      const act = button(say(key), () => this.act(key), "controlstack-wide");
      named(act, say(key), { title: say(tip) });
      return [key, act];
    }));
    this.file = element("input", {
      type: "file", accept: ".json,application/json", hidden: true,
      on: { change: () => this.run(() => this.import()) },
    });
    this.message = element("p", { attributes: { role: "status" } });
    const { presetOpen, presetAdd, presetDelete, presetExport, presetImport } = this.buttons;
    const { presetSave, presetRename } = this.buttons;
    const row = { className: "controlstack-row" };
    this.element = element("div", { className: "controlstack-presets", hidden: true },
      element("div", row, this.list, presetOpen, presetAdd, presetDelete, presetExport,
        presetImport, this.file),
      element("div", row, this.name, this.whatList.element, presetSave, presetRename),
      this.message);
    named(this.list, say("presetList"));
    named(this.name, say("presetName"), { placeholder: say("presetName") });
  }

  setOpen(isOpen) {
    const isNew = isOpen && this.element.hidden;
    this.element.hidden = !isOpen;
    if (!isOpen) return;
    if (isNew) this.load();
    const { say } = this.panel.services;
    const rows = this.panel.panel.rows.map((_, i) => [i, say("presetRow", { number: i + 1 })]);
    if (this.what !== ALL && this.what >= rows.length) this.what = ALL;
    this.whatList.draw([[ALL, say("presetAll")], ...rows], this.what, say("presetWhat"));
  }

  load() {
    return this.run(() => this.refresh());
  }

  async refresh(chosen = this.list.value) {
    const { say } = this.panel.services;
    this.names = await this.presets.list();
    const title = this.names.length ? say("presetChoose") : say("presetEmpty");
    keepChildren(this.list, 0);
    this.list.append(option(title, ""), ...this.names.map((name) => option(name, name)));
    this.list.value = this.names.includes(chosen) ? chosen : "";
  }

  chosen() {
    this.asked = "";
    this.write(this.list.value);
    this.tell("");
  }

  write(name) {
    this.written = name;
    this.name.value = name;
  }

  restore() {
    this.name.value = this.written;
  }

  tell(text, isError = false) {
    tell(this.message, text);
    this.message.className = isError ? "controlstack-error" : "";
    this.panel.resizing(() => this.panel.measure());
  }

  act(key) {
    const steps = {
      presetOpen: () => this.use(true), presetAdd: () => this.use(false),
      presetSave: () => this.save(), presetRename: () => this.rename(),
      presetDelete: () => this.remove(), presetExport: () => this.export(),
      presetImport: () => this.file.click(),
    };
    return this.run(steps[key]);
  }

  // What went wrong is said in a sentence; it is never thrown at the page.
  async run(step) {
    const { say } = this.panel.services;
    try {
      const sentence = await step();
      if (sentence) this.tell(say(sentence.key, sentence.values));
    } catch (error) {
      if (!(error instanceof PresetError)) throw error;
      this.tell(say(error.key, error.values), true);
    }
  }

  get choice() {
    if (!this.list.value) throw new PresetError("presetNoChoice");
    return this.list.value;
  }

  get typed() {
    const name = this.name.value.trim(), wrong = problem(name);
    if (wrong) throw new PresetError(wrong, { name });
    return name;
  }

  // Whether this was asked before; else the question is put.
  isSure(key, name) {
    const isSure = this.asked === `${key} ${name}`;
    this.asked = isSure ? "" : `${key} ${name}`;
    return isSure;
  }

  // The panel of a text; says which preset is none.
  parse(text, name) {
    try {
      return panels.parse(text);
    } catch {
      throw new PresetError("presetNotPanel", { name });
    }
  }

  // -- what the buttons do ------------------------------------------------------------------------

  async use(isWhole) {
    const name = this.choice, preset = this.parse(await this.presets.read(name), name);
    const { panel } = this;
    panel.act(isWhole || panel.problem ? panels.withIds(preset)
      : panels.appended(panel.panel, preset.rows));
    const gone = panels.filesThatAreGone(preset.rows, panel.services.known().table);
    if (gone.length) {
      const files = gone.map((file) => `'${file}'`).join(", ");
      throw new PresetError("presetFilesGone", { files });
    }
    return { key: isWhole ? "presetOpened" : "presetAdded", values: { name } };
  }

  async save() {
    const name = this.typed, { panel } = this.panel;
    const isThere = this.names.includes(name);
    if (isThere && !this.isSure("save", name)) return { key: "presetExists", values: { name } };
    const rows = this.what === ALL ? panel.rows : [panel.rows[this.what]];
    await this.presets.save(name, panels.format({ ...panel, rows }), { overwrite: isThere });
    await this.refresh(name);
    return { key: "presetSaved", values: { name } };
  }

  async rename() {
    const old = this.choice, name = this.typed;
    if (this.names.includes(name)) throw new PresetError("presetTaken", { name });
    await this.presets.rename(old, name);
    await this.refresh(name);
    return { key: "presetRenamed", values: { old, name } };
  }

  async remove() {
    const name = this.choice;
    if (!this.isSure("remove", name)) return { key: "presetSure", values: { name } };
    await this.presets.remove(name);
    await this.refresh("");
    return { key: "presetDeleted", values: { name } };
  }

  async export() {
    const name = this.choice, text = await this.presets.read(name);
    const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    element("a", { href, download: `${name}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(href));
    return null;
  }

  async import() {
    const [file] = this.file.files;
    if (!file) return null;
    const text = file.size > MOST_BYTES ? "" : await file.text();
    this.file.value = "";
    if (!text.trim()) throw new PresetError("presetNotPanel", { name: file.name });
    const preset = this.parse(text, file.name);
    await this.refresh();
    const name = unusedName(file.name, this.names);
    await this.presets.save(name, panels.format(preset), { overwrite: false });
    await this.refresh(name);
    this.write(name);
    return { key: "presetImported", values: { name } };
  }
}
