// Where a sheet of some aspect lies in a stage, zoomed and moved. No DOM.

const MOST_ZOOM = 16, STEP = 1.25;

export class SheetView {
  constructor() {
    this.zoom = 1;
    this.shift = [0, 0]; // of the sheet's middle from the stage's, in pixels
  }

  // {left, top, width, height} of a sheet of `size` in a stage of `stage` pixels, both [w, h].
  place(size, stage) {
    const fit = Math.min(stage[0] / size[0], stage[1] / size[1]) * this.zoom;
    const [width, height] = size.map((side) => side * fit);
    const [left, top] = [width, height].map((side, i) => (stage[i] - side) / 2 + this.shift[i]);
    return { left, top, width, height };
  }

  // Zooms by a factor; the place of the stage under `at`, from its middle, stays where it is.
  zoomBy(factor, at = [0, 0]) {
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    const by = zoom / this.zoom;
    this.shift = zoom === 1 ? [0, 0] : this.shift.map((side, i) => at[i] + (side - at[i]) * by);
    this.zoom = zoom;
  }

  step(direction, at) {
    this.zoomBy(STEP ** direction, at);
  }

  moveBy(dx, dy) {
    if (this.zoom > 1) this.shift = [this.shift[0] + dx, this.shift[1] + dy];
  }

  fit() {
    Object.assign(this, { zoom: 1, shift: [0, 0] });
  }
}
