"""What a user sees without a click: errors in red on their nodes, warnings, contradictions, what a
net did, and the report.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "tests" / "output"
SINGLE = json.loads((ROOT / "example_workflows" / "01 One ControlNet.json").read_text("utf-8"))
CELLS = ("pinned-classic", "newest-nodes2")
SOME = ["schedule", "noStrength", "damagedNet", "photograph", "bar"]
WHOLE = ("newest-nodes2",)  # where every scene is played
# Ten errors that users make: how the run ends, and the one line on the node.
ERRORS = {
    "schedule": ("refused", "error", "schedule: expected a number from 0 to 1 at character 6"),
    "layers": ("refused", "error", "layers: expected 'soft', 'linear', 'blocks' or 'resolution'"),
    "unionType": ("refused", "error", "union_type: expected 'auto' or one of anime_lineart, "),
    "frames": ("refused", "error", "frame_strength: expected a whole number from 0 to 1000000"),
    "endsBeforeStart": (None, "warning", "Does nothing: end_percent lies before start_percent."),
    "noStrength": (None, "warning", "Does nothing: strength is 0."),
    "plainNetWithType": ("execution_error", "error", "ControlNet 'control_v11p_sd15_canny_fp16"),
    "damagedNet": ("execution_error", "error", "other_family.safetensors has the keys of a Co"),
    "missingWeights": ("execution_error", "error", "ControlNetHED.pth was not found and could not"),
    "photograph": ("execution_success", "warning", "92% of this hint is light, but the net reads"),
}

TEXTS = ("schedule", "layers", "unionType", "frames", "plainNetWithType")  # said by their fields


def scenes(stage):
    for cell in CELLS:
        only = {} if cell in WHOLE else {"only": SOME}
        yield "said_scenes.mjs", stage.cell(cell, single=SINGLE, **only)


@pytest.fixture(scope="session")
def spoken(played) -> dict[str, dict]:
    """Return the scenes of each cell."""
    return {cell: played("said_scenes.mjs", cell) for cell in CELLS}


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_no_scene_failed_and_the_page_threw_nothing(spoken, cell):
    failed = {name: seen["failed"] for name, seen in spoken[cell].items() if "failed" in seen}
    assert failed == {}
    assert {name: seen["thrown"] for name, seen in spoken[cell].items() if seen["thrown"]} == {}
    for name in spoken[cell]:
        assert (PICTURES / f"said-{cell}-{name}.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("cell", CELLS)
def test_an_error_stands_on_its_node_whole(spoken, cell, name):
    """The sentence, its level, nothing cut; no line of a download that has failed beside it."""
    if name not in spoken[cell]:
        assert cell not in WHOLE
        return
    seen = spoken[cell][name]
    end, level, sentence = ERRORS[name]
    assert seen.get("end") == end
    lines = [*seen["lines"], *(["error", text] for text in seen["fields"])]
    assert len(lines) == 1, "it is said once: under the text, or else at the bottom"
    ((actual_level, actual),) = lines
    assert len(seen["fields"]) == (name in TEXTS)
    assert actual_level == level
    assert actual.startswith(sentence)
    assert seen["whole"]
    assert seen["cut"] == [], "a word is cut where it would fit into one line"
    assert seen["previews"] == 0
    if end == "refused":
        assert "Write for example" in actual


@pytest.mark.slow
@pytest.mark.parametrize("cell", WHOLE)
def test_what_is_cured_is_no_longer_said(spoken, cell):
    seen = spoken[cell]["cured"]
    assert seen["end"] == "refused"
    assert [level for level, _ in seen["before"]["lines"]] == ["warning"]
    assert len(seen["before"]["fields"]) == 1
    assert seen["after"]["lines"] == seen["after"]["fields"] == []
    assert seen["again"] == "execution_success"
    assert seen["last"]["lines"] == []


@pytest.mark.slow
@pytest.mark.parametrize("cell", WHOLE)
def test_undo_takes_a_contradiction_back(spoken, cell):
    seen = spoken[cell]["undone"]
    assert [level for level, _ in seen["before"]["lines"]] == ["warning"]
    assert seen["after"]["lines"] == []


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_each_net_has_a_bar_without_a_report_in_the_graph(spoken, cell):
    seen = spoken[cell]["bar"]
    (text,) = seen["after"]["bars"]
    share, size = text.split(" · ")
    assert 0 < int(share.removesuffix(" % of the step")) < 100
    assert 0.01 < float(size.removeprefix("adds ").removesuffix(" of a block")) < 10
    assert seen["after"]["lines"] == []


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_net_that_did_nothing_says_why(spoken, cell):
    seen = spoken[cell]["bar"]
    assert seen["idle"]["lines"] == [["warning", "Does nothing: strength is 0."]]
    assert seen["idle"]["bars"] == [], "it is said once"
    assert seen["never"]["bars"] == [
        "Did nothing: no step of the last run fell into its range and schedule."
    ]


@pytest.mark.slow
@pytest.mark.parametrize("cell", WHOLE)
def test_the_report_shows_its_table_and_its_plot(spoken, cell):
    seen = spoken[cell]["report"]
    assert seen["end"] == "execution_success"
    assert seen["images"] == 1
    (table,) = seen["tables"]
    assert table.startswith("Control report: 1 ControlNet, 3 steps")
    assert seen["previews"] == 0
