// The fill of a canvas, as preprocessors/stroke_raster.py does it. No DOM.

const WALL = 128; // from this alpha on a pixel holds a fill back
const CHANNELS = 4, ALPHA = 3;

// Fills the region around (x, y) that strokes hold in, up to and with their edges. `data`: RGBA of
// width x height pixels, changed in place. Returns whether anything was filled.
export function flood(data, width, height, x, y) {
  const isOpen = (i) => data[i * CHANNELS + ALPHA] < WALL;
  if (x < 0 || y < 0 || x >= width || y >= height || !isOpen(y * width + x)) return false;
  const region = regionAround(isOpen, width, height, x, y);
  for (let i = 0; i < region.length; i++) {
    if (region[i] || isBeside(region, i, width)) data.fill(255, i * CHANNELS, (i + 1) * CHANNELS);
  }
  return true;
}

// Marks what is open and connected along sides with (x, y), a run of a row at a time.
function regionAround(isOpen, width, height, x, y) {
  const region = new Uint8Array(width * height), rows = [y * width + x];
  while (rows.length) {
    const start = rows.pop();
    if (region[start]) continue;
    const first = start - (start % width), end = first + width;
    let left = start, right = start;
    while (left > first && isOpen(left - 1) && !region[left - 1]) left -= 1;
    while (right + 1 < end && isOpen(right + 1) && !region[right + 1]) right += 1;
    region.fill(1, left, right + 1);
    for (const row of [-width, width]) {
      for (let i = left + row; i <= right + row; i++) {
        const isNew = i >= 0 && i < region.length && isOpen(i) && !region[i];
        if (isNew && (i === left + row || region[i - 1] || !isOpen(i - 1))) rows.push(i);
      }
    }
  }
  return region;
}

function isBeside(region, i, width) {
  const column = i % width;
  return region[i - width] || region[i + width]
    || (column > 0 && region[i - 1]) || (column < width - 1 && region[i + 1]);
}
