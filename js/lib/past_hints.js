// The hints of a panel's rows among what ComfyUI ran before. Pure.

import { parse, read } from "./panel_rows.js";

// What makes a row's hint, as a text.
export const ofHint = ({ image, method, params, resolution }) =>
  JSON.stringify([image, method, params, resolution]);

// Whether a node of the expansion, "12.0.0.row.a1.hint", is a row's.
export const isNodeOf = (id, row, kind) =>
  typeof row === "string" && id.endsWith(`.row.${row}.${kind}`);

// A Map of rows to their pictures, as ComfyUI names files: of the rows that an earlier run had, in
// any panel, with the settings and the source that they have now. `history` is ComfyUI's, `prompt`
// what would run now, `id` the panel's name there.
export function pastHints(history, prompt, id) {
  const hints = new Map(), now = prompt[id], present = originsIn(prompt);
  const runs = Object.values(history).sort((one, other) => other.prompt[0] - one.prompt[0]);
  for (const { prompt: [, , before], outputs } of now ? runs : []) {
    const past = originsIn(before);
    for (const [name, then] of Object.entries(before)) {
      if (then.class_type !== now.class_type) continue;
      const rows = rowsOf(then), made = Object.entries(outputs ?? {}).filter(([one]) =>
        one.startsWith(`${name}.`));
      for (const row of rowsOf(now)) {
        const twin = rows.find((one) => one.id === row.id), socket = `images.image${row.image}`;
        if (hints.has(row.id) || !twin || ofHint(twin) !== ofHint(row)) continue;
        if (past(then.inputs[socket]) !== present(now.inputs[socket])) continue;
        const [, output] = made.find(([one]) => isNodeOf(one, row.id, "hint")) ?? [];
        if (output?.images?.[0]) hints.set(row.id, output.images[0]);
      }
    }
  }
  return hints;
}

function rowsOf({ inputs }) {
  try {
    return parse(String(inputs.rows ?? "")).rows.map(read);
  } catch {
    return [];
  }
}

// A function that tells what an input is made of, as a text: the nodes before it, without their
// names.
function originsIn(prompt) {
  const seen = new Map();
  const origin = (input) => {
    const [name, slot] = Array.isArray(input) ? input : [];
    const node = typeof name === "string" && Number.isInteger(slot) ? prompt[name] : undefined;
    if (!node) return JSON.stringify(input) ?? "";
    if (!seen.has(name)) {
      const inputs = Object.entries(node.inputs).map(([key, value]) => [key, origin(value)]);
      seen.set(name, JSON.stringify([node.class_type, inputs.sort()]));
    }
    return `${slot} of ${seen.get(name)}`;
  };
  return origin;
}
