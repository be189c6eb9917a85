// Strength over depth: the text form, read and written as control/layers.py does, and the weight of
// each block. A layers value is {kind: "" or a key of PROFILES, values: as its row reads them}.

import {
  TextError, WORDS, indent, isNumber, number, oneOf, plain, show, split, strip,
} from "./grammar.js";

export const HIGHEST = 10;
const ENDS = /\.\./g;
const SOFT_BASE = 0.825, SOFT_DEPTH = 13;
const SOFT_FEATURES = [0.25, 0.62, 0.825, 1]; // A1111's for T2I-Adapters, shallow to deep
// A UNet of SD or SDXL halves its resolution after every third skip connection.
const BLOCKS_PER_LEVEL = 3;

export const PRESETS = [
  ["all the same", ""],
  ["soft (guess mode)", "soft 0.825"],
  ["details", "linear 1..0"],
  ["composition", "linear 0..1"],
  ["by resolution", "resolution"],
];

// The twin of PROFILES in control/layers.py, a row for each kind.
//   parse(rest, text, at): what follows the kind, the whole text, the position there → values
//   weights(values, count): one weight for each of `count` residuals, input to middle
//   features, spread: the same for a T2I-Adapter's features, and for a transformer's net
//   toText(values): what follows the kind
export const PROFILES = {
  soft: {
    parse: readBase, weights: soft, features: softFeatures, spread: softSpread,
    toText: joined(", "),
  },
  linear: { parse: readEnds, weights: stretched, toText: joined("..") },
  blocks: { parse: readBlocks, weights: stretched, toText: joined(", ") },
  resolution: {
    parse: readNothing, weights: byResolution, features: byFeature, spread: alike,
    toText: joined(", "),
  },
};

// Reads a profile; throws TextError naming the position of what does not parse.
export function parse(written) {
  const text = plain(written), start = indent(text);
  const words = text.slice(start).replace(/[\t\r\n]/g, " ");
  const kind = words.split(" ", 1)[0];
  if (!kind) return { kind: "", values: [] };
  if (/^[0-9.]/.test(words)) {
    const numbers = kindOfNumbers(words);
    return { kind: numbers, values: PROFILES[numbers].parse(words, text, start) };
  }
  if (!Object.hasOwn(PROFILES, kind)) {
    throw new TextError("layers", text, start, oneOf(Object.keys(PROFILES)));
  }
  const rest = words.slice(kind.length + 1);
  return { kind, values: PROFILES[kind].parse(rest, text, start + kind.length + 1) };
}

// Writes a profile: parse(toText(layers)) equals layers.
export function toText({ kind, values }) {
  return kind ? `${kind} ${PROFILES[kind].toText(values)}`.trim() : "";
}

// One weight for each of `count` blocks, shallow to deep; heights are those of SD and SDXL.
// `depth`: how the blocks lie, as the server says: "unet", "features" or "spread".
export function weights({ kind, values }, count, depth = "unet") {
  if (!kind) return times(count, () => 1);
  return (PROFILES[kind][depth] ?? PROFILES[kind].weights)(values, count);
}

// -- reading and writing --------------------------------------------------------------------------

// Which kind numbers without one are.
function kindOfNumbers(words) {
  if (words.search(ENDS) >= 0) return "linear";
  return isNumber(words) ? "soft" : "blocks";
}

function readBase(rest, text, at) {
  return [strip(rest) ? number("layers", rest, text, at + indent(rest), 0, 1) : SOFT_BASE];
}

function readEnds(rest, text, at) {
  const ends = split(rest, ENDS, at);
  if (ends.length !== 2) {
    const expected = "two weights 'a..b', for the first block and the middle";
    throw new TextError("layers", text, ends[0][1], expected);
  }
  return ends.map(([word, p]) => number("layers", word, text, p, 0, HIGHEST));
}

function readBlocks(rest, text, at) {
  return split(strip(rest), WORDS, at + indent(rest))
    .map(([word, p]) => number("layers", word, text, p, 0, HIGHEST));
}

function readNothing(rest, text, at) {
  if (!strip(rest)) return [];
  throw new TextError("layers", text, at + indent(rest), "nothing after 'resolution'");
}

function joined(separator) {
  return (values) => values.map(show).join(separator);
}

// -- weights --------------------------------------------------------------------------------------

function times(count, weigh) {
  return Array.from({ length: count }, (_, i) => weigh(i));
}

function soft([base], count) {
  const deepest = Math.max(SOFT_DEPTH, count) - 1;
  return times(count, (i) => base ** (deepest - i));
}

function softFeatures([base], count) {
  if (count !== SOFT_FEATURES.length) return soft([base], count);
  return SOFT_FEATURES.map((weight) => base ** (Math.log(weight) / Math.log(SOFT_BASE)));
}

// The exponents of 13 blocks, 12 to 0, spread evenly.
function softSpread([base], count) {
  if (count === 1) return [1];
  return times(count, (i) => base ** ((SOFT_DEPTH - 1) * (1 - i / (count - 1))));
}

// A transformer's blocks have one resolution.
function alike(_values, count) {
  return times(count, () => 1);
}

function byFeature(_values, count) {
  return times(count, (i) => 2 ** i);
}

// The values spread evenly from input to middle, and straight lines between them.
function stretched(values, count) {
  const last = values.length - 1;
  return times(count, (i) => {
    const depth = count > 1 ? (i * last) / (count - 1) : 0;
    const low = Math.min(Math.floor(depth), last), high = Math.min(low + 1, last);
    return values[low] + (values[high] - values[low]) * (depth - low);
  });
}

function byResolution(_values, count) {
  const lastLevel = Math.max(count - 2, 0); // the middle block has the size of the last skip
  return times(count, (i) => 2 ** Math.floor(Math.min(i, lastLevel) / BLOCKS_PER_LEVEL));
}
