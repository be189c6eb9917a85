"""Draw strokes at any size: white on black, antialiased, each as wide as its pressure says.

Between two points a stroke is the hull of their two discs. It is drawn finer than the picture and
averaged down, so that every pixel has its covered share; a stroke brightens what it covers more
than what is there, an eraser darkens it.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from .images import opencv
from .spec import Progress
from .strokes import ERASER, FILL, Drawing, DrawingError, Stroke

Layer = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""
WALL = 128
"""From this level on a pixel holds a fill back."""
MOST_WORK = 2e10
"""Pixels, the finer ones, that all segments may cover: a few seconds of drawing."""
_FILL_WORK = 16
"""What a fill costs for each pixel of the picture."""
_FINE_UP_TO_PX, _FINE, _COARSE = 2048, 4, 2
"""Up to which side a pixel is drawn in 4x4 parts, beyond it in 2x2."""
_BAND_PX = 1 << 24
"""Finer pixels that are drawn at once."""
_SHIFT = 4
"""Bits behind the point of a coordinate given to OpenCV."""
_LEAST_RADIUS_PX = 0.5
_OUTLINE = 0.4
"""How much broader OpenCV draws a shape than it is, in the pixels that it draws in."""


def render(
    drawing: Drawing, width_px: int, height_px: int, progress: Progress | None = None
) -> Layer:
    """Draw a drawing, stretched to that size → (H,W) levels, 255 where it covers a pixel.

    Widths grow with the mean of both scales. Raises DrawingError for more strokes than can be drawn
    in seconds at that size.
    """
    layer = np.zeros((height_px, width_px), np.uint8)
    strokes = [_scaled(stroke, drawing, width_px, height_px) for stroke in drawing.strokes]
    parts = _FINE if max(width_px, height_px) <= _FINE_UP_TO_PX else _COARSE
    work = sum(_work(stroke, width_px, height_px, parts) for stroke in strokes)
    if work > MOST_WORK:
        raise DrawingError(
            f"the drawing takes too long at {width_px}x{height_px} pixels:"
            f" {work / MOST_WORK:.1f} times what can be drawn in seconds. Lower width and height,"
            " or draw with fewer and thinner strokes."
        )
    cv2 = opencv()
    for index, stroke in enumerate(strokes, 1):
        if stroke.tool == FILL:
            _fill(cv2, layer, stroke)
        else:
            _draw(cv2, layer, stroke, parts)
        if progress is not None:
            progress(index, len(strokes))
    return layer


def _scaled(stroke: Stroke, drawing: Drawing, width_px: int, height_px: int) -> Stroke:
    """Bring a stroke to pixels; the third column of its points becomes the radius."""
    across, down = width_px / drawing.width, height_px / drawing.height
    size = stroke.size * (across * down) ** 0.5
    points = stroke.points * (across, down, size / 2)
    points[:, 2] = np.maximum(points[:, 2], _LEAST_RADIUS_PX)
    return Stroke(stroke.tool, size, points)


def _segments(stroke: Stroke) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both ends of every segment, (N,3) each; one point is a segment of its own."""
    points = stroke.points
    return (points, points) if len(points) == 1 else (points[:-1], points[1:])


def _bounds(stroke: Stroke, width_px: int, height_px: int) -> NDArray[np.float64]:
    """Return left, top, right and bottom of every segment within the picture, (N,4)."""
    first, last = _segments(stroke)
    lows = np.minimum(first[:, :2] - first[:, 2:], last[:, :2] - last[:, 2:])
    highs = np.maximum(first[:, :2] + first[:, 2:], last[:, :2] + last[:, 2:])
    bounds = np.concatenate([np.floor(lows) - 1, np.ceil(highs) + 1], axis=1)
    return bounds.clip(0, (width_px, height_px, width_px, height_px))


