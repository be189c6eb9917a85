// Strength over depth: the text form, read and written as control/layers.py does, and the weight of each block.
// A profile is {kind: "" or one of KINDS, values: soft's base, linear's ends, or the weights of blocks}.

import { TextError, indent, number, show, split, strip } from "./text.js";

export const HIGHEST = 10;
const SOFT_BASE = 0.825, SOFT_DEPTH = 13;
const BLOCKS_A_LEVEL = 3; // a UNet of SD or SDXL halves its resolution after every third skip connection

export const PRESETS = [
  ["all the same", ""],
  ["soft (guess mode)", "soft 0.825"],
  ["details", "linear 1..0"],
  ["composition", "linear 0..1"],
  ["by resolution", "resolution"],
];

// What follows each kind: (rest, text, position) to values.
const READERS = {
  soft: (rest, text, at) => [strip(rest) ? number("layers", rest, text, at + indent(rest), 0, 1) : SOFT_BASE],
  linear: (rest, text, at) => {
    const ends = split(rest, "..", at);
    if (ends.length === 2) return ends.map(([word, p]) => number("layers", word, text, p, 0, HIGHEST));
    throw new TextError("layers", text, ends[0][1], "two weights 'a..b', for the first block and the middle");
  },
  blocks: (rest, text, at) => split(rest, ",", at).map(([word, p]) => number("layers", word, text, p, 0, HIGHEST)),
  resolution: (rest, text, at) => {
    if (!strip(rest)) return [];
    throw new TextError("layers", text, at + indent(rest), "nothing after 'resolution'");
  },
};

// Reads a profile; throws TextError naming the position of what does not parse.
export function parse(text) {
  const start = indent(text);
  const words = text.slice(start).replace(/[\t\r\n]/g, " ");
  const kind = words.split(" ", 1)[0];
  if (!kind) return { kind: "", values: [] };
  if (!Object.hasOwn(READERS, kind)) {
    throw new TextError("layers", text, start, "'soft', 'linear', 'blocks' or 'resolution'");
  }
  return { kind, values: READERS[kind](words.slice(kind.length + 1), text, start + kind.length + 1) };
}

// The text of a profile: parse(form(l)) equals l.
export function form({ kind, values }) {
  return `${kind} ${values.map(show).join(kind === "linear" ? ".." : ", ")}`.trim();
}

// One weight for each of `count` residuals, input to middle; heights are those of SD and SDXL.
export function weights({ kind, values }, count) {
  const each = (weigh) => Array.from({ length: count }, (_, i) => weigh(i));
  if (kind === "soft") return each((i) => values[0] ** (Math.max(SOFT_DEPTH, count) - 1 - i));
  if (kind === "resolution") return each((i) => 2 ** Math.floor(Math.min(i, Math.max(count - 2, 0)) / BLOCKS_A_LEVEL));
  if (kind === "linear" || kind === "blocks") return each((i) => stretched(values, i, count));
  return each(() => 1);
}

// Value at depth i of `count` when `values` are spread evenly from input to middle.
function stretched(values, i, count) {
  const depth = count > 1 ? (i * (values.length - 1)) / (count - 1) : 0;
  const low = Math.min(Math.floor(depth), values.length - 1), high = Math.min(low + 1, values.length - 1);
  return values[low] + (values[high] - values[low]) * (depth - low);
}
