// A drawing of Draw Scribble as strokes, and its text form, in the words of
// preprocessors/strokes.py; both read tests/fixtures/drawings.json. No DOM.
//
// A drawing is {width, height, strokes}; a stroke {tool, size, points}, where points are
// [x, y, pressure, ...] in units of the canvas. A fill has no size.

const VERSION = 1;
export const LEAST_SIDE = 64, MOST_SIDE = 8192, LEAST_SIZE = 0.1, MOST_SIZE = 1024;
const MOST_STROKES = 10_000, MOST_POINTS = 200_000, MOST_CHARACTERS = 4 << 20;
const REACH = 2; // how many canvases a point may lie from the upper left corner
const COUNTS = { brush: [1, MOST_POINTS], eraser: [1, MOST_POINTS], line: [2, 2], fill: [1, 1] };
const OF_POINT = ["x", "y", "pressure"];
const SUFFIX = ".json";

export class DrawingError extends Error {}

// The drawing of a text; throws DrawingError with a sentence for every other text.
export function parse(text) {
  if (text.length > MOST_CHARACTERS) {
    fail(`the drawing has ${grouped(text.length)} characters: expected at most`
      + ` ${grouped(MOST_CHARACTERS)}. Draw fewer strokes, or spread them over two canvases.`);
  }
  return read(parsedJson(text));
}

function fail(sentence) {
  throw new DrawingError(sentence);
}

function parsedJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return fail("the drawing is damaged: expected JSON with strokes. Draw it again, or choose"
      + " another.");
  }
}

const isTable = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const grouped = (count) => count.toLocaleString("en-US");

function read(content) {
  if (!isTable(content) || !Object.hasOwn(content, "strokes")) {
    fail("this is not a drawing: expected a JSON object with v, width, height and strokes. Draw it"
      + " again, or choose another.");
  }
  const { v, width, height, strokes } = content;
  if (v !== VERSION) {
    fail(`the drawing has version ${short(v)}: expected ${VERSION}. Update ControlStack.`);
  }
  refuseUnknown(content, ["v", "width", "height", "strokes"], "the drawing: ");
  refuseSide("width", width);
  refuseSide("height", height);
  return { width, height, strokes: readStrokes(strokes, [width, height]) };
}

function readStrokes(rows, canvas) {
  if (!Array.isArray(rows)) {
    fail(`the drawing's strokes: expected a list, found ${short(rows)}.`);
  }
  const problem = excess(rows.length, 0);
  if (problem) fail(problem);
  rows.forEach((row, index) => {
    const wrong = problemOf(row, canvas);
    if (wrong) fail(`stroke ${index + 1} of the drawing: ${wrong}`);
  });
  const tooMany = excess(rows.length, pointsOf(rows));
  if (tooMany) fail(tooMany);
  return rows;
}

const pointsOf = (strokes) => (
  strokes.reduce((sum, { points }) => sum + points.length / OF_POINT.length, 0));

// What is too much, as a sentence, or "".
function excess(strokes, points) {
  if (strokes > MOST_STROKES) {
    return `the drawing has ${grouped(strokes)} strokes: expected at most`
      + ` ${grouped(MOST_STROKES)}. Spread them over two canvases.`;
  }
  if (points > MOST_POINTS) {
    return `the drawing has ${grouped(points)} points: expected at most ${grouped(MOST_POINTS)}.`
      + " Spread its strokes over two canvases.";
  }
  return "";
}

function refuseSide(name, value) {
  if (Number.isInteger(value) && value >= LEAST_SIDE && value <= MOST_SIDE) return;
  fail(`the drawing's ${name}: expected a whole number from ${LEAST_SIDE} to ${MOST_SIDE}, found`
    + ` ${short(value)}.`);
}

// What is wrong with a stroke, as a sentence, or "".
function problemOf(row, canvas) {
  if (!isTable(row)) return `expected an object, found ${short(row)}.`;
  const { tool, size, points } = row;
  if (typeof tool !== "string" || !Object.hasOwn(COUNTS, tool)) {
    return `expected the tool brush, eraser, line or fill, found ${short(tool)}. Update`
      + " ControlStack, or draw it again.";
  }
  const names = tool === "fill" ? ["tool", "points"] : ["tool", "size", "points"];
  const sized = () => (tool === "fill" ? "" : outside("size", size, LEAST_SIZE, MOST_SIZE));
  return unknownOf(row, names) || sized() || problemOfPoints(tool, points, canvas);
}

function problemOfPoints(tool, value, canvas) {
  const [least, most] = COUNTS[tool], numbers = Array.isArray(value) ? value : [];
  const count = numbers.length / OF_POINT.length;
  if (!Number.isInteger(count) || count < least || count > most) {
    const expected = least === most ? `${least}` : `${grouped(least)} to ${grouped(most)}`;
    return `expected ${expected} points, each as x, y and pressure, found`
      + ` ${grouped(numbers.length)} numbers.`;
  }
  const limits = [...canvas.map((side) => [-REACH * side, REACH * side]), [0, 1]];
  for (const [index, number] of numbers.entries()) {
    const place = index % OF_POINT.length;
    const wrong = outside(OF_POINT[place], number, ...limits[place]);
    if (wrong) return wrong;
  }
  return "";
}

