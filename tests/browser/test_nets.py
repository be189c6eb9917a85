"""What a net takes, on the nodes: its union types as a list, strength over frames as a curve; and
which file a new loader shows.
"""

from __future__ import annotations

from pathlib import Path

import pytest

PICTURES = Path(__file__).resolve().parents[1] / "output"
# As their authors list them (xinsir's union for SDXL with six types; InstantX's for Flux).
SDXL = [
    *("openpose", "depth", "hed/pidi/scribble/ted"),
    *("canny/lineart/anime_lineart/mlsd", "normal", "segment"),
]
FLUX = ["canny", "tile", "depth", "blur", "pose/openpose", "gray/grey", "lq"]


def test_the_list_offers_the_types_of_the_connected_net(cell):
    scene = cell["unionTypes"]
    assert scene["sdxl"]["offered"] == ["auto", *SDXL]
    assert scene["flux"]["offered"] == ["auto", *FLUX]
    assert scene["sdxl"]["groups"] == scene["flux"]["groups"] == []


def test_without_a_known_net_the_list_offers_all_types(cell):
    scene = cell["unionTypes"]["noNet"]
    assert scene["groups"] == ["types of all union nets"]
    assert set(scene["offered"]) == {"auto", *SDXL, *FLUX, "repaint"}


def test_a_net_without_types_says_that_it_needs_none(cell):
    scene = cell["unionTypes"]
    assert scene["plain"]["offered"] == []
    assert (scene["plain"]["note"], scene["plain"]["problem"]) == ("not needed", "")
    assert scene["plainWithType"]["problem"].startswith(
        "ControlNet 'plain_sdxl.safetensors' (ControlNet for SDXL) has no union types"
    )
    assert scene["sdxl"]["note"] == ""


def test_a_choice_reaches_the_prompt_and_types_go_together(cell):
    scene = cell["unionTypes"]
    assert scene["one"]["prompt"] == "depth"
    assert scene["one"]["groups"] == ["together with"]
    assert scene["two"]["prompt"] == "depth, normal"
    assert scene["two"]["problem"] == ""


def test_the_text_stays_free_and_says_what_the_net_cannot_take(cell):
    scene = cell["unionTypes"]
    assert (scene["free"]["prompt"], scene["free"]["problem"]) == ("pidi, openpose:0.5", "")
    assert scene["lacking"]["problem"].endswith(
        f"has no type 'tile': choose 'auto' or one of {', '.join(SDXL)}"
    )
    assert scene["fluxTwo"]["problem"].endswith(
        "takes one type at a time, found 'canny, depth': choose one, and add the net once more for"
        " each of the others"
    )
    words = "anime_lineart, canny, canny/lineart/anime_lineart/mlsd, depth, hed, "
    words += "hed/pidi/scribble/ted, lineart, mlsd, normal, openpose, pidi, pose, scribble, segment"
    assert scene["misspelt"]["problem"] == (
        f"union_type: expected 'auto' or one of {words}, ted at character 1, found 'cany'."
        " Write for example 'canny, depth:0.5'."
    )
    assert all(one["isWhole"] for one in scene.values() if isinstance(one, dict) and "note" in one)


def test_strength_over_frames_is_a_curve_of_whole_frames(cell):
    scene = cell["frameStrength"]
    assert scene["example"] == "0:1, 8:0.5"
    assert scene["preset"] == "0:1, 15:0"
    first, last = scene["dragged"].split(", ")
    frame, strength = last.split(":")
    assert first == "0:1"
    assert 9 <= int(frame) <= 12  # 60 px of some 230 px for 15 frames
    assert float(strength) == pytest.approx(0.4, abs=0.1)  # 40 px of 88, or more in a tall node
    points = scene["added"].split(", ")
    assert len(points) == 3
    assert all(one.split(":")[0].isdigit() for one in points)
    assert scene["beyond"].split(", ")[-1].startswith("40:")
    assert {"frame 0", "frame 40"} <= set(scene["words"])
    assert scene["label"] == "point 3 at frame 40"
    assert scene["problem"].startswith("frame_strength: expected a whole number from 0 to 1000000")


def test_a_new_loader_shows_a_net_and_leaves_out_other_files(cell):
    scene = cell["newLoader"]
    assert scene["value"] == "Qwen-Image-InstantX-ControlNet-Union.safetensors"
    assert "a_lora.safetensors" not in scene["values"]
    assert "union_flux.safetensors" in scene["values"]
    assert scene["labelOfOther"] == "a_lora.safetensors  ·  LoRA, not a ControlNet"


def test_a_loader_without_nets_says_what_to_do(cell):
    scene = cell["withoutNets"]
    (sentence,) = scene["sentences"]
    assert "into models/controlnet, then press R." in sentence
    assert scene["after"] == 0


def test_pictures_are_kept(cells):
    for name in cells:
        for scene in ("union-plain", "union-lacking", "union-misspelt", "frames", "no-nets"):
            assert (PICTURES / f"{scene}-{name}.png").exists()
