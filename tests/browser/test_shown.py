"""What is shown is what runs: after undo, redo, tabs, renderers, copies, groups, subgraphs and a
reload, the visible text of every field is the prompt's, and stays so when it is edited.
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


@pytest.fixture(scope="session")
def shown(played) -> dict[str, dict]:
    """Return the scenes of each cell."""
    return {cell: played("shown_scenes.mjs", cell) for cell in CELLS}


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
