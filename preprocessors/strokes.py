"""Hold a drawing as strokes, and read its text form.

The text is JSON: {"v": 1, "width": 512, "height": 512, "strokes": [{"tool": "brush", "size": 8,
"points": [x, y, pressure, ...]}]}. Points are in units of the canvas, whose upper left corner is
(0, 0); a stroke is as wide as `size` times the pressure (0..1). A line has two points; a fill one,
and no size. The frontend has the same grammar (js/lib/drawing.js); both read
tests/fixtures/drawings.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

VERSION = 1
LEAST_SIDE, MOST_SIDE = 64, 8192
LEAST_SIZE, MOST_SIZE = 0.1, 1024
MOST_STROKES, MOST_POINTS, MOST_BYTES = 10_000, 200_000, 4 << 20
REACH = 2
"""How many canvases a point may lie from the upper left corner, in each direction."""
BRUSH, ERASER, LINE, FILL = "brush", "eraser", "line", "fill"
_NAMES_OF_POINT = ("x", "y", "pressure")
_NUMBERS_OF_POINT = len(_NAMES_OF_POINT)
_COUNTS = {BRUSH: (1, MOST_POINTS), ERASER: (1, MOST_POINTS), LINE: (2, 2), FILL: (1, 1)}
"""Tool → the fewest and the most points of its strokes."""
_KEYS = ("v", "width", "height", "strokes")


class DrawingError(ValueError):
    """A drawing that cannot be read or drawn; the message says what was expected and found."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence


@dataclass(frozen=True)
class Stroke:
    """Hold one stroke: its tool, its width in units of the canvas, and (N,3) x, y, pressure."""

    tool: str
    size: float
    points: NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """Hold strokes in the order in which they are drawn, on a canvas of that many units."""

    width: int
    height: int
    strokes: tuple[Stroke, ...] = ()


def parse(text: str) -> Drawing:
    """Read a drawing. Raises DrawingError for every text that is not one."""
    if len(text) > MOST_BYTES:
        raise DrawingError(
            f"the drawing has {len(text):,} characters: expected at most {MOST_BYTES:,}. Draw fewer"
            " strokes, or spread them over two canvases."
        )
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DrawingError(
            "the drawing is damaged: expected JSON with strokes. Draw it again, or choose another."
        ) from error
    return _drawing(content)


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which JSON does not have."""
    raise ValueError(name)


def _drawing(content: Any) -> Drawing:
    if not isinstance(content, dict) or "strokes" not in content:
        raise DrawingError(
            "this is not a drawing: expected a JSON object with v, width, height and strokes."
            " Draw it again, or choose another."
        )
    table = cast("dict[str, Any]", content)
    version = table.get("v")
    if isinstance(version, bool) or version != VERSION:
        raise DrawingError(
            f"the drawing has version {_short(version)}: expected {VERSION}. Update ControlStack."
        )
    try:
        _refuse_unknown(table, _KEYS)
    except DrawingError as error:
        raise DrawingError(f"the drawing: {error}") from error
    width, height = (_side(name, table.get(name)) for name in ("width", "height"))
    return Drawing(width, height, _strokes(table["strokes"], (width, height)))


def _strokes(value: Any, canvas: tuple[int, int]) -> tuple[Stroke, ...]:
    if not isinstance(value, list):
        raise DrawingError(f"the drawing's strokes: expected a list, found {_short(value)}.")
    rows = cast("list[Any]", value)
    if len(rows) > MOST_STROKES:
        raise DrawingError(
            f"the drawing has {len(rows):,} strokes: expected at most {MOST_STROKES:,}. Spread them"
            " over two canvases."
        )
    strokes = tuple(_numbered(i, row, canvas) for i, row in enumerate(rows, 1))
    points = sum(len(stroke.points) for stroke in strokes)
    if points > MOST_POINTS:
        raise DrawingError(
            f"the drawing has {points:,} points: expected at most {MOST_POINTS:,}. Spread its"
            " strokes over two canvases."
        )
    return strokes


def _side(name: str, value: Any) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not LEAST_SIDE <= value <= MOST_SIDE:
        raise DrawingError(
            f"the drawing's {name}: expected a whole number from {LEAST_SIDE} to {MOST_SIDE}, found"
            f" {_short(value)}."
        )
    return value


def _numbered(number: int, row: Any, canvas: tuple[int, int]) -> Stroke:
    """Read a stroke; what is wrong with it is said with its number."""
    try:
        return _stroke(row, canvas)
    except DrawingError as error:
        raise DrawingError(f"stroke {number} of the drawing: {error}") from error


def _stroke(row: Any, canvas: tuple[int, int]) -> Stroke:
    if not isinstance(row, dict):
        raise DrawingError(f"expected an object, found {_short(row)}.")
    table = cast("dict[str, Any]", row)
    tool = table.get("tool")
    if not isinstance(tool, str) or tool not in _COUNTS:
        raise DrawingError(
            f"expected the tool brush, eraser, line or fill, found {_short(tool)}. Update"
            " ControlStack, or draw it again."
        )
    if tool == FILL:
        _refuse_unknown(table, ("tool", "points"))
        return Stroke(tool, 0.0, _points(tool, table.get("points"), canvas))
    _refuse_unknown(table, ("tool", "size", "points"))
    size = table.get("size")
    _refuse_outside("size", size, LEAST_SIZE, MOST_SIZE)
    return Stroke(tool, float(cast("float", size)), _points(tool, table.get("points"), canvas))


def _points(tool: str, value: Any, canvas: tuple[int, int]) -> NDArray[np.float64]:
    """Read [x, y, pressure, ...] → (N,3)."""
    least, most = _COUNTS[tool]
    numbers = cast("list[Any]", value) if isinstance(value, list) else []
    count, rest = divmod(len(numbers), _NUMBERS_OF_POINT)
    if rest or not least <= count <= most:
        expected = f"{least}" if least == most else f"{least:,} to {most:,}"
        raise DrawingError(
            f"expected {expected} points, each as x, y and pressure, found {len(numbers):,}"
            " numbers."
        )
    limits = (*((-REACH * side, REACH * side) for side in canvas), (0, 1))
    for index, number in enumerate(numbers):
        place = index % _NUMBERS_OF_POINT
        _refuse_outside(_NAMES_OF_POINT[place], number, *limits[place])
    return np.reshape(np.array(numbers, np.float64), (count, _NUMBERS_OF_POINT))


def _refuse_outside(name: str, value: Any, low: float, high: float) -> None:
    """Refuse what is not a number, or lies outside of its limits."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise DrawingError(f"expected {name} from {low:g} to {high:g}, found {_short(value)}.")


def _refuse_unknown(table: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in table:
        if name not in names:
            raise DrawingError(
                f"expected {', '.join(names)}, found {_short(name)}. Update ControlStack, or draw"
                " it again."
            )


def _short(value: Any) -> str:
    """Write a value as sentences quote it; numbers of thousands of digits have no text."""
    try:
        text = json.dumps(value)
    except ValueError:
        text = "a number with thousands of digits"
    return text if len(text) <= 60 else f"{text[:60]}…"
