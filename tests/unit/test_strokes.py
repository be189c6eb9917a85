"""Drawings: read as tests/fixtures/drawings.json says, drawn as geometry says, stored once."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pack.preprocessors import stroke_raster
from pack.preprocessors.stroke_raster import render
from pack.preprocessors.strokes import MOST_STROKES, DrawingError, parse

CASES = json.loads(
    (Path(__file__).resolve().parents[1] / "fixtures" / "drawings.json").read_text(encoding="utf-8")
)
PARTS = 16  # of a pixel, in each direction, for pictures computed here


def drawing(*strokes: dict, width: int = 64, height: int = 64) -> str:
    return json.dumps({"v": 1, "width": width, "height": height, "strokes": strokes})


def stroke(*points: tuple[float, float, float], size: float = 8, tool: str = "brush") -> dict:
    return {"tool": tool, "size": size, "points": [number for point in points for number in point]}


def fill(x: float, y: float) -> dict:
    return {"tool": "fill", "points": [x, y, 1]}


def drawn(*strokes: dict, side_px: int = 64, **canvas: int) -> np.ndarray:
    """Return the covered share of every pixel."""
    return render(parse(drawing(*strokes, **canvas)), side_px, side_px) / 255


def discs(*centers: tuple[float, float, float], side_px: int = 64) -> np.ndarray:
    """Return the share of every pixel that lies within discs of (x, y, radius)."""
    y, x = (np.mgrid[: side_px * PARTS, : side_px * PARTS] + 0.5) / PARTS
    covered = np.zeros(x.shape, bool)
    for cx, cy, radius in centers:
        covered |= (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
    return covered.reshape(side_px, PARTS, side_px, PARTS).mean((1, 3))


@pytest.mark.parametrize("text", CASES["valid"])
def test_a_right_text_is_read_with_all_its_strokes(text):
    content, actual = json.loads(text), parse(text)
    assert (actual.width, actual.height) == (content["width"], content["height"])
    assert [stroke.tool for stroke in actual.strokes] == [s["tool"] for s in content["strokes"]]
    numbers = [stroke.points.ravel().tolist() for stroke in actual.strokes]
    assert numbers == [s["points"] for s in content["strokes"]]


@pytest.mark.parametrize("case", CASES["invalid"], ids=lambda case: case["error"][:50])
def test_a_wrong_text_is_refused_in_its_sentence(case):
    with pytest.raises(DrawingError) as refusal:
        parse(case["text"])
    assert str(refusal.value) == case["error"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 100_000, "the drawing is damaged"),
        ('{"v": 1, "strokes": [], "width": ' + "9" * 5000 + "}", "damaged|expected a whole number"),
        (drawing(*[fill(1, 1)] * (MOST_STROKES + 1)), "has 10,001 strokes: expected at most"),
        (
            drawing(*[stroke(*[(1, 1, 1)] * 50_001)] * 4),
            "has 200,004 points: expected at most 200,000",
        ),
        (" " * (5 << 20), "has 5,242,880 characters"),
    ],
)
def test_what_is_too_much_is_refused(text, sentence):
    with pytest.raises(DrawingError, match=sentence):
        parse(text)


@pytest.mark.parametrize("radius", [1, 2, 4, 8, 20])
def test_one_point_is_a_disc(radius):
    actual = drawn(stroke((30.3, 31.7, 1), size=2 * radius))
    assert np.abs(actual - discs((30.3, 31.7, radius))).max() < 0.2
    assert actual.sum() == pytest.approx(math.pi * radius**2, rel=0.06)


def test_between_two_points_the_width_follows_the_pressure():
    actual = drawn(stroke((15.3, 11.7, 1), (44.2, 50.1, 0.3), size=20))
    steps = np.linspace(0, 1, 400)
    expected = discs(*((15.3 + 28.9 * t, 11.7 + 38.4 * t, 10 - 7 * t) for t in steps))
    assert np.abs(actual - expected).max() < 0.2
    assert np.abs(actual - expected).mean() < 0.003


def test_half_a_pixel_is_half_covered():
    """A band from y = 16.5 to y = 20.5, over the whole width."""
    actual = drawn(stroke((-60, 18.5, 1), (120, 18.5, 1), size=4, tool="line"))
    rows = actual.mean(axis=1)
    assert rows[15:22] == pytest.approx([0, 0.5, 1, 1, 1, 0.5, 0], abs=0.15)
    assert actual.std(axis=1).max() == 0
    assert rows.sum() == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("side_px", [32, 64, 256, 1000])
def test_a_drawing_grows_with_the_picture(side_px):
    """The disc covers the same share of a canvas at every size."""
    actual = drawn(stroke((32, 32, 1), size=32), side_px=side_px)
    assert actual.mean() == pytest.approx(math.pi / 16, rel=0.02)
    assert actual[side_px // 2, side_px // 2] == 1
    assert actual[0, 0] == 0


def test_the_sides_stretch_apart_and_the_width_by_their_mean():
    layer = render(parse(drawing(stroke((16, 32, 1), size=8))), 256, 64) / 255
    rows, columns = layer.any(axis=1).nonzero()[0], layer.any(axis=0).nonzero()[0]
    assert (rows.mean(), columns.mean()) == pytest.approx((31.5, 63.5), abs=0.6)
    assert layer.sum() == pytest.approx(math.pi * 8**2, rel=0.03)


def test_an_eraser_takes_away_what_is_there_and_later_strokes_come_back():
    whole = drawn(stroke((32, 32, 1), size=40))
    with_hole = drawn(stroke((32, 32, 1), size=40), stroke((32, 32, 1), size=20, tool="eraser"))
    assert with_hole[32, 32] == 0
    assert whole.sum() - with_hole.sum() == pytest.approx(math.pi * 100, rel=0.02)
    again = drawn(
        stroke((32, 32, 1), size=40),
        stroke((32, 32, 1), size=20, tool="eraser"),
        stroke((32, 32, 1), size=4),
    )
    assert again[32, 32] == 1


def ring() -> list[dict]:
    corners = [(16, 16, 1), (48, 16, 1), (48, 48, 1), (16, 48, 1), (16, 16, 1)]
    return [stroke(*corners, size=4)]


def test_a_fill_stops_at_strokes_and_leaves_no_seam():
    actual = drawn(*ring(), fill(32, 32))
    assert actual[16:48, 16:48].min() == 1
    assert actual[:13].max() == actual[:, :13].max() == 0
    outside = drawn(*ring(), fill(2, 2))
    assert outside[:17].min() == 1
    assert outside[19:45, 19:45].max() == 0


def test_a_fill_on_a_stroke_or_beside_the_canvas_changes_nothing():
    plain = drawn(*ring())
    for x, y in ((16, 32), (-5, 5), (64, 64), (128, 3)):
        assert (drawn(*ring(), fill(x, y)) == plain).all()


def test_a_fill_does_not_pass_between_diagonal_pixels():
    """A line of one pixel's width, from corner to corner, holds it back."""
    line = stroke((-4, -4, 1), (68, 68, 1), size=1.5, tool="line")
    actual = drawn(line, fill(60, 4))
    assert actual[4, 60] == 1
    assert actual[60, 4] == 0


def test_bands_make_no_seams(monkeypatch):
    strokes = [stroke((5, 5, 1), (60, 40, 0.2), (10, 60, 1), size=12), fill(40, 10)]
    whole = drawn(*strokes)
    monkeypatch.setattr(stroke_raster, "_BAND_PX", 64 * 16 * 3)
    assert np.abs(drawn(*strokes) - whole).max() < 0.13, "an edge is cut elsewhere"


def test_what_would_take_minutes_is_refused_before_it_begins():
    zigzag = [(64 * (i % 2), 32, 1) for i in range(9000)]
    text = drawing(*[stroke(*zigzag, size=1024)] * 22)
    with pytest.raises(DrawingError, match="takes too long at 8192x8192 pixels"):
        render(parse(text), 8192, 8192)


def test_strokes_far_outside_and_empty_drawings_are_black():
    assert drawn().max() == 0
    assert drawn(stroke((-100, -100, 1), (-90, 120, 1), size=8)).max() == 0


def test_progress_counts_strokes():
    steps = []
    render(parse(drawing(*ring(), fill(1, 1))), 64, 64, lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]
