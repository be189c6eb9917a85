// The union type as a text, with a list of the types that the connected net has, or of all types
// where the net is not known.

import { AUTO, choices, isAuto, problem } from "../lib/unions.js";
import { element, option, setAttributes } from "./dom.js";
import { Field } from "./field.js";

// `services` as Field's, and union(): as lib/unions.js takes it.
export function unionField(services) {
  const makeEditor = (field) => new UnionEditor(field, services);
  return new Field(services, { bodyHeight: 0, makeEditor });
}

class UnionEditor {
  constructor(field, services) {
    this.field = field;
    this.services = services;
    this.parts = [];
    this.note = element("span", { className: "controlstack-note" });
    const choose = () => {
      const text = this.list.value;
      this.list.selectedIndex = 0;
      field.edit(text);
      services.settled();
    };
    this.list = element("select", { className: "controlstack-choices", on: { change: choose } });
    this.tools = [this.note, this.list];
    this.shown = "";
  }

  check(text) {
    return problem(text, this.services.union());
  }

  draw() {
    const { say, union } = this.services, { own, all, net } = union();
    const isIdle = own?.length === 0;
    // Beside a text that the net cannot take there is a sentence, and the text needs the room.
    this.note.textContent = isIdle && isAuto(this.field.text) ? say("noTypeNeeded") : "";
    this.note.title = isIdle ? say("noTypeNeededTip", { net }) : "";
    const label = say("typesOf", { field: this.services.label() });
    setAttributes(this.list, { "aria-label": label, title: label });
    this.list.hidden = isIdle || !(own ?? all)?.length;
    this.list.disabled = this.services.isWired();
    this.fill(choices(this.field.text, union()), own ? "" : say("typesOfAll"));
  }

  // Lists the types; made anew only where they differ, because the list may be open.
  fill({ types, more }, group) {
    const key = JSON.stringify([types, more, group]);
    if (key === this.shown) return;
    this.shown = key;
    const { say } = this.services;
    const plainOptions = [AUTO, ...types].map((name) => option(name, name));
    const title = Object.assign(option("▾", ""), { hidden: true });
    const inGroup = (label, list) => element("optgroup", { label }, ...list);
    this.list.replaceChildren(title,
      ...(group ? [inGroup(group, plainOptions)] : plainOptions),
      ...(more.length ? [inGroup(say("typesMore"), more.map((text) => option(text, text)))] : []));
  }
}
