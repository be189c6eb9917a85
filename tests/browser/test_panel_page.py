"""Control Stack Panel in the page: rows are made, changed, ordered and saved as a user would, and
what is shown is what runs.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PICTURES = Path(__file__).resolve().parents[1] / "output"
WHOLE = ("pinned-classic", "newest-nodes2")
CELLS = (*WHOLE, "newest-classic", "pinned-nodes2")
MOST = (
    *(
        "edited",
        "typed",
        "ordered",
        "walked",
        "built",
        "promoted",
        "live",
        "marked",
        "broken",
        "wired",
    ),
)
LAST = ("fluid", "pictures", "presets")
SOME = ("edited", "typed", "built", "promoted")
"""What is seen in the other cells too: what renderer and page decide."""
SCENES = {
    **dict.fromkeys(CELLS, SOME),
    "pinned-classic": (*MOST, *LAST),
    "newest-nodes2": (*MOST, *LAST, "fromEmptyCanvas"),
    "pinned-nodes2": (*SOME, "fromEmptyCanvas"),  # where pulled wires go untold
}
SDXL, UNION, FLUX = (f"{name}.safetensors" for name in ("plain_sdxl", "union_sdxl", "union_flux"))
NASTY = '<img src=x onerror="window.hit=1">'
MOST_STEP_MS = 33  # of one thread, for one step of a number among twenty rows: 30 frames a second


def scenes(stage):
    for cell in CELLS:
        yield "panel_scenes.mjs", stage.cell(cell, only=SCENES[cell])


@pytest.fixture(scope="session")
def panels(played) -> dict[str, dict]:
    """Return the scenes of each cell."""
    return {cell: played("panel_scenes.mjs", cell) for cell in CELLS}


@pytest.fixture(params=WHOLE)
def seen(request, panels) -> dict:
    return panels[request.param]


@pytest.fixture(params=CELLS)
def some(request, panels) -> dict:
    return panels[request.param]


def rows(state: dict) -> list[dict]:
    return json.loads(state["text"])["rows"]


@pytest.mark.slow
def test_no_scene_failed_and_the_page_threw_nothing(some):
    failed = {name: scene["failed"] for name, scene in some.items() if "failed" in scene}
    assert failed == {}
    assert {name: scene["errors"] for name, scene in some.items() if scene["errors"]} == {}


@pytest.mark.slow
def test_rows_are_made_and_changed_by_mouse_and_keys(some):
    scene = some["edited"]
    assert scene["created"]["text"] == '{"v":1,"rows":[]}'
    (row,) = rows(scene["edited"])
    wanted = {"net": SDXL, "method": "canny", "strength": 0.35, "mode": "prompt", "on": True}
    assert row.items() >= wanted.items()
    assert row["params"] == {"low_threshold": 42}
    (undone,) = rows(scene["undone"])
    assert undone == {**row, "params": {}}, "the last change alone is undone"
    assert scene["redone"]["text"] == scene["edited"]["text"]
    (after,) = rows(scene["after"])
    assert after == {**row, "strength": 0.7}, "what is typed after undo and redo runs"
    for name in ("created", "edited", "undone", "redone", "after"):
        assert scene[name]["seen"] == scene[name]["runs"], name
        assert scene[name]["pos"] == [100, 40], "the node stayed where it was"


@pytest.mark.slow
def test_what_is_typed_is_undone_over_the_canvas_once(some):
    scene = some["typed"]
    strengths = {
        name: [row.get("strength") for row in rows(scene[name])]
        for name in scene
        if isinstance(scene[name], dict)
    }
    assert strengths["first"] == strengths["undone"] == [0.5, None, None]
    assert strengths["written"] == strengths["redone"] == strengths["own"] == [0.31, None, None]
    assert strengths["last"] == [0.31, 0.6, None], "what is typed afterwards runs"
    for name in strengths:
        assert scene[name]["seen"] == scene[name]["runs"], name


@pytest.mark.slow
def test_rows_are_ordered_copied_and_switched(seen):
    scene = seen["ordered"]
    nets = {
        name: [row["net"] for row in scene[name]["runs"]]
        for name in ("before", "dragged", "undone")
    }
    assert nets["before"] == nets["undone"] == [SDXL, UNION, FLUX]
    assert nets["dragged"] == [UNION, FLUX, SDXL]
    assert scene["dragged"]["pos"] == scene["before"]["pos"]
    assert rows(scene["dragged"])[2]["mine"] == {"later": [1]}, "what is not known stays"
    plain, union, flux = "plain_sdxl", "union_sdxl", "union_flux off"
    assert scene["seen"] == {
        "ArrowDown": [union, plain, flux],
        "End": [union, flux, plain],
        "Home": [plain, union, flux],
        "d": [plain, plain, union, flux],
        "m": [plain, f"{plain} off", union, flux],
        "s": [f"{plain} off", plain, f"{union} off", flux],
        "Delete": [f"{plain} off", f"{union} off", flux],
    }
    assert scene["nodes"] == 2, "Delete removed the row, not the node"
    assert scene["last"]["seen"] == scene["last"]["runs"]


@pytest.mark.slow
def test_the_keyboard_alone_makes_and_sets_a_row(seen):
    """Every stop of the Tab key has a name that a screen reader can say."""
    scene = seen["walked"]
    assert all(scene["stops"]), scene["stops"]
    assert scene["last"]["seen"] == scene["last"]["runs"]
    first, second = scene["last"]["runs"]
    assert (first["on"], first["strength"], first["mode"]) == (True, 1, "balanced")
    assert (second["on"], second["strength"], second["mode"]) == (False, 0.55, "prompt")
    assert second["net"] != scene["offered"]


@pytest.mark.slow
@pytest.mark.parametrize("step", ["reload", "clone", "renderer", "back", "subgraph"])
def test_what_is_shown_runs_whatever_built_the_node(some, step):
    scene = some["built"]["seen"][step]
    assert scene["first"]["seen"] == scene["first"]["runs"]
    assert scene["then"]["seen"] == scene["then"]["runs"]
    assert scene["then"]["text"] != scene["first"]["text"], "the edit changed nothing"
    assert len(scene["first"]["runs"]) == 3


@pytest.mark.slow
def test_rows_that_a_subgraph_shows_are_edited_there(some):
    scene = some["promoted"]
    assert scene["first"]["seen"] == scene["first"]["runs"]
    assert scene["then"]["seen"] == scene["then"]["runs"]
    assert [row["strength"] for row in scene["then"]["runs"]] == [0.5, 0.77, 1]


@pytest.mark.slow
def test_live_hints_stand_in_their_rows(seen):
    first, second = seen["live"]["first"], seen["live"]["second"]
    assert first.startswith("blob:")
    assert second.startswith("blob:")
    assert first != second


@pytest.mark.slow
def test_a_row_whose_file_or_values_cannot_be_used_is_marked(seen):
    scene = seen["marked"]
    gone, nasty, lora, mode = scene["marks"]
    assert gone.startswith("'gone.safetensors' was not found in models/controlnet")
    assert f"'{NASTY}.pth' was not found" in nasty
    assert "method" in nasty
    assert "a_lora.safetensors' is not a ControlNet (LoRA)" in lora
    assert 'strength: "much" cannot be used here' in lora
    assert "Nothing is connected to image3:" in lora
    assert "mode" in mode
    assert scene["hit"] == scene["images"] == 0, "markup is shown as text"
    before, after = json.loads(scene["before"])["rows"], rows(scene["after"])
    assert after == [{**before[0], "strength": 0.4}, *before[1:]], "saved values stay"


@pytest.mark.slow
def test_a_text_that_is_not_a_panel_is_shown_and_stays(seen):
    scene = seen["broken"]
    assert scene["stays"] == scene["wrong"] != scene["written"]
    assert scene["alert"].startswith("rows: expected JSON such as")
    assert scene["rows"] == 0
    assert scene["right"]["text"] == '{"v":1,"rows":[{"net":"x"}],"note":1}'
    assert scene["right"]["seen"] == scene["right"]["runs"]


@pytest.mark.slow
def test_a_wired_text_wins(seen):
    assert seen["wired"]["isLive"] == 0


@pytest.mark.slow
def test_twenty_rows_stay_fluid(seen):
    scene = seen["fluid"]
    assert scene["stepMs"] < MOST_STEP_MS
    assert scene["height"] < 700, "a long list scrolls"
    assert scene["view"][0] > scene["view"][1]
    assert scene["seen"] == scene["runs"]


@pytest.mark.slow
def test_presets_are_saved_opened_renamed_and_deleted(seen, request):
    scene = seen["presets"]
    cell = request.node.callspec.params["seen"]
    assert scene["outside"].startswith("The name '../outside' cannot be a file's")
    assert scene["saved"] == scene["replaced"] == f"Saved as '{cell}'."
    assert scene["again"] == f"'{cell}' exists: press again to replace it."
    assert cell in scene["listed"]
    assert scene["opened"].startswith("Not here: 'gone.safetensors'.")
    assert [row["net"] for row in scene["rows"]["runs"]] == [SDXL, "gone.safetensors"]
    assert scene["rows"]["seen"] == scene["rows"]["runs"]
    assert len(scene["ids"]) == len(set(scene["ids"])) == 4
    assert scene["file"] == f"{cell}.json"
    assert [row["net"] for row in scene["exported"]["rows"]] == [SDXL, "gone.safetensors"]
    assert scene["imported"] == f"Imported as 'panel-preset-{cell}'."
    assert scene["refused"].startswith("'<b>x</b>.json' is not a preset of this panel")
    assert scene["renamed"] == f"'{cell}' is now '{cell} renamed'."
    assert "press again" in scene["sure"]
    assert scene["deleted"] == f"Deleted '{cell} renamed'."
    assert f"presets/panel-preset-{cell}.json" in scene["stored"]
    assert all(path.startswith("presets/") for path in scene["stored"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["newest-nodes2", "pinned-nodes2"])
def test_three_nets_take_one_node_and_six_wires(panels, name):
    """From the host's own nodes to a picture, by search, mouse and Run."""
    scene = panels[name]["fromEmptyCanvas"]
    assert scene["end"] == ["execution_success", ""]
    assert scene["rows"] == scene["thumbs"] == 3
    assert len(set(scene["nets"])) == 3, "each new row takes a net that fits and is not used yet"
    assert (scene["ours"], scene["wires"]) == (1, 6)
    assert scene["clicks"] == 14
    again = {"before": 0, "cached": 3, "opened": 3}
    assert scene["again"] == again, "rows that ComfyUI does not run again show what they showed"
    assert scene["previews"] == [], "hints stand in their rows, not once more below them"