function outside(name, value, low, high) {
  if (typeof value === "number" && value >= low && value <= high) return "";
  return `expected ${name} from ${low} to ${high}, found ${short(value)}.`;
}

function unknownOf(table, names) {
  const unknown = Object.keys(table).find((name) => !names.includes(name));
  if (unknown === undefined) return "";
  return `expected ${names.join(", ")}, found ${short(unknown)}. Update ControlStack, or draw it`
    + " again.";
}

function refuseUnknown(table, names, where) {
  const wrong = unknownOf(table, names);
  if (wrong) fail(where + wrong);
}

function short(value = null) {
  const text = JSON.stringify(value);
  return text.length <= 60 ? text : `${text.slice(0, 60)}…`;
}

// -- writing --------------------------------------------------------------------------------------

// The text of a drawing; "" for one without strokes. Throws DrawingError for too many of them.
export function toText({ width, height, strokes }) {
  if (!strokes.length) return "";
  const problem = excess(strokes.length, pointsOf(strokes));
  const text = JSON.stringify({ v: VERSION, width, height, strokes });
  if (problem) fail(problem);
  if (text.length > MOST_CHARACTERS) {
    fail(`the drawing has ${grouped(text.length)} characters: expected at most`
      + ` ${grouped(MOST_CHARACTERS)}. Draw fewer strokes, or spread them over two canvases.`);
  }
  return text;
}

export const nameOf = (digest) => digest + SUFFIX;

// Whether a widget's value is a drawing itself, and not the name of one.
export const isInline = (value) => value.trimStart().startsWith("{");

const LEAST_PRESSURE = 0.1;

// How broad a pointer draws, 0..1: a pen by its pressure; mouse and finger draw at full width.
export function pressureOf({ pointerType, pressure }) {
  if (pointerType !== "pen") return 1;
  return hundredths(LEAST_PRESSURE + (1 - LEAST_PRESSURE) * Math.min(1, Math.max(0, pressure)));
}

const hundredths = (value) => Math.round(value * 100) / 100;
const tenths = (value) => Math.round(value * 10) / 10;

// The points of a stroke while it is drawn. Smoothing (0..1) lets the line follow the pointer as
// on a string; points nearer than half a unit to the one before are left out.
export class Pen {
  constructor({ tool, size, smoothing = 0, canvas }) {
    this.stroke = { tool, size: tenths(size), points: [] };
    this.follow = 1 - 0.9 * Math.min(1, Math.max(0, smoothing));
    this.canvas = canvas; // {width, height}
    this.at = null;
  }

  // Takes a position of the pointer; returns whether the stroke is longer than before.
  move(x, y, pressure = 1) {
    const target = [x, y, pressure];
    this.at = this.at?.map((value, i) => value + (target[i] - value) * this.follow) ?? target;
    return this.add(this.at);
  }

  // The pointer is lifted: the line ends where it is.
  end(x, y, pressure = 1) {
    this.at = [x, y, pressure];
    return this.add(this.at);
  }

  add([x, y, pressure]) {
    const { width, height } = this.canvas, { points } = this.stroke;
    const point = [inside(x, width), inside(y, height), hundredths(pressure)];
    const [beforeX, beforeY] = points.slice(-OF_POINT.length);
    if (points.length && Math.hypot(point[0] - beforeX, point[1] - beforeY) < 0.5) return false;
    points.push(...point);
    return true;
  }
}

const inside = (value, side) => tenths(Math.min(REACH * side, Math.max(-REACH * side, value)));

// A straight line between two places; with `isEven` its angle is a multiple of 15 degrees.
export function lineTo(stroke, [x, y], canvas, isEven = false) {
  const [fromX, fromY] = stroke.points, [dx, dy] = [x - fromX, y - fromY];
  const length = Math.hypot(dx, dy), part = Math.PI / 12;
  const angle = isEven ? Math.round(Math.atan2(dy, dx) / part) * part : Math.atan2(dy, dx);
  const end = [fromX + Math.cos(angle) * length, fromY + Math.sin(angle) * length];
  const last = [inside(end[0], canvas.width), inside(end[1], canvas.height), 1];
  return { ...stroke, points: [...stroke.points.slice(0, OF_POINT.length), ...last] };
}

// -- undo -----------------------------------------------------------------------------------------

const MOST_STEPS = 500;

// The values that a canvas had, and which of them it has now. Undo of the page moves in it too.
export class History {
  constructor() {
    this.values = [""];
    this.index = 0;
  }

  // A new value: what was undone before is forgotten.
  push(value) {
    if (value === this.values[this.index]) return;
    this.values = [...this.values.slice(0, this.index + 1), value].slice(-MOST_STEPS);
    this.index = this.values.length - 1;
  }

  // A value from outside: one of the past or future, nearest first, or a beginning of its own.
  visit(value) {
    const places = this.values.flatMap((one, i) => (one === value ? [i] : []));
    const distance = (i) => Math.abs(i - this.index);
    if (places.length) this.index = places.sort((a, b) => distance(a) - distance(b))[0];
    else [this.values, this.index] = [[value], 0];
  }

  // The value one step back (-1) or forward (1), or null.
  step(by) {
    const value = this.values[this.index + by];
    if (value === undefined) return null;
    this.index += by;
    return value;
  }

  can(by) {
    return this.values[this.index + by] !== undefined;
  }
}
