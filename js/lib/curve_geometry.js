// The geometry of the schedule curve: points in a box of pixels, and how dragging changes them. No
// DOM. A point is {at, unit, strength}: `at` is a fraction of sampling ("percent") or a sampler
// step ("step").

export const AXIS_TOPS = [1, 2, 5, 10];
const GRAB_PX = 10;

// The top of the strength axis: the smallest that all values fit under.
export function axisTop(values) {
  const highest = Math.max(0, ...values);
  return AXIS_TOPS.find((top) => highest <= top) ?? AXIS_TOPS.at(-1);
}

// A point's position in sampling, 0..1; a step counts against `steps`.
export function fraction(point, steps) {
  return point.unit === "step" ? clamp(point.at / steps, 0, 1) : point.at;
}

// The points sorted by position: a text may name steps after fractions that come later.
export function ordered(points, steps) {
  return points.toSorted((a, b) => fraction(a, steps) - fraction(b, steps));
}

// `box`: {width, height, margin} in pixels; (0, 0) is the upper left.
export function toPixels(x, strength, box, top) {
  const { width, height, margin } = box;
  const px = margin + x * (width - 2 * margin);
  return [px, height - margin - (strength / top) * (height - 2 * margin)];
}

// The inverse, clamped to the axes.
export function fromPixels(px, py, box, top) {
  const { width, height, margin } = box;
  const x = (px - margin) / Math.max(1, width - 2 * margin);
  const strength = ((height - margin - py) / Math.max(1, height - 2 * margin)) * top;
  return [clamp(x, 0, 1), clamp(strength, 0, top)];
}

// The index of the point nearest to (px, py) within `radius` pixels, or -1.
export function nearest(points, px, py, box, top, steps, radius = GRAB_PX) {
  let best = -1, closest = radius;
  points.forEach((point, index) => {
    const [x, y] = toPixels(fraction(point, steps), point.strength, box, top);
    const distance = Math.hypot(x - px, y - py);
    if (distance <= closest) [best, closest] = [index, distance];
  });
  return best;
}

// The points with one moved to (x, strength): never past its neighbours, so the order is preserved.
export function moved(points, index, x, strength, steps) {
  const point = points[index];
  const low = index > 0 ? fraction(points[index - 1], steps) : 0;
  const high = index < points.length - 1 ? fraction(points[index + 1], steps) : 1;
  const inside = clamp(x, low, high);
  const at = point.unit === "step"
    ? nearestStep(inside, low, high, steps) : clamp(round(inside), low, high);
  return points.with(index, { ...point, at, strength: round(strength) });
}

// The step nearest to x whose fraction is not outside [low, high], where there is one.
function nearestStep(x, low, high, steps) {
  const first = Math.ceil(low * steps - 1e-9), last = Math.floor(high * steps + 1e-9);
  return clamp(Math.round(x * steps), Math.min(first, last), Math.max(first, last));
}

// The points with a new one inserted in order, and its index.
export function added(points, x, strength, steps) {
  const point = { at: round(x), unit: "percent", strength: round(strength) };
  const next = points.findIndex((other) => fraction(other, steps) > point.at);
  const index = next < 0 ? points.length : next;
  return [points.toSpliced(index, 0, point), index];
}

export function removed(points, index) {
  return points.toSpliced(index, 1);
}

// The position of a new point where none was clicked: half way to the next point, else to the end.
export function between(points, index, steps) {
  if (!points.length) return 0;
  const from = fraction(points[index], steps);
  if (index < points.length - 1) return (from + fraction(points[index + 1], steps)) / 2;
  if (from < 1) return (from + 1) / 2;
  return index > 0 ? (fraction(points[index - 1], steps) + from) / 2 : 0.5;
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Three decimals: finer than any sampler's step, short to read.
export const round = (value) => Math.round(value * 1000) / 1000;
