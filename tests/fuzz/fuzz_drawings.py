"""Fuzzers of drawings: their text form with how it is drawn, and their names and files."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from pack.preprocessors import stroke_raster, strokes

from .frame import Fuzzer, damaged, name, odd

TOOLS = ("brush", "eraser", "line", "fill")
POINTS = {"line": 2, "fill": 1}
SIDES = (64, 65, 100, 512, 1000, 8192)
TEXT = json.dumps(
    {"v": 1, "width": 64, "height": 64, "strokes": [{"tool": "fill", "points": [3, 4, 1]}]}
)


def _point(rng: random.Random, width: int, height: int) -> list[float]:
    spread = rng.choice((1, 1, 1, 2))
    x, y = (rng.uniform(-spread, spread) * side for side in (width, height))
    return [round(abs(x), 1) if spread == 1 else x, y, rng.choice((0, 1, 1, rng.random()))]


def _stroke(rng: random.Random, width: int, height: int) -> dict[str, Any]:
    tool = rng.choice(TOOLS)
    count = POINTS.get(tool) or rng.choice((1, 2, 3, 20, 200))
    numbers = [number for _ in range(count) for number in _point(rng, width, height)]
    row: dict[str, Any] = {"tool": tool, "points": numbers}
    if tool != "fill":
        row["size"] = rng.choice((0.1, 1, 8, 64, 1024, rng.uniform(0.1, 1024)))
    return row


def _spoil(rng: random.Random, content: dict[str, Any]) -> Any:
    """Put an odd value somewhere into a drawing."""
    place = rng.randrange(6)
    if place == 0:
        return odd(rng)
    if place == 1 or not content["strokes"]:
        content[rng.choice(("v", "width", "height", "strokes", "x", ""))] = odd(rng)
        return content
    row = rng.choice(content["strokes"])
    if place == 2:
        row[rng.choice(("tool", "size", "points", "color"))] = odd(rng)
    elif place == 3:
        row.pop(rng.choice(tuple(row)))
    else:
        row["points"][rng.randrange(len(row["points"]))] = odd(rng, 1)
    return content


def drawing(rng: random.Random, _base: Path) -> tuple[str, int, int]:
    """Make a drawing that is right, nearly right or not at all, and a size to draw it at."""
    width, height = rng.choice(SIDES), rng.choice(SIDES)
    rows = [_stroke(rng, width, height) for _ in range(rng.choice((0, 1, 2, 5, 30)))]
    content: Any = {"v": 1, "width": width, "height": height, "strokes": rows}
    if rng.random() < 0.4:
        content = _spoil(rng, content)
    try:
        text = json.dumps(content)
    except ValueError:  # numbers of thousands of digits
        text = repr(content)
    if rng.random() < 0.2:
        text = damaged(rng, text.encode("utf-8", "replace")).decode("utf-8", "replace")
    return text, rng.choice((1, 63, 64, 200)), rng.choice((1, 64, 300))


def draw(case: tuple[str, int, int]) -> None:
    """Read a drawing as the node does, and draw it."""
    text, width_px, height_px = case
    layer = stroke_raster.render(strokes.parse(text), width_px, height_px)
    assert layer.shape == (height_px, width_px)


def named(rng: random.Random, _base: Path) -> tuple[str, bytes]:
    """Make a name that a workflow may hold, and what somebody may send to be stored."""
    body = damaged(rng, TEXT.encode()) if rng.random() < 0.7 else TEXT.encode()
    return name(rng) + rng.choice(("", ".json", ".json ", "/.json")), body


def store_and_read(case: tuple[str, bytes]) -> None:
    """Store what is sent, then read a drawing by its name."""
    from pack.host import drawing_files

    try:
        assert drawing_files.drawing_of(drawing_files.store_drawing(case[1])) is not None
    except strokes.DrawingError:
        assert not _is_right(case[1])
    drawing_files.drawing_of(case[0])


def _is_right(body: bytes) -> bool:
    return body == TEXT.encode()


ROWS = (
    Fuzzer("drawings", drawing, draw, (strokes.DrawingError,)),
    Fuzzer("drawing_names", named, store_and_read, (strokes.DrawingError,), needs_host=True),
)
