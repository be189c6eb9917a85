"""Draw Scribble, worked with mouse, pen, finger and keys in both renderers of two pages."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pack.preprocessors.stroke_raster import render
from pack.preprocessors.strokes import parse

PICTURES = Path(__file__).resolve().parents[1] / "output"
WHOLE = ("newest-nodes2",)
CELLS = (*WHOLE, "pinned-classic", "newest-classic", "pinned-nodes2")
SOME = ("mouse", "undoInside", "undoOfThePage", "savedAndLoaded", "subgraph", "promoted")
"""What is seen in the other cells too: what renderer and page decide."""
MOST_MEAN, MOST_FAR = 0.004, 0.005
"""How far the page's picture may be from the server's: the mean difference of a pixel's cover, and
the share of pixels that differ by more than a quarter.
"""
MOST_MOVE_MS = 33  # of the page's thread: 30 frames a second
pytestmark = pytest.mark.slow


def scenes(stage):
    for cell in CELLS:
        yield "canvas_scenes.mjs", stage.cell(cell, **({} if cell in WHOLE else {"only": SOME}))


@pytest.fixture(scope="session")
def canvases(played) -> dict[str, dict]:
    """Return the scenes of each cell."""
    return {cell: played("canvas_scenes.mjs", cell) for cell in CELLS}


@pytest.fixture(params=CELLS)
def cell(request, canvases) -> dict:
    return canvases[request.param]


@pytest.fixture(params=WHOLE)
def whole(request, canvases) -> dict:
    return canvases[request.param]


def is_shown_as_it_runs(seen: dict) -> bool:
    """Tell whether the canvas shows the strokes that would run, in the node that would run."""
    return seen["isOwn"] and seen["shown"] == seen["strokes"] and seen["problem"] == ""


def stroke(seen: dict, index: int = -1) -> dict:
    return json.loads(seen["content"])["strokes"][index]


def difference(seen: dict) -> np.ndarray:
    """Return by how much each pixel's cover differs between the page and the server."""
    png = base64.b64decode(seen["picture"].partition(",")[2])
    shown = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))[..., 3] / 255
    return np.abs(shown - render(parse(seen["content"]), *seen["size"]) / 255)


def test_no_scene_failed_and_the_page_threw_nothing(cell):
    assert cell["errors"] == []
    assert {
        name: scene["failed"]
        for name, scene in cell.items()
        if isinstance(scene, dict) and "failed" in scene
    } == {}


def test_created_empty(whole):
    created = whole["created"]
    assert created["run"] == {"drawing": "", "width": 512, "height": 512, "invert": False}
    assert created["ink"] == 0
    assert is_shown_as_it_runs(created)


def test_a_stroke_of_the_mouse_is_stored_and_one_step_of_undo(cell):
    before, after, two = (cell["mouse"][state] for state in ("before", "after", "two"))
    assert after["strokes"] == ["brush"]
    assert two["strokes"] == ["brush", "brush"]
    assert (after["status"], two["status"]) == (200, 200)
    assert after["value"].endswith(".json")
    assert is_shown_as_it_runs(after)
    assert is_shown_as_it_runs(two)
    assert two["ink"] > after["ink"] > 1000
    assert [after["steps"] - before["steps"], two["steps"] - after["steps"]] == [1, 1]
    assert before["pos"] == two["pos"], "the node was dragged"
    assert before["view"] == two["view"], "the graph was panned"


def test_page_and_server_draw_the_same_picture(whole):
    for seen in (whole["mouse"]["after"], whole["tools"]["erased"]):
        apart = difference(seen)
        print(f"{apart.mean():.5f} mean, {(apart > 0.25).mean():.5f} far, {apart.max():.2f} most")
        assert apart.mean() < MOST_MEAN
        assert (apart > 0.25).mean() < MOST_FAR


def test_undo_and_redo_inside(cell):
    scene = cell["undoInside"]
    assert [len(scene[state]["strokes"]) for state in ("undone", "empty", "redone")] == [1, 0, 2]
    assert all(is_shown_as_it_runs(scene[state]) for state in ("undone", "empty", "redone"))


def test_after_undo_of_the_page_what_is_shown_runs_and_what_is_drawn_too(cell):
    scene = cell["undoOfThePage"]
    assert [len(scene[state]["strokes"]) for state in ("undone", "drawn", "inside")] == [1, 2, 1]
    for state in ("undone", "drawn", "inside"):
        assert is_shown_as_it_runs(scene[state]), state
    assert scene["undone"]["ink"] == pytest.approx(scene["inside"]["ink"])
    assert scene["drawn"]["ink"] > scene["undone"]["ink"]


def test_lines_fills_and_the_eraser(whole):
    filled, erased = whole["tools"]["filled"], whole["tools"]["erased"]
    assert filled["strokes"] == ["line"] * 4 + ["fill"]
    assert filled["ink"] == pytest.approx(0.36 * 512 * 512, rel=0.1)
    assert erased["strokes"][-1] == "eraser"
    assert erased["ink"] < filled["ink"] - 2000
    assert stroke(erased)["size"] > stroke(filled, 0)["size"]
    assert is_shown_as_it_runs(erased)