def _work(stroke: Stroke, width_px: int, height_px: int, parts: int) -> float:
    """Return how many finer pixels the segments of a stroke cover at most."""
    if stroke.tool == FILL:
        return float(_FILL_WORK * width_px * height_px)
    bounds = _bounds(stroke, width_px, height_px)
    return float(np.prod(bounds[:, 2:] - bounds[:, :2], axis=1).sum()) * parts**2


def _draw(cv2: ModuleType, layer: Layer, stroke: Stroke, parts: int) -> None:
    """Draw a stroke in bands, each over the rows that fit in memory."""
    height_px, width_px = layer.shape
    bounds = _bounds(stroke, width_px, height_px)
    left, top = bounds[:, :2].min(axis=0).astype(int)
    right, bottom = bounds[:, 2:].max(axis=0).astype(int)
    if right <= left or bottom <= top:
        return
    rows = max(1, _BAND_PX // ((right - left) * parts**2))
    for start in range(top, bottom, rows):
        end = min(start + rows, bottom)
        inside = (bounds[:, 1] < end) & (bounds[:, 3] > start)
        if not inside.any():
            continue
        cover = _cover(cv2, stroke, inside, (left, start, right, end), parts)
        part = layer[start:end, left:right]
        if stroke.tool == ERASER:
            np.minimum(part, 255 - cover, out=part)
        else:
            np.maximum(part, cover, out=part)


def _cover(
    cv2: ModuleType, stroke: Stroke, inside: NDArray[np.bool_], box: Box, parts: int
) -> Layer:
    """Return the share of every pixel of a box that some segments of a stroke cover, 0..255."""
    left, top, right, bottom = box
    fine = np.zeros(((bottom - top) * parts, (right - left) * parts), np.uint8)
    # OpenCV counts from the middle of a pixel, and draws an outline around what it fills.
    origin = np.array((left, top, _OUTLINE / parts))
    first, last = ((ends[inside] - origin) * parts for ends in _segments(stroke))
    first[:, :2] -= 0.5
    last[:, :2] -= 0.5
    one = 1 << _SHIFT
    for end in (first, last):
        for x, y, radius in np.rint(end * one).astype(int).tolist():
            cv2.circle(fine, (x, y), radius, 255, -1, cv2.LINE_8, _SHIFT)
    for hull in np.rint(_hulls(first, last) * one).astype(np.int32):
        cv2.fillConvexPoly(fine, hull, 255, cv2.LINE_8, _SHIFT)
    if not fine.any():
        return np.zeros((bottom - top, right - left), np.uint8)
    return cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)


def _hulls(first: NDArray[np.float64], last: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the four corners between the two discs of each segment, (M,4,2).

    They lie on the common tangents of the discs. Where one disc holds the other there are none.
    """
    step = last[:, :2] - first[:, :2]
    length = np.linalg.norm(step, axis=1)
    apart = length > np.abs(last[:, 2] - first[:, 2])
    first, last, step, length = first[apart], last[apart], step[apart], length[apart]
    along = step / length[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    tilt = ((first[:, 2] - last[:, 2]) / length)[:, None]
    upright = np.sqrt(1 - tilt**2)
    sides = (along * tilt + across * upright, along * tilt - across * upright)
    corners = [
        end[:, :2] + side * end[:, 2:]
        for end, side in ((first, sides[0]), (last, sides[0]), (last, sides[1]), (first, sides[1]))
    ]
    return np.stack(corners, axis=1)


def _fill(cv2: ModuleType, layer: Layer, stroke: Stroke) -> None:
    """Fill the dark region around a point, up to and with the edge of what holds it in."""
    height_px, width_px = layer.shape
    x, y = np.floor(stroke.points[0, :2]).astype(int).tolist()
    if not (0 <= x < width_px and 0 <= y < height_px) or layer[y, x] >= WALL:
        return
    mask = np.pad((layer >= WALL).astype(np.uint8), 1)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | (255 << 8)
    cv2.floodFill(layer, mask, (x, y), 255, 255, 255, flags)
    region = (mask[1:-1, 1:-1] == 255).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    layer[cv2.dilate(region, cross) > 0] = 255
