// Strength over time: the text form, read and written as control/schedule.py does, and its curve.
// A schedule is {points: [{at, unit, strength}], interpolation}, its points in the order of their
// text; no points mean a constant 1. `unit` is "percent" (a fraction of sampling), "step" (of the
// sampler) or "frame".

import {
  TextError, indent, isNumber, number, oneOf, plain, show, split, strip, wholeNumber,
} from "./grammar.js";

const STRENGTHS = [0, 10];
const HIGHEST_STEP = 10_000, HIGHEST_FRAME = 1_000_000;
const JUMP = 1e-9; // points closer than this are a jump, not a slope

export const PRESETS = [
  ["constant", ""],
  ["fade in", "0:0, 1:1"],
  ["fade out", "0:1, 1:0"],
  ["early", "0:1, 0.4:1, 0.6:0"],
  ["late", "0.4:0, 0.6:1, 1:1"],
  ["bell", "0:0, 0.5:1, 1:0 | smooth"],
  ["step", "0:1, 0.5:0 | step"],
];

// The twin of INTERPOLATIONS in control/schedule.py, a row for each. A row takes the points'
// positions and strengths and gives (i, u) → strength: at the fraction u of the way from point i to
// the next.
export const INTERPOLATIONS = {
  linear: (xs, ys) => (i, u) => ys[i] + (ys[i + 1] - ys[i]) * u,
  smooth,
  step: (xs, ys) => (i) => ys[i],
};

function smooth(xs, ys) {
  const slopes = monotoneSlopes(xs, ys);
  return (i, u) => {
    const width = xs[i + 1] - xs[i], rise = ys[i + 1] - ys[i];
    const m0 = slopes[i] * width, m1 = slopes[i + 1] * width;
    return ys[i] + u * (m0 + u * (3 * rise - 2 * m0 - m1 + u * (m0 + m1 - 2 * rise)));
  };
}

// Reads a schedule over sampling; throws TextError naming the position of what does not parse.
export const parse = (text) => parsed("schedule", text, samplingPosition);

// Reads a schedule over frame numbers.
export const parseFrames = (text) => parsed("frame_strength", text, framePosition);

// Writes a schedule: parse(toText(schedule)) equals schedule.
export function toText({ points, interpolation }) {
  const pairs = points.map(({ at, unit, strength }) =>
    `${show(at)}${unit === "step" ? "s" : ""}:${show(strength)}`);
  const isPlain = interpolation === "linear" || !points.length;
  return pairs.join(", ") + (isPlain ? "" : ` | ${interpolation}`);
}

// The schedule with every step at its position in sampling (`fractionOf(step)`), points in order.
export function placed({ points, interpolation }, fractionOf) {
  const inSampling = points.map((point) =>
    point.unit === "step" ? { ...point, at: fractionOf(point.at), unit: "percent" } : point);
  return { points: inSampling.toSorted((a, b) => a.at - b.at), interpolation };
}

// The strength as a function of position. Steps must be placed.
export function curve({ points, interpolation }) {
  if (!points.length) return () => 1;
  const xs = points.map((point) => point.at), ys = points.map((point) => point.strength);
  const between = INTERPOLATIONS[interpolation](xs, ys);
  return (x) => {
    const next = xs.findIndex((other) => other > x);
    if (next === 0) return ys[0];
    if (next < 0) return ys.at(-1);
    return between(next - 1, (x - xs[next - 1]) / (xs[next] - xs[next - 1]));
  };
}

// Slopes of a cubic Hermite curve that never overshoots, 0 beside a jump (Fritsch and Carlson,
// 1980).
export function monotoneSlopes(xs, ys) {
  const secants = xs.slice(1).map((x, i) =>
    (x - xs[i] < JUMP ? 0 : (ys[i + 1] - ys[i]) / (x - xs[i])));
  if (!secants.length) return xs.map(() => 0);
  const inner = secants.slice(1).map((b, i) => (secants[i] * b > 0 ? (secants[i] + b) / 2 : 0));
  const slopes = [secants[0], ...inner, secants.at(-1)];
  secants.forEach((secant, i) => {
    if (secant === 0) {
      slopes[i] = slopes[i + 1] = 0;
      return;
    }
    const radius = Math.hypot(slopes[i] / secant, slopes[i + 1] / secant);
    if (radius <= 3) return;
    slopes[i] = (slopes[i] * 3) / radius;
    slopes[i + 1] = (slopes[i + 1] * 3) / radius;
  });
  return slopes;
}

function parsed(field, written, positionOf) {
  const text = plain(written);
  const bar = text.indexOf("|");
  const interpolation = bar < 0 ? "linear" : interpolationOf(field, text, bar + 1);
  const pairs = bar < 0 ? text : text.slice(0, bar);
  // A constant has no use for an interpolation.
  if (!strip(pairs)) return { points: [], interpolation: "linear" };
  if (isNumber(pairs)) {
    const strength = number(field, pairs, text, indent(pairs), ...STRENGTHS);
    return { points: [{ ...positionOf("0", text, 0), strength }], interpolation };
  }
  const points = [], latest = {};
  for (const [word, at] of split(pairs)) {
    const point = pointOf(field, word, text, at, positionOf);
    if (point.at < (latest[point.unit] ?? 0)) {
      throw new TextError(field, text, at, `a position not before ${show(latest[point.unit])}`);
    }
    latest[point.unit] = point.at;
    points.push(point);
  }
  return { points, interpolation };
}

function pointOf(field, word, text, at, positionOf) {
  const mark = word.includes(":") ? ":" : "@";
  const cut = word.indexOf(mark);
  if (cut < 0) throw new TextError(field, text, at, "'position:strength'");
  const rest = word.slice(cut + 1);
  const left = [word.slice(0, cut), at], right = [rest, at + cut + 1 + indent(rest)];
  const [position, strength] = mark === ":" ? [left, right] : [right, left];
  return {
    ...positionOf(strip(position[0]), text, position[1]),
    strength: number(field, strength[0], text, strength[1], ...STRENGTHS),
  };
}

function samplingPosition(word, text, at) {
  if (!word.endsWith("s")) return { at: number("schedule", word, text, at, 0, 1), unit: "percent" };
  return { at: wholeNumber("schedule", word.slice(0, -1), text, at, HIGHEST_STEP), unit: "step" };
}

function framePosition(word, text, at) {
  return { at: wholeNumber("frame_strength", word, text, at, HIGHEST_FRAME), unit: "frame" };
}

function interpolationOf(field, text, start) {
  const word = strip(text.slice(start));
  if (Object.hasOwn(INTERPOLATIONS, word)) return word;
  const expected = `the interpolation ${oneOf(Object.keys(INTERPOLATIONS))}`;
  throw new TextError(field, text, start + indent(text.slice(start)), expected);
}
