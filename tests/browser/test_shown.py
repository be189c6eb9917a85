"""What is shown is what runs: after undo, redo, tabs, renderers, copies, groups, subgraphs and a
reload, the visible text of every field is the prompt's, and stays so when it is edited; the
switch under a hint is what its node stores.
"""

from __future__ import annotations

from pathlib import Path

import pytest

PICTURES = Path(__file__).resolve().parents[1] / "output"
CELLS = ("pinned-classic", "pinned-nodes2", "newest-classic", "newest-nodes2")
STEPS = (
    *("undo", "redo", "tabs", "renderer", "rendererBack", "paste", "removed", "clone"),
    *("group", "intoSubgraph", "inAgain", "outAndUnpacked", "reload"),
)


def scenes(stage):
    for cell in CELLS:
        yield "shown_scenes.mjs", stage.cell(cell)
        yield "switch_scenes.mjs", stage.cell(cell)


@pytest.fixture(scope="session")
def shown(played) -> dict[str, dict]:
    """Return the scenes of each cell."""
    return {cell: played("shown_scenes.mjs", cell) for cell in CELLS}


@pytest.fixture(scope="session")
def switched(played) -> dict[str, dict]:
    """Return the scenes of the switch under a hint, of each cell."""
    return {cell: played("switch_scenes.mjs", cell) for cell in CELLS}


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_no_scene_failed(shown, cell):
    assert shown[cell]["failed"] == {}
    assert shown[cell]["thrown"] == []
    assert tuple(step["after"] for step in shown[cell]["seen"]) == STEPS
    assert (PICTURES / f"shown-{cell}.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["at once", "by keys", "by mouse"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_visible_text_is_the_prompts(shown, cell, step, when):
    seen = next(each for each in shown[cell]["seen"] if each["after"] == step)
    state = {"at once": seen, "by keys": seen["byKeys"], "by mouse": seen["byMouse"]}[when]
    assert state["shown"] == state["prompt"]
    assert len(state["shown"]) == (2 if step in ("paste", "clone") else 1)
    if when != "at once":
        assert seen["shown"] != state["shown"], "the edit changed nothing"


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_no_scene_of_the_switch_failed(switched, cell):
    assert switched[cell]["failed"] == {}
    assert switched[cell]["thrown"] == []
    assert tuple(step["after"] for step in switched[cell]["seen"]) == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("when", ["at once", "by mouse", "by keys"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_switch_and_the_divider_are_what_the_node_stores(switched, cell, step, when):
    seen = next(each for each in switched[cell]["seen"] if each["after"] == step)
    state = {"at once": seen, "by keys": seen["byKeys"], "by mouse": seen["byMouse"]}[when]
    expected = {
        node: {"modes": [mode], "pictures": mode != "off", "dividers": mode == "compare"}
        for node, mode in state["stored"].items()
    }
    assert state["shown"] == expected
    assert len(expected) == (2 if step in ("paste", "clone") else 1)
    if when != "at once":
        assert seen["stored"] != state["stored"], "the choice changed nothing"
