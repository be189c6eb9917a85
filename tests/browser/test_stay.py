"""What a run left on nodes, a net's bar and the report's table, stays there whatever builds nodes
anew; a node that did not run itself shows none.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SINGLE = json.loads((ROOT / "example_workflows" / "01 One ControlNet.json").read_text("utf-8"))
CELLS = ("pinned-classic", "newest-nodes2")
SAME = ("undo", "redo", "tabs", "renderer", "rendererBack", "paste", "removed", "clone", "group")
OTHERS = ("intoSubgraph", "outAndUnpacked", "reload")  # with nodes of other names
pytestmark = pytest.mark.slow


def scenes(stage):
    for cell in CELLS:
        yield "stay_scenes.mjs", stage.cell(cell, single=SINGLE)


@pytest.fixture(params=CELLS)
def stayed(request, played) -> dict:
    return played("stay_scenes.mjs", request.param)


def test_no_step_failed_and_the_page_threw_nothing(stayed):
    assert stayed["failed"] == {}
    assert stayed["errors"] == []
    first = stayed["first"]
    assert first["end"] == "execution_success"
    (bar,), (table,) = first["bars"], first["tables"]
    assert " % of the step · adds " in bar
    assert table.startswith("Control report: 1 ControlNet, 3 steps")
    assert first["owners"] == [1, 1]


@pytest.mark.parametrize("step", SAME)
def test_the_result_is_there_after(stayed, step):
    first = {**stayed["first"]}
    first.pop("end")
    assert stayed["seen"][step] == first


@pytest.mark.parametrize("step", OTHERS)
def test_other_nodes_show_none_until_they_ran(stayed, step):
    assert stayed["seen"][step]["bars"] == []
    after = stayed["seen"][f"{step} and run"]
    assert after["end"] == "execution_success"
    assert len(after["bars"]) == len(after["tables"]) == 1
    assert after["owners"] == [1, 1]


def test_in_a_subgraph_it_is_there_when_it_is_entered_again(stayed):
    after = stayed["seen"]["intoSubgraph and run"]
    assert stayed["seen"]["inAgain"] == {key: after[key] for key in after if key != "end"}
