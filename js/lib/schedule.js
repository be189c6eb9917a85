// Strength over time: the text form, read and written as control/schedule.py does, and the curve that it means.
// A schedule is {points: [{at, unit, strength}], interpolation}, its points in the order of their text; none mean a
// constant 1. `unit` is "percent" (a fraction of sampling), "step" (of the sampler) or "frame".

import { TextError, indent, number, show, split, strip, whole } from "./text.js";

export const INTERPOLATIONS = ["linear", "smooth", "step"];
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

// Reads a schedule over sampling; throws TextError naming the position of what does not parse.
export const parse = (text) => parsed("schedule", text, samplingPosition);

// Reads a schedule over frame numbers.
export const parseFrames = (text) => parsed("frame_strength", text, framePosition);

// The text of a schedule: parse(form(s)) equals s.
export function form({ points, interpolation }) {
  const pairs = points.map(({ at, unit, strength }) => `${show(at)}${unit === "step" ? "s" : ""}:${show(strength)}`);
  return pairs.join(", ") + (interpolation === "linear" || !points.length ? "" : ` | ${interpolation}`);
}

// The schedule with every step where it falls in sampling (`fractionOf(step)`), points in the order in which they come.
export function placed({ points, interpolation }, fractionOf) {
  const there = points.map((point) =>
    point.unit === "step" ? { ...point, at: fractionOf(point.at), unit: "percent" } : point);
  return { points: there.toSorted((a, b) => a.at - b.at), interpolation };
}

// The strength as a function of position; what depends on the points alone is computed once. Steps must be placed.
export function curve({ points, interpolation }) {
  if (!points.length) return () => 1;
  const xs = points.map((point) => point.at), ys = points.map((point) => point.strength);
  const slopes = interpolation === "smooth" ? monotoneSlopes(xs, ys) : null;
  return (x) => {
    const found = xs.findIndex((other) => other > x);
    const after = found < 0 ? xs.length : found;
    if (after === 0) return ys[0];
    if (after === xs.length || interpolation === "step") return ys[after - 1];
    const width = xs[after] - xs[after - 1], u = (x - xs[after - 1]) / width;
    const y0 = ys[after - 1], rise = ys[after] - y0;
    if (!slopes) return y0 + rise * u;
    const m0 = slopes[after - 1] * width, m1 = slopes[after] * width;
    return y0 + u * (m0 + u * (3 * rise - 2 * m0 - m1 + u * (m0 + m1 - 2 * rise)));
  };
}

// Slopes of a cubic Hermite curve that never overshoots, 0 on both sides of a jump (Fritsch and Carlson, 1980).
export function monotoneSlopes(xs, ys) {
  const secants = xs.slice(1).map((x, i) => (x - xs[i] < JUMP ? 0 : (ys[i + 1] - ys[i]) / (x - xs[i])));
  if (!secants.length) return xs.map(() => 0);
  const inner = secants.slice(1).map((b, i) => (secants[i] * b > 0 ? (secants[i] + b) / 2 : 0));
  const slopes = [secants[0], ...inner, secants.at(-1)];
  secants.forEach((secant, i) => {
    if (secant === 0) {
      slopes[i] = slopes[i + 1] = 0;
      return;
    }
    const radius = Math.hypot(slopes[i] / secant, slopes[i + 1] / secant);
    if (radius > 3) [slopes[i], slopes[i + 1]] = [(slopes[i] * 3) / radius, (slopes[i + 1] * 3) / radius];
  });
  return slopes;
}

function parsed(field, text, positionOf) {
  const bar = text.indexOf("|");
  const interpolation = bar < 0 ? "linear" : interpolationOf(field, text, bar + 1);
  const pairs = bar < 0 ? text : text.slice(0, bar);
  if (!strip(pairs)) return { points: [], interpolation: "linear" }; // a constant has no use for an interpolation
  const points = [], latest = {};
  for (const [word, at] of split(pairs, ",")) {
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
  const left = [word.slice(0, cut), at], right = [word.slice(cut + 1), at + cut + 1 + indent(word.slice(cut + 1))];
  const [position, strength] = mark === ":" ? [left, right] : [right, left];
  return {
    ...positionOf(strip(position[0]), text, position[1]),
    strength: number(field, strength[0], text, strength[1], ...STRENGTHS),
  };
}

function samplingPosition(word, text, at) {
  if (word.endsWith("s")) return { at: whole("schedule", word.slice(0, -1), text, at, HIGHEST_STEP), unit: "step" };
  return { at: number("schedule", word, text, at, 0, 1), unit: "percent" };
}

function framePosition(word, text, at) {
  return { at: whole("frame_strength", word, text, at, HIGHEST_FRAME), unit: "frame" };
}

function interpolationOf(field, text, start) {
  const word = strip(text.slice(start));
  if (INTERPOLATIONS.includes(word)) return word;
  const position = start + indent(text.slice(start));
  throw new TextError(field, text, position, "the interpolation 'linear', 'smooth' or 'step'");
}
