// Draws strokes on a canvas element, white where they cover it, as preprocessors/stroke_raster.py
// does; what is not covered is transparent. `segments` counts what was drawn.

import { flood } from "../lib/flood.js";
import { element } from "./dom.js";

const MOST_SHOWN_PX = 2048, LEAST_RADIUS_PX = 0.5, OF_POINT = 3;

export class StrokePainter {
  constructor() {
    this.canvas = element("canvas");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.before = element("canvas"); // what was there before the stroke that is being drawn
    this.shown = { strokes: [] };
    this.segments = 0;
  }

  // Shows a drawing stretched to [width, height]; draws no more than what is new.
  show(drawing, [width, height]) {
    const part = Math.min(1, MOST_SHOWN_PX / Math.max(width, height));
    const size = [Math.round(width * part), Math.round(height * part)];
    const units = [drawing.width, drawing.height];
    const isSame = String([size, units]) === String([this.size, this.units]);
    const { strokes } = this.shown;
    const isLonger = isSame && strokes.every((stroke, i) => stroke === drawing.strokes[i]);
    if (!isLonger) this.reset(size, units);
    for (const stroke of drawing.strokes.slice(isLonger ? strokes.length : 0)) this.paint(stroke);
    this.shown = drawing;
  }

  reset(size, units) {
    Object.assign(this, { size, units });
    [this.canvas.width, this.canvas.height] = size; // which also empties it
    const [across, down] = size.map((side, i) => side / units[i]);
    this.scale = { across, down, size: Math.sqrt(across * down) };
  }

  paint({ tool, size, points }) {
    if (tool === "fill") return this.fill(points);
    const path = new Path2D();
    const last = Math.max(0, points.length - 2 * OF_POINT);
    for (let at = 0; at <= last; at += OF_POINT) this.addSegment(path, size, points, at);
    this.draw(path, tool);
  }

  draw(path, tool) {
    const { context } = this;
    context.globalCompositeOperation = tool === "eraser" ? "destination-out" : "source-over";
    context.fillStyle = "#fff";
    context.fill(path);
  }

  fill([x, y]) {
    const [width, height] = this.size, { across, down } = this.scale;
    const picture = this.context.getImageData(0, 0, width, height);
    const isFilled = flood(picture.data, width, height, Math.floor(x * across),
      Math.floor(y * down));
    if (isFilled) this.context.putImageData(picture, 0, 0);
  }

  // The hull of the discs of two points, or one disc where there is one point.
  addSegment(path, size, points, at) {
    const [ax, ay, ar] = this.disc(size, points, at);
    const isLast = at + OF_POINT >= points.length;
    const [bx, by, br] = isLast ? [ax, ay, ar] : this.disc(size, points, at + OF_POINT);
    const length = Math.hypot(bx - ax, by - ay);
    this.segments += 1;
    if (length <= Math.abs(ar - br)) {
      const [x, y, radius] = ar > br ? [ax, ay, ar] : [bx, by, br];
      path.moveTo(x + radius, y);
      path.arc(x, y, radius, 0, 2 * Math.PI);
      return;
    }
    const along = Math.atan2(by - ay, bx - ax), side = Math.acos((ar - br) / length);
    path.moveTo(ax + ar * Math.cos(along + side), ay + ar * Math.sin(along + side));
    path.arc(ax, ay, ar, along + side, along - side + 2 * Math.PI);
    path.arc(bx, by, br, along - side, along + side);
    path.closePath();
  }

  disc(size, points, at) {
    const { across, down, size: grown } = this.scale;
    const radius = Math.max(LEAST_RADIUS_PX, size * grown * points[at + 2] / 2);
    return [points[at] * across, points[at + 1] * down, radius];
  }

  // -- the stroke that is being drawn -------------------------------------------------------------

  begin() {
    [this.before.width, this.before.height] = this.size;
    this.before.getContext("2d").drawImage(this.canvas, 0, 0);
    this.drawn = 0; // numbers of its points that are drawn
  }

  // Draws what is new of a stroke that grows at its end.
  extend({ tool, size, points }) {
    if (points.length < OF_POINT || this.drawn === points.length) return;
    const path = new Path2D();
    const first = Math.max(0, this.drawn - OF_POINT);
    const last = Math.max(first, points.length - 2 * OF_POINT);
    for (let at = first; at <= last; at += OF_POINT) this.addSegment(path, size, points, at);
    this.draw(path, tool);
    this.drawn = points.length;
  }

  // Draws a whole stroke in the place of what was drawn of it.
  replace(stroke) {
    this.cancel();
    if (stroke.points.length) this.paint(stroke);
  }

  cancel() {
    this.context.globalCompositeOperation = "copy";
    this.context.drawImage(this.before, 0, 0);
  }
}
