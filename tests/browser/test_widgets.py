"""The schedule curve and the layer bars, worked with a real mouse and real keys in both renderers
of two pages.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SAVED = {
    file.stem: json.loads(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / "tests" / "fixtures" / "workflows").glob("*.json"))
}
CELLS = ("pinned-classic", "pinned-nodes2", "newest-classic", "newest-nodes2")
NEW = {
    **{"strength": 1, "start_percent": 0, "end_percent": 1, "mode": "balanced", "fit": "crop"},
    **{"schedule": "", "layers": "", "union_type": "auto", "frame_strength": ""},
}


def kept_still(scene: dict) -> bool:
    """Tell whether the node was not dragged and the canvas was not panned."""
    return (
        scene["before"]["pos"] == scene["after"]["pos"]
        and scene["before"]["view"] == scene["after"]["view"]
    )


def schedule(state: dict) -> str:
    return state["values"]["schedule"]


def layers(state: dict) -> str:
    return state["values"]["layers"]


def test_no_scene_failed_and_the_page_threw_nothing(cell):
    failed = {
        name: seen["failed"]
        for name, seen in cell.items()
        if isinstance(seen, dict) and "failed" in seen
    }
    assert failed == {}
    assert {
        name: seen["errors"]
        for name, seen in cell.items()
        if isinstance(seen, dict) and seen.get("errors")
    } == {}
    assert cell["errors"] == []


def test_created_with_its_defaults(cell):
    assert cell["created"]["values"] == NEW
    assert cell["created"]["prompt"] == NEW
    assert cell["created"]["types"]["schedule"] == "controlstack_schedule"
    assert cell["created"]["types"]["layers"] == "controlstack_layers"


def test_point_follows_the_mouse_and_undo_brings_it_back(cell):
    scene = cell["curveByMouse"]
    assert schedule(scene["before"]) == "0:0, 0.5:1, 1:0 | smooth"
    first, middle, last = schedule(scene["after"]).removesuffix(" | smooth").split(", ")
    position, strength = map(float, middle.split(":"))
    assert (first, last) == ("0:0", "1:0")
    assert position == pytest.approx(0.33, abs=0.03)  # 40 px of a plot some 230 px wide
    assert strength == pytest.approx(0.67, abs=0.04)  # 30 of 84 to 100 px
    assert kept_still(scene)
    assert schedule(scene["undone"]) == schedule(scene["before"])


def test_double_click_adds_a_point_and_takes_it_away(cell):
    scene = cell["curveByDoubleClick"]
    assert schedule(scene["added"]).startswith("0:1, 0.5:0.8")
    assert schedule(scene["removed"]) == "0:1, 1:0"
    assert scene["dialogs"] == 0


def test_keys_move_add_and_delete_points_and_spare_the_node(cell):
    scene = cell["curveByKeys"]
    assert list(scene["seen"].values()) == [
        "0:0, 0.49:1, 1:0 | smooth",
        "0:0, 0.49:0.9, 1:0 | smooth",
        "0:0, 0.49:0.9, 0.745:0.563, 1:0 | smooth",
        "0:0, 0.49:0.9, 1:0 | smooth",
        "0:0, 1:0 | smooth",
    ]
    assert scene["nodes"] == 1
    assert scene["labels"] == "strength 0 at 0 % of sampling"


def test_tab_reaches_everything_in_its_order(cell):
    reached = [
        label for label in cell["curveByTab"]["reached"] if not label.startswith("schedule: points")
    ]
    assert reached[:6] == [
        "point 1 at 0 % of sampling",
        "point 2 at 100 % of sampling",
        "preset",
        "interpolation between points",
        "position of the point",
        "strength at the point",
    ]
    assert cell["curveByTab"]["value"] == "0:1, 1:0"


def test_numbers_place_a_point(cell):
    assert cell["curveByNumbers"]["value"] == "0:1, 0.8:1.5 | step"
    assert cell["curveByNumbers"]["positionOfPreset"] == "0", "a preset begins at its first point"


def test_text_that_does_not_parse_stays_and_gets_a_sentence(cell):
    scene = cell["textAndErrors"]
    assert scene["wrong"]["value"] == "0:1, tomorrow:2"
    assert scene["wrong"]["message"].startswith(
        "schedule: expected a number from 0 to 1 at character 6"
    )
    assert scene["wrong"]["invalid"] == "true"
    assert scene["right"] == {"value": "0:0.5, 1:1", "alerts": 0}


def test_text_form_is_copied_and_pasted(cell):
    scene = cell["copyAndPaste"]
    assert scene["copied"] == "0:0, 0.5:1, 1:0 | smooth"
    assert scene["value"] == "0:0.2, 1:0.4"
    assert scene["nodes"] == 1


def test_bars_follow_the_mouse_and_undo_brings_them_back(cell):
    scene = cell["barsByMouse"]
    assert layers(scene["before"]) == "soft 0.825"
    weights = [float(word) for word in layers(scene["after"]).removeprefix("blocks ").split(",")]
    assert len(weights) == 13
    assert weights[:2] == [0.099, 0.121]
    assert weights[7:] == [0.382, 0.463, 0.562, 0.681, 0.825, 1]
    assert all(weight > 0.45 for weight in weights[2:6]), (
        "dragging along the bars draws their shape"
    )
    assert kept_still(scene)
    assert layers(scene["undone"]) == "soft 0.825"


def test_bars_by_keys_and_numbers(cell):
    scene = cell["barsByKeys"]
    assert scene["preset"] == "resolution"
    assert scene["keys"] == "blocks 1, 0.89, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1"
    assert scene["numbers"] == "blocks 1, 0.25, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1"
    assert scene["label"] == "middle block"


def test_saved_and_loaded_equal(cell):
    scene = cell["savedAndLoaded"]
    assert scene["after"]["values"] == scene["before"]["values"]
    assert scene["stored"] == scene["again"] == list(scene["before"]["values"].values())
    assert scene["open"] == 2, "what was open is open again"
    (_, before), (_, after) = scene["sizes"]
    assert after == pytest.approx(before, abs=8)


def test_renderer_switched_at_run_time(cell):
    scene = cell["rendererSwitched"]
    assert scene["unchanged"] == "0:0, 0.5:1, 1:0 | smooth"
    assert schedule(scene["edited"]) not in ("", scene["unchanged"])
    assert schedule(scene["back"]) == schedule(scene["edited"])
    assert scene["seen"]


def meaning(prompt: dict) -> list:
    """Make a prompt without its ids: every node's class and inputs, links by their source."""

    def source(value):
        return [prompt[value[0]]["class_type"], value[1]] if isinstance(value, list) else value

    nodes = (
        {"is": n["class_type"], **{k: source(v) for k, v in n["inputs"].items()}}
        for n in prompt.values()
    )
    return sorted(nodes, key=lambda node: json.dumps(node, sort_keys=True))


