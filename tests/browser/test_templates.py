"""How the templates look when they are opened, in both renderers of the page that ComfyUI pins and
of the newest: whole, and with text that can be read.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = [file.stem for file in sorted((ROOT / "example_workflows").glob("*.json"))]
DEMOS = [file.stem for file in sorted((ROOT / "demo").glob("*.json"))]
CELLS = ("pinned-classic", "pinned-nodes2", "newest-classic", "newest-nodes2")
WINDOWS = ((1600, 1000), (1920, 945))
MEASURED_ON = (0, 33)
LEAST_ZOOM, LEAST_FONT_PX = 0.6, 8.0
pytestmark = pytest.mark.slow


def scenes(stage):
    return stage.templates() if stage.host.order >= MEASURED_ON else ()


@pytest.fixture(params=CELLS)
def seen(request, played, host) -> dict:
    if host.order < MEASURED_ON:
        pytest.skip("measured in the page that the newest ComfyUI pins")
    return {"cell": request.param, **played("template_scenes.mjs", request.param)}


def each(seen: dict, window: tuple[int, int]) -> dict[str, dict]:
    """Return the views in a window; in the newest page there is one window."""
    size = "x".join(map(str, window))
    return {name: seen[name][size] for name in (*TEMPLATES, *DEMOS) if size in seen[name]}


@pytest.mark.parametrize("window", WINDOWS)
def test_it_is_not_zoomed_out_far(seen, window):
    zooms = {name: view["zoom"] for name, view in each(seen, window).items()}
    assert {name: zoom for name, zoom in zooms.items() if zoom < LEAST_ZOOM} == {}
    assert seen["errors"] == []


def test_every_text_can_be_read(seen):
    """The smallest text in the canvas and in the elements over it, at 1600 x 1000."""
    smallest = {name: view["smallest"] for name, view in each(seen, WINDOWS[0]).items()}
    assert {name: text for name, text in smallest.items() if text[0] < LEAST_FONT_PX} == {}
    if seen["cell"].endswith("classic"):  # which leaves out texts that would be smaller
        views = each(seen, WINDOWS[0]).values()
        assert [view["titles"] for view in views if view["titles"]] == []


def test_no_node_is_red(seen):
    """Every node is known here, and nothing that it holds is refused."""
    views = each(seen, WINDOWS[0])  # the demos' own models are not here
    red = {name: view["red"] for name, view in views.items() if name in TEMPLATES}
    assert {name: nodes for name, nodes in red.items() if nodes} == {}


@pytest.mark.parametrize("window", WINDOWS)
def test_no_node_lies_on_another(seen, window):
    overlaps = {name: view["overlaps"] for name, view in each(seen, window).items()}
    assert {name: pairs for name, pairs in overlaps.items() if pairs} == {}


def test_no_title_of_a_frame_is_covered(seen):
    """By the marks of nodes, which classic writes above them."""
    views = each(seen, WINDOWS[0])
    assert {name: view["undrawn"] for name, view in views.items() if view["undrawn"]} == {}
    covered = {name: view["covered"] for name, view in views.items()}
    assert {name: titles for name, titles in covered.items() if titles} == {}


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_has_a_picture_with_its_title(name):
    assert Image.open(ROOT / "example_workflows" / f"{name}.jpg").size == (800, 800)
