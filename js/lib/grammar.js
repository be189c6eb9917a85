// The small texts that people type, and the error that names what does not parse: the grammar of
// control/grammar.py. tests/fixtures/grammar.json holds both to it.

export const ITEMS = /[,;]/g, WORDS = /[ \t\r\n]*[,;][ \t\r\n]*|[ \t\r\n]+/g;
const NUMBER = /^(([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?)([ \t\r\n]*%)?$/;
const LEFT = /^[ \t\r\n]+/, RIGHT = /[ \t\r\n]+$/;
const PLAIN = { "\u3000": " ", "\u3001": ",", "\u3002": "." };
// A text that parses, for each field.
export const EXAMPLES = {
  schedule: "0:1, 0.6:0", layers: "soft 0.825", frame_strength: "0:1, 8:0.5",
  union_type: "canny, depth:0.5",
};

export class TextError extends Error {
  constructor(field, text, position, expected) {
    const actual = strip(text.slice(position, position + 12)) || "the end of the text";
    super(`${field}: expected ${expected} at character ${position + 1}, found '${actual}'.`
      + ` Write for example '${EXAMPLES[field]}'.`);
    this.position = position;
  }
}

// Full-width characters as the plain ones; every character stays in its place.
export const plain = (text) => text
  .replace(/[\uff01-\uff5e]/g, (sign) => String.fromCharCode(sign.charCodeAt(0) - 0xfee0))
  .replace(/[\u3000-\u3002]/g, (sign) => PLAIN[sign]);

export const strip = (text) => text.replace(LEFT, "").replace(RIGHT, "");

// How many characters of white space a text begins with.
export const indent = (text) => text.length - text.replace(LEFT, "").length;

// Parts of `text` between separators, each with its position in the whole text (from `offset`).
export function split(text, separator = ITEMS, offset = 0) {
  const parts = [];
  let start = 0;
  const cuts = [...text.matchAll(separator)].map((match) => [match.index, match[0].length]);
  for (const [end, length] of [...cuts, [text.length, 0]]) {
    const part = text.slice(start, end);
    parts.push([strip(part), offset + start + indent(part)]);
    start = end + length;
  }
  return parts;
}

export const isNumber = (word) => NUMBER.test(strip(word));

// A number in [lowest, highest]; `50%` is 0.5.
export function number(field, word, text, position, lowest, highest) {
  const match = NUMBER.exec(strip(word));
  const value = match ? Number(match[1]) / (match[4] ? 100 : 1) : -1;
  if (!(lowest <= value && value <= highest)) {
    throw new TextError(field, text, position, `a number from ${lowest} to ${highest}`);
  }
  return value;
}

// A whole number in [0, highest].
export function wholeNumber(field, word, text, position, highest) {
  const digits = strip(word);
  if (!/^[0-9]{1,9}$/.test(digits) || Number(digits) > highest) {
    throw new TextError(field, text, position, `a whole number from 0 to ${highest}`);
  }
  return Number(digits);
}

// The shortest decimal without exponent that reads back as the same number.
export function show(value) {
  const [mantissa, exponent] = String(value).split("e-");
  if (exponent === undefined) return mantissa;
  return `0.${"0".repeat(Number(exponent) - 1)}${mantissa.replace(".", "")}`;
}

// The words that may stand in a place: "'a', 'b' or 'c'".
export function oneOf(words) {
  const quoted = words.map((word) => `'${word}'`);
  return quoted.length > 1 ? `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}` : quoted[0];
}