def test_a_pen_draws_as_broad_as_it_is_pressed_and_a_finger_draws(whole):
    penned, touched = whole["penAndTouch"]["penned"], whole["penAndTouch"]["touched"]
    pressures = stroke(penned)["points"][2::3]
    assert pressures == sorted(pressures)
    assert pressures[0] < 0.4 < 0.8 < pressures[-1]
    assert touched["strokes"] == ["brush", "brush"]
    assert set(stroke(touched)["points"][2::3]) == {1}
    assert is_shown_as_it_runs(touched)


def test_two_fingers_zoom_the_view_and_draw_nothing(whole):
    touched, pinched = whole["penAndTouch"]["touched"], whole["penAndTouch"]["pinched"]
    assert pinched["value"] == touched["value"]
    assert pinched["ink"] == touched["ink"]
    assert pinched["zoom"] == pytest.approx(2, abs=0.1), "twice as far apart: twice as large"
    assert pinched["view"] == touched["view"], "the graph stays as it was"
    tapped = whole["penAndTouch"]["tapped"]
    assert tapped["value"] == touched["value"], "a second finger takes back a fill as well"
    assert whole["penAndTouch"]["whole"] == 1


def test_keys_draw_and_spare_the_node(whole):
    drawn, after = whole["keys"]["drawn"], whole["keys"]["after"]
    points = stroke(drawn)["points"]
    assert points[:2] == [256, 256]
    assert points[-3] > 330
    assert points[-2] > 290
    assert after["value"] == drawn["value"]
    assert after["isOwn"]


def test_clear_has_a_way_back(whole):
    scene = whole["clearAndBack"]
    assert scene["cleared"]["value"] == ""
    assert scene["cleared"]["ink"] == 0
    assert scene["back"]["value"] == scene["before"]["value"]
    assert scene["back"]["ink"] == scene["before"]["ink"]


def test_saved_loaded_and_copied(cell):
    scene = cell["savedAndLoaded"]
    before, after = scene["before"], scene["after"]
    assert after["value"] == before["value"] == scene["stored"][0]
    assert after["ink"] == before["ink"]
    assert is_shown_as_it_runs(after)
    assert scene["copies"] == [[before["value"], len(before["strokes"])]] * 2


def test_in_a_subgraph_the_same_runs(cell):
    assert cell["subgraph"]["after"]["run"] == cell["subgraph"]["before"]["run"]


def test_a_drawing_that_a_subgraph_shows_is_drawn_there(cell):
    scene = cell["promoted"]
    assert {seen["shown"] for seen in scene.values()} == {1}
    assert all(seen["runs"] == seen["value"] for seen in scene.values())
    assert scene["before"]["value"] == scene["undone"]["value"] == ""
    assert scene["before"]["ink"] == scene["undone"]["ink"] == 0
    assert scene["drawn"]["value"].endswith(".json")
    assert scene["drawn"]["ink"] > 1000
    assert scene["again"]["value"] not in {"", scene["drawn"]["value"]}
    assert scene["loaded"] == scene["again"]


def test_renderer_switched_at_run_time(whole):
    scene = whole["rendererSwitched"]
    assert [len(scene[state]["strokes"]) for state in ("switched", "drawn", "back")] == [1, 2, 2]
    assert all(is_shown_as_it_runs(scene[state]) for state in ("switched", "drawn", "back"))


def test_what_cannot_be_stored_stays_in_the_workflow(whole):
    inline, stored = whole["notStored"]["inline"], whole["notStored"]["stored"]
    assert inline["value"].startswith("{")
    assert inline["strokes"] == inline["shown"] == ["brush"]
    assert "The drawing could not be stored: " in inline["problem"]
    assert "the disk is full" in inline["problem"]
    assert stored["value"].endswith(".json")
    assert stored["strokes"] == ["brush", "brush"]
    assert is_shown_as_it_runs(stored)


def test_a_drawing_that_is_gone_is_told_and_its_name_stays(whole):
    refused, markup = whole["gone"]["refused"], whole["gone"]["markup"]
    assert refused["value"] == "gone.json"
    assert "there is no drawing 'gone.json'" in refused["problem"]
    assert "expected a list" in markup["problem"]
    assert whole["gone"]["images"] == 0


def test_a_move_draws_what_is_new_and_the_end_one_stroke(whole):
    """On 1024 x 1024 with 200 strokes of 50 points: nothing of them is drawn again."""
    scene = whole["fluid"]
    assert scene["count"] == 201
    assert 10 <= scene["moved"] <= 60, "20 moves"
    assert scene["ended"] <= 60, "the new stroke, once"
    print(f"{scene['moveMs']:.1f} ms of the page's thread for a move")
    assert scene["moveMs"] < MOST_MOVE_MS


@pytest.mark.parametrize("name", WHOLE)
def test_the_connected_picture_lies_below(canvases, name):
    scene = canvases[name]["pictures"]
    assert "example.png" in scene["source"]
    assert is_shown_as_it_runs(scene)
    for theme in ("dark", "light"):
        picture = Image.open(PICTURES / f"canvas-{name}-{theme}.png")
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 30
