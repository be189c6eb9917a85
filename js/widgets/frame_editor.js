// Strength over the frames of a clip or the entries of a batch, as the same curve as the schedule:
// its points stand at whole numbers of frames, which the curve's geometry calls steps.

import { clamp } from "../lib/curve_geometry.js";
import { parse, parseFrames, toText } from "../lib/schedule.js";
import { CurveEditor, curveField } from "./curve_editor.js";

const ASSUMED_LAST = 15;

// `services` as Field's, and frames(): how many there are, or null.
export function framesField(services) {
  const read = (text) => withUnit(parseFrames(text), "step");
  const make = (field, heightPx) => new FrameEditor(field, services, read, heightPx);
  return curveField(services, make);
}

const withUnit = ({ points, interpolation }, unit) =>
  ({ points: points.map((point) => ({ ...point, unit })), interpolation });

class FrameEditor extends CurveEditor {
  // The axis ends at the last frame that is known or named; it stays while a point is dragged.
  get steps() {
    if (this.isDragging) return this.draggedSteps;
    const named = (this.value?.points ?? []).map(({ at }) => at);
    const last = (this.services.frames() ?? 0) - 1;
    return Math.max(1, this.reach ?? 0, last > 0 ? last : ASSUMED_LAST, ...named);
  }

  get ticks() {
    return this.steps;
  }

  // Points that were added have a fraction of the axis.
  write({ points, interpolation }) {
    const { steps } = this;
    const at = (point) =>
      (point.unit === "percent" ? Math.round(clamp(point.at, 0, 1) * steps) : point.at);
    const inFrames = points.map((point) => ({ ...point, at: at(point) }));
    super.write(withUnit({ points: inFrames, interpolation }, "frame"));
  }

  usePreset(text) {
    this.chosen = 0;
    this.write(parse(text));
    this.services.settled();
  }

  grab(event) {
    this.draggedSteps = this.steps;
    super.grab(event);
  }

  // A number beyond the axis lengthens it.
  place(at, strength) {
    this.reach = at ?? 0;
    super.place(at === null ? null : Math.round(at), strength);
    this.reach = 0;
  }

  where({ at }) {
    return this.services.say("frameNumber", { at });
  }

  axisWords() {
    const { say } = this.services;
    return [say("frameNumber", { at: 0 }), "", say("frameNumber", { at: this.steps })];
  }

  get positionTip() {
    return this.services.say("frameUnit");
  }

  drawOutside() {}
}
