// What a row has behind its second fold: schedule, layers and union type in the fields that Add
// ControlNet has, and the hint's size, its fit and the masks. The fields are made when the fold is
// first opened.

import { EXAMPLES } from "../lib/grammar.js";
import { RANGES } from "../lib/panel_rows.js";
import { layersField } from "./bars_editor.js";
import { scheduleField } from "./curve_editor.js";
import { element } from "./dom.js";
import { Choices, NumberInput, sockets } from "./panel_parts.js";
import { unionField } from "./union_editor.js";

const MAKERS = { schedule: scheduleField, layers: layersField, union_type: unionField };

export class RowDetails {
  constructor(row) {
    this.row = row;
    this.element = element("div", { className: "controlstack-details", hidden: true });
    this.fields = null;
  }

  build() {
    const { row } = this, { say } = row.panel.services;
    const choose = (name) => new Choices((value) => row.choose({ [name]: value }));
    this.fit = choose("fit");
    this.effect = choose("effect_mask");
    this.inpaint = choose("inpaint_mask");
    this.resolution = new NumberInput(
      (value) => row.write({ resolution: Math.round(value) }), (how) => row.panel.settled(how));
    const line = { className: "controlstack-row" };
    const words = (text, part) => element("label", {}, text, part);
    this.fields = Object.entries(MAKERS).map(([name, make]) => [name, make(this.services(name))]);
    this.element.replaceChildren(
      element("div", line, words(say("resolutionWord"), this.resolution.element),
        words(say("fitWord"), this.fit.element)),
      element("div", line, words(say("effectMaskWord"), this.effect.element),
        words(say("inpaintMaskWord"), this.inpaint.element)),
      ...this.fields.map(([, field]) => field.element));
  }

  // What a field of the row is offered; see Field.
  services(name) {
    const { row } = this, { panel } = row, { services } = panel;
    const key = () => `${row.key}.${name}`;
    return {
      label: () => services.inputLabel(name),
      example: EXAMPLES[name],
      say: services.say,
      translated: services.translated,
      isWired: () => false,
      changed: () => row.write({ [name]: this.field(name).text }),
      settled: (how) => panel.settled(how),
      resized: () => panel.resizing(() => panel.measure()),
      setOpen: (open) => services.setOpen(key(), open),
      forward: () => {},
      steps: services.steps,
      blocks: () => services.blocks(row.full.net),
      depth: () => services.depth(row.full.net),
      union: () => services.union(row.full.net),
      range: () => [row.full.start, row.full.end],
    };
  }

  field(name) {
    return this.fields.find(([one]) => one === name)[1];
  }

  draw(number, { fits, masks }) {
    if (!this.fields) this.build();
    const { row } = this, { full } = row, { say, isOpen } = row.panel.services;
    this.resolution.draw(full.resolution, say("rowResolution", { number }), RANGES.resolution);
    this.fit.draw(fits.map((fit) => [fit, fit]), full.fit, say("rowFit", { number }));
    const all = [[null, say("noMask")], ...sockets(say, "mask", masks)];
    this.effect.draw(all, full.effect_mask, say("rowEffectMask", { number }));
    this.inpaint.draw(all, full.inpaint_mask, say("rowInpaintMask", { number }));
    for (const [name, field] of this.fields) {
      const open = isOpen(`${row.key}.${name}`) && field.bodyHeight > 0;
      field.setText(full[name]);
      if (field.open === open) field.draw();
      else field.setOpen(open);
    }
  }
}
