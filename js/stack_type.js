// The type of a stack has a colour of its own, and its wires suggest our nodes where they are
// dropped. ComfyUI makes both tables from its palette and from the nodes; they are data, not code.

const TYPE = "CONTROL_STACK", COLOUR = "#e6a3ff";
const ADD = "ControlStackAdd", APPLY = "ControlStackApply", PREPROCESS = "ControlStackPreprocess";
// What the nodes dropped there can read (`out`: the wire comes from an output) or give (`in`).
const OUT = { [TYPE]: [APPLY, ADD], CONTROL_NET: [ADD], IMAGE: [PREPROCESS] };
const IN = { [TYPE]: [ADD], [`${TYPE},CONTROL_NET_STACK`]: [ADD] };

export class StackType {
  constructor(host) {
    this.host = host;
  }

  // Again after a palette was chosen: ComfyUI then clears the colours of types that it lacks.
  apply() {
    const { canvas } = this.host.app;
    for (const colours of [canvas?.default_connection_color_byType,
      globalThis.LGraphCanvas?.link_type_colors ?? canvas?.constructor?.link_type_colors]) {
      if (colours && !colours[TYPE]) colours[TYPE] = COLOUR;
    }
    for (const type of [TYPE, `${TYPE},CONTROL_NET_STACK`]) {
      const name = `--color-datatype-${type}`;
      const { style } = document.documentElement;
      if (!style.getPropertyValue(name)) style.setProperty(name, COLOUR);
    }
    suggest(globalThis.LiteGraph?.slot_types_default_out, OUT);
    suggest(globalThis.LiteGraph?.slot_types_default_in, IN);
    this.host.redraw();
  }
}

// Ours first where the type is ours, else last.
function suggest(table, nodes) {
  for (const [type, ours] of table ? Object.entries(nodes) : []) {
    const others = [table[type] ?? []].flat().filter((name) => !ours.includes(name));
    table[type] = type.startsWith(TYPE) ? [...ours, ...others] : [...others, ...ours];
  }
}
