// The types that a union ControlNet is asked for: the text form, read as control/unions.py does,
// and what the connected net can take of it.

import { TextError, number, plain, split, strip } from "./grammar.js";

export const AUTO = "auto";
const FIELD = "union_type";
const ALIASES = { pose: "openpose" };

// Every word by which a type can be named → its name; "a/b" can be given by each part. Of a word
// that several names have, the last name counts.
function wordsOf(names) {
  const words = new Map(names.flatMap((name) =>
    [name, ...name.split("/")].map((word) => [word, name])));
  for (const [alias, word] of Object.entries(ALIASES)) {
    if (words.has(word) && !words.has(alias)) words.set(alias, words.get(word));
  }
  return words;
}

export const isAuto = (text) => ["", AUTO].includes(strip(plain(text)));

// Reads `canny, depth:0.5` as [{name, weight}]; none for "auto". Throws TextError for a name that
// is not among `names`, a weight outside 0 to 10, or a single type with a weight. `own`: the types
// of the net that is asked; its words count where other nets use them too, and errors name only
// these.
export function parse(written, names, own = []) {
  const text = plain(written);
  if (isAuto(text)) return [];
  const words = new Map([...wordsOf(names), ...wordsOf(own)]);
  const types = split(text).map(([word, at]) => {
    const cut = word.indexOf(":"), name = cut < 0 ? word : word.slice(0, cut);
    if (!words.has(strip(name))) {
      const offered = own.length ? wordsOf(own) : words;
      const expected = `'auto' or one of ${[...offered.keys()].sort().join(", ")}`;
      throw new TextError(FIELD, text, at, expected);
    }
    const weight = cut < 0 ? 1 : number(FIELD, word.slice(cut + 1), text, at + cut + 1, 0, 10);
    return { name: words.get(strip(name)), weight };
  });
  if (types.length === 1 && types[0].weight !== 1) {
    throw new TextError(FIELD, text, 0, "a single type without a weight (use strength)");
  }
  return types;
}

// What is wrong with a text, in the server's words, or "". `union`: {all: the types of every net,
// or null; own: those of the connected net, null where it is not known; fuses: whether it takes
// several at once; net: how sentences name it}.
export function problem(text, { all, own, fuses, net }) {
  if (!all) return "";
  try {
    const types = parse(text, all, own ?? []);
    return own ? refusal(text, types, { own, fuses, net }) : "";
  } catch (error) {
    return error.message;
  }
}

function refusal(text, types, { own, fuses, net }) {
  if (!types.length) return "";
  if (!own.length) {
    return `${net} has no union types to choose from: leave union_type at 'auto'. It was trained on`
      + " one kind of hint, or tells kinds apart by the picture alone.";
  }
  const other = types.find(({ name }) => !own.includes(name));
  if (other) {
    return `${net} has no type '${other.name}': choose 'auto' or one of ${own.join(", ")}`;
  }
  if (types.length === 1 || fuses) return "";
  return `${net} takes one type at a time, found '${strip(plain(text))}': choose one, and add the`
    + " net once more for each of the others";
}

// What the list offers for a text: {types, more}. `more` are texts with one type added, where the
// net takes several.
export function choices(text, { all, own, fuses }) {
  const types = own ?? all ?? [];
  const named = isAuto(text) ? [] : chosen(text, types);
  const others = types.filter((name) => !named.includes(name));
  const more = named.length && (own === null || fuses)
    ? others.map((name) => `${strip(text)}, ${name}`) : [];
  return { types, more };
}

function chosen(text, types) {
  try {
    return parse(text, types).map(({ name }) => name);
  } catch {
    return [];
  }
}
