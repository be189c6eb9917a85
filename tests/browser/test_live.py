"""Hints that follow a setting, the comparison with the source, and lists of nets, in the same four
cells.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from workbench import links

OUTPUT = Path(__file__).resolve().parents[1] / "output"
EXAMPLES = Path(__file__).resolve().parents[2] / "example_workflows"
TEMPLATES = [json.loads(file.read_text("utf-8")) for file in EXAMPLES.glob("*.json")]
NAMED = {
    (model["directory"], model["name"])
    for template in TEMPLATES
    for node in template["nodes"]
    for model in node["properties"].get("models", [])
}
NETS = sorted(
    name for folder, name in NAMED if folder == "controlnet" and name not in links.HEADERS
)
"""Nets that templates name, for which tiny ones for SD 1.5 stand here."""
STRANGER = "other_family.safetensors"
OTHERS = [
    *("a_lora.safetensors", STRANGER, "plain_sdxl.safetensors"),
    *("union_flux.safetensors", "union_sdxl.safetensors"),
    *(name for folder, name in NAMED if folder == "controlnet" and name in links.HEADERS),
    *(f"{folder}/{name}" for folder, name in NAMED if folder == "model_patches"),
]


def test_nodes_that_were_never_switched_follow_the_setting(cell):
    assert cell["liveByRoute"]["chosen"] == ["live", "off"]


def test_live_hints_are_off_until_the_setting_says_so(cell):
    assert cell["liveOff"]["compares"] == 0


def test_cheap_hint_follows_the_setting_and_the_newest_wins(cell):
    scene = cell["liveByRoute"]
    assert scene["many"]["isBlob"], "it came through the queue"
    assert scene["many"]["size"] == scene["few"]["size"] == [512, 512]
    assert scene["many"]["white"] > scene["few"]["white"] > 0


def test_picture_in_the_node_is_not_saved(cell):
    scene = cell["liveByRoute"]
    assert scene["plain"] == [100, 200, 0]
    assert scene["stored"] == [250, 255, 0]


def test_other_hints_come_through_the_queue(cell):
    hint = cell["liveThroughQueue"]["hint"]
    assert not hint["isBlob"]
    assert hint["size"] == [512, 512]
    assert hint["white"] > 0
    assert cell["liveThroughQueue"]["nodes"] == 3, "asking left a node behind"


def test_hint_of_other_settings_is_dim_and_says_so(cell):
    outdated = cell["liveThroughQueue"]["outdated"]
    assert outdated["text"] == "a hint of other settings: run it to see the present one"
    assert outdated["opacity"] < 0.5


def test_divider_follows_mouse_and_keys_and_spares_the_node(cell):
    scene = cell["compared"]
    assert scene["before"] == scene["after"]
    assert abs(scene["dragged"] - 25) <= 4
    assert scene["pressed"] == scene["dragged"] + 1
    assert scene["label"] == "divider between source and hint"


def test_switch_under_the_hint_is_seen_and_remembered(cell):
    scene = cell["switched"]
    plain = {"hints": 1, "dividers": 0}
    assert scene["before"] == {"chosen": ["off"], "hints": 0, "dividers": 0, "property": None}
    assert scene["live"] == {"chosen": ["live"], **plain, "property": "live"}
    divided = {"chosen": ["compare"], "hints": 1, "dividers": 1, "property": "compare"}
    assert scene["compared"] == scene["loaded"] == divided
    fine, coarse, undone = scene["white"]
    assert fine == undone != coarse, "the hint is not that of the settings that undo gave back"
    assert scene["off"] == {"chosen": ["off"], "hints": 0, "dividers": 0, "property": "off"}


def test_settings_of_a_chosen_method_survive_beside_the_picture(cell):
    """Widgets that store nothing have cost nodes with a list of methods their values (a defect of
    newer pages).
    """
    scene = cell["compared"]
    assert scene["stored"][:5] == [0, "lineart", "standard", 3.5, 21]
    assert scene["again"] == scene["stored"]


def test_comparison_is_asked_for_and_ended_in_the_nodes_menu(cell):
    scene = cell["comparedByMenu"]
    assert (scene["first"], scene["second"]) == ("Compare with the source", "Hide the comparison")
    assert scene["counts"] == [1, 1, 0]
    assert scene["stored"] == [100, 200, 0]


def test_curve_and_bars_know_the_sampler_and_the_net(cell):
    """The net's header has one zero convolution, so with the middle it has two blocks."""
    scene = cell["readFromTheGraph"]
    curve, bars = scene["before"]
    assert (curve["steps"], curve["ticks"], bars["bars"]) == ("20 steps", 20, 2)
    assert scene["after"][0]["steps"] == "8 steps"
    assert scene["after"][0]["ticks"] == 8


def test_add_warns_on_its_node_of_a_hint_that_its_net_was_not_trained_on(cell):
    """It stays when the run has ended, whole and once; nothing is changed or saved; a hint that
    fits takes it away.
    """
    scene = cell["remark"]
    assert scene["end"] == "execution_success"
    assert "the net reads bright lines on black" in scene["seen"].pop("text")
    assert scene["seen"] == {"isWhole": True, "isInside": True, "others": 0}
    assert scene["stored"] == scene["asked"]
    assert scene["left"] == 0


def test_only_nets_that_fit_the_model_are_offered(cell):
    scene = cell["netLists"]
    assert [sorted(one["values"]) for one in scene["fitting"]] == [NETS, NETS]
    assert [sorted(one["values"]) for one in scene["all"]] == [sorted([*NETS, *OTHERS])] * 2


def test_saved_net_is_never_dropped_and_its_family_is_shown(cell):
    for one in cell["netLists"]["saved"]:
        assert one["value"] == STRANGER
        assert STRANGER in one["values"]
        assert "ControlNet for SDXL, does not fit" in one["label"]


def test_pictures_are_kept(cells):
    for name in cells:
        for scene in ("compare", "remark"):
            assert (
                len(Image.open(OUTPUT / f"{scene}-{name}.png").convert("RGB").getcolors(1 << 24))
                > 100
            )