def test_as_a_subgraph_the_prompt_is_equal(cell):
    scene = cell["subgraph"]
    assert any(":" in node for node in scene["after"]), "nothing went into a subgraph"
    assert meaning(scene["after"]) == meaning(scene["before"])


def test_a_wire_takes_the_place_of_the_text(cell):
    assert cell["linked"]["schedule"] == ["2", 0]
    assert cell["linked"]["editable"] == 0, "what is typed there would not run"


def test_a_tall_node_gives_its_height_to_the_open_plots(cell):
    before, tall, closed = (cell["tall"][state] for state in ("before", "tall", "closed"))
    grown = [after - height for after, height in zip(tall["plots"], before["plots"], strict=True)]
    assert sum(grown) > 200
    assert grown[0] == pytest.approx(grown[1], abs=2)
    assert closed["fields"][1] < 30, "a closed field has a hole below it"
    assert closed["plots"][0] >= before["plots"][0] - 1


def test_wire_of_a_stack_has_a_colour_and_suggests_what_takes_it(cell):
    scene = cell["stackWire"]
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in scene["colours"])
    assert {"ControlStackApply", "ControlStackAdd"} <= set(scene["offered"])


def test_a_muted_node_is_dim_with_its_fields(cell):
    assert cell["muted"]["plain"] == 1
    assert cell["muted"]["muted"] < 0.8
    assert cell["muted"]["bypassed"] < 0.8


def test_markup_is_text(cell):
    scene = cell["markup"]
    assert (scene["hit"], scene["images"]) == (0, 0)
    assert scene["value"] == scene["nasty"]
    assert "<img" in scene["message"]


def as_saved(prompt: dict, version: str) -> dict:
    """Return what runs of a prompt: without titles, and without the inputs that its nodes did not
    have when it was saved.
    """
    saved = SAVED[version]["prompt"]
    return {
        node: {
            "class_type": words["class_type"],
            "inputs": {
                name: value
                for name, value in words["inputs"].items()
                if name in saved[node]["inputs"]
            },
        }
        for node, words in prompt.items()
    }


@pytest.mark.parametrize("version", SAVED)
def test_old_workflows_load_with_their_values(cell, version):
    assert as_saved(cell["saved"][version], version) == as_saved(SAVED[version]["prompt"], version)


@pytest.mark.parametrize("version", SAVED)
def test_without_scripts_the_values_are_plain_texts(one_cell, version):
    without = one_cell["withoutScripts"]
    assert without["created"]["types"]["schedule"] in ("text", "customtext", "string")
    assert without["created"]["values"] == NEW
    expected = as_saved(SAVED[version]["prompt"], version)
    assert as_saved(without["saved"][version], version) == expected


@pytest.mark.parametrize("version", SAVED)
def test_a_widget_that_breaks_becomes_plain_text(one_cell, version):
    broken = one_cell["withBrokenWidget"]
    assert broken["created"]["types"]["schedule"] == "text"
    assert broken["created"]["types"]["layers"] == "controlstack_layers"
    assert broken["created"]["values"] == NEW
    expected = as_saved(SAVED[version]["prompt"], version)
    assert as_saved(broken["saved"][version], version) == expected
    assert broken["thrown"] == []
    assert len([line for line in broken["logged"] if "'schedule'" in line]) == 1, "logged once"


@pytest.mark.parametrize("name", CELLS)
def test_pictures_of_the_cells_are_kept(cells, name):
    for theme in ("dark", "light"):
        picture = Image.open(ROOT / "tests" / "output" / f"widgets-{name}-{theme}.png")
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 30
