"""What is shown is what runs: after undo, redo, tabs, renderers, copies, groups, subgraphs and a
reload, the visible text of every field is the prompt's, and stays so when it is edited.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

PICTURES = Path(__file__).resolve().parents[1] / "output"
CELLS = ("pinned-classic", "pinned-nodes2", "newest-classic", "newest-nodes2")
STEPS = (
    *("undo", "redo", "tabs", "renderer", "rendererBack", "paste", "removed", "clone"),
    *("group", "intoSubgraph", "inAgain", "outAndUnpacked", "reload"),
)


@pytest.fixture(scope="session")
def shown(drive, running, running_newest_page) -> dict[str, dict]:
    """Return the scenes of each cell; the two pages are driven side by side."""

    def work(page: str, address: str) -> dict[str, dict]:
        return {
            f"{page}-{renderer}": drive(
                "shown_scenes.mjs",
                {
                    "address": address,
                    "vue": renderer == "nodes2",
                    "cell": f"{page}-{renderer}",
                },
            )
            for renderer in ("classic", "nodes2")
        }

    with ThreadPoolExecutor(2) as pool:
        pages = {"pinned": running.address, "newest": running_newest_page.address}
        outcomes = pool.map(work, *zip(*pages.items(), strict=True))
        return {cell: seen for actual in outcomes for cell, seen in actual.items()}


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
