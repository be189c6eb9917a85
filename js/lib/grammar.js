// The small texts that people type, and the error that names what does not parse: the grammar of
// control/grammar.py. tests/fixtures/grammar.json holds both to it.

const NUMBER = /^([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/;
const LEFT = /^[ \t\r\n]+/, RIGHT = /[ \t\r\n]+$/;

export class TextError extends Error {
  constructor(field, text, position, expected) {
    const actual = strip(text.slice(position, position + 12)) || "the end of the text";
    super(`${field}: expected ${expected} at character ${position + 1}, found '${actual}'`);
    this.position = position;
  }
}

export const strip = (text) => text.replace(LEFT, "").replace(RIGHT, "");

// How many characters of white space a text begins with.
export const indent = (text) => text.length - text.replace(LEFT, "").length;

// Parts of `text` between separators, each with its position in the whole text (from `offset`).
export function split(text, separator, offset = 0) {
  return text.split(separator).map((part) => {
    const start = offset + indent(part);
    offset += part.length + separator.length;
    return [strip(part), start];
  });
}

// A number in [lowest, highest].
export function number(field, word, text, position, lowest, highest) {
  const digits = strip(word), value = Number(digits);
  if (!NUMBER.test(digits) || !(lowest <= value && value <= highest)) {
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
