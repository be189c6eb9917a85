"""How the templates look when they are opened: whole, and with text that can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from workbench import links

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = {
    file.stem: json.loads(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / "example_workflows").glob("*.json"))
}
DEMOS = {
    file.stem: json.loads(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / "demo").glob("*.json"))
}
WORKFLOWS = {**TEMPLATES, **DEMOS}
WINDOWS = ((1600, 1000), (1920, 945))
MEASURED_ON = (0, 33)
LEAST_ZOOM, LEAST_FONT_PX = 0.6, 8.0
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["classic", "nodes2"])
def seen(request, drive, running, host) -> dict:
    if host.order < MEASURED_ON:
        pytest.skip("measured in the page that the newest ComfyUI pins")
    ask = {
        "address": running.address,
        "vue": request.param == "nodes2",
        "cell": request.param,
        "workflows": WORKFLOWS,
        "windows": WINDOWS,
        "pictured": [*WORKFLOWS],
    }
    with links.named_models(running.base / "models", TEMPLATES.values()):
        return {"renderer": request.param, **drive("template_scenes.mjs", ask)}


def each(seen: dict, window: tuple[int, int]) -> dict[str, dict]:
    return {name: seen[name]["x".join(map(str, window))] for name in WORKFLOWS}


@pytest.mark.parametrize("window", WINDOWS)
def test_it_is_not_zoomed_out_far(seen, window):
    zooms = {name: view["zoom"] for name, view in each(seen, window).items()}
    assert {name: zoom for name, zoom in zooms.items() if zoom < LEAST_ZOOM} == {}
    assert seen["errors"] == []


def test_every_text_can_be_read(seen):
    """The smallest text in the canvas and in the elements over it, at 1600 x 1000."""
    smallest = {name: view["smallest"] for name, view in each(seen, WINDOWS[0]).items()}
    assert {name: text for name, text in smallest.items() if text[0] < LEAST_FONT_PX} == {}
    if seen["renderer"] == "classic":  # which leaves out texts that would be smaller
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


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_has_a_picture_with_its_title(name):
    assert Image.open(ROOT / "example_workflows" / f"{name}.jpg").size == (800, 800)
