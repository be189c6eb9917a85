"""Texts of ours on a subgraph's node: fields there, each copy its own, shown as they run."""

from __future__ import annotations

from pathlib import Path

import pytest

PICTURES = Path(__file__).resolve().parents[1] / "output"
CELLS = ("pinned-classic", "newest-nodes2")
NAMES = ["strength", "schedule", "layers", "union_type"]


def scenes(stage):
    for cell in CELLS:
        yield "promoted_scenes.mjs", stage.cell(cell)


@pytest.fixture(scope="session")
def promoted(played) -> dict[str, dict]:
    """Return the scenes of each cell."""
    return {cell: played("promoted_scenes.mjs", cell) for cell in CELLS}


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_promoted_text_is_a_field(promoted, cell):
    seen = promoted[cell]
    assert seen["errors"] == []
    for state in ("before", "keys", "mouse", "undone", "two", "loaded"):
        for node in seen[state]:
            assert node["names"] == NAMES
            assert node["shown"] == node["prompt"], state
    assert seen["keys"][0]["shown"] == {
        **{"schedule": ["0:1, 0.5:0.2, 1:0"], "layers": ["1 1 0.5"], "union_type": ["depth"]}
    }
    assert seen["mouse"][0]["shown"] != seen["keys"][0]["shown"], "the drag changed nothing"
    assert seen["elsewhere"] == seen["keys"], "the browser's own undo took a text back"
    assert seen["undone"] == seen["keys"]
    assert (PICTURES / f"promoted-{cell}.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_there_as_soon_as_the_workflow_is(promoted, cell):
    """Not only once something else makes the page draw its nodes anew."""
    assert promoted[cell]["atOnce"] == NAMES[1:]


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_each_copy_of_a_subgraph_has_its_own_text(promoted, cell):
    one, two = (node["prompt"]["schedule"] for node in promoted[cell]["two"])
    assert (one, two) == (["0:1, 0.5:0.2, 1:0"], ["0:0.5"])
    assert promoted[cell]["loaded"] == promoted[cell]["two"]
