"""Which map a net expects, by the names that published nets have; and hints that obviously are
another map.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from pack.files.conditions import CONDITIONS, accepts, by_name, condition, expected
from pack.files.families import Identity, Source
from pack.preprocessors import hint_check

PUBLISHED = {
    "control_sd15_canny.pth": "canny",
    "control_sd15_mlsd.pth": "mlsd",
    "control_sd15_hed.pth": "softedge",
    "control_sd15_scribble.pth": "scribble",
    "control_sd15_openpose.pth": "pose",
    "control_sd15_seg.pth": "segmentation",
    "control_sd15_depth.pth": "depth",
    "control_sd15_normal.pth": "normal_cn10",
    "control_v11p_sd15_canny_fp16.safetensors": "canny",
    "control_v11p_sd15_softedge.pth": "softedge",
    "control_v11p_sd15_seg.pth": "segmentation",
    "control_v11f1p_sd15_depth.pth": "depth",
    "control_v11p_sd15_normalbae.pth": "normal_bae",
    "control_v11p_sd15_lineart.pth": "lineart",
    "control_v11p_sd15s2_lineart_anime.pth": "lineart_anime",
    "control_v11f1e_sd15_tile.pth": "tile",
    "control_v11e_sd15_shuffle.pth": "shuffle",
    "control_v11p_sd15_inpaint.pth": "inpaint",
    "control_v11e_sd15_ip2p.pth": None,
    "t2iadapter_color_sd14v1.pth": "colorgrid",
    "t2iadapter_zoedepth_sd15v1.pth": "depth",
    "t2i-adapter_xl_openpose.safetensors": "pose",
    "SDXL/controlnet-canny-sdxl-1.0/diffusion_pytorch_model.safetensors": "canny",
    "SDXL\\controlnet-canny-sdxl-1.0\\diffusion_pytorch_model.safetensors": "canny",
    "sai_xl_recolor_256lora.safetensors": "recolor",
    "mistoLine_fp16.safetensors": "any_line",
    "flux-hed-controlnet-v3.safetensors": "softedge",
    "FLUX.1-dev-Controlnet-Union-Pro.safetensors": None,
    "controlnet-union-sdxl-1.0-promax.safetensors": None,
    "control_v1p_sd15_qrcode_monster.safetensors": "brightness",
    "online_thing.safetensors": None,
    "colorful_xl.safetensors": None,
}


@pytest.mark.parametrize(("name", "key"), PUBLISHED.items())
def test_published_names(name, key):
    actual = by_name(name)
    assert (actual.key if actual else None) == key


def test_metadata_decides_before_the_name():
    identity = Identity("ControlNet", "controlnet", "SD1.5", hint="depth")
    assert expected(Source("control_sd15_canny.pth", identity)).key == "depth"


def test_a_union_net_expects_no_one_map():
    identity = Identity("union ControlNet", "controlnet", "SDXL", union_types=8)
    assert expected(Source("canny_something.safetensors", identity)) is None


def test_union_types_are_the_hosts():
    hosts = {
        "openpose",
        "depth",
        "hed/pidi/scribble/ted",
        "canny/lineart/anime_lineart/mlsd",
        "normal",
        "segment",
        "tile",
        "repaint",
    }
    assert {row.union_type for row in CONDITIONS} - {""} == hosts


def test_related_maps_are_accepted():
    assert accepts(condition("lineart"), condition("lineart_anime"))
    assert accepts(condition("any_line"), condition("canny"))
    assert accepts(condition("normal_bae"), condition("normal"))
    assert not accepts(condition("canny"), condition("depth"))


@pytest.fixture(scope="module")
def photograph():
    return data.astronaut()


def hint(array):
    array = array if array.ndim == 3 else np.repeat(array[..., None], 3, 2)
    return torch.from_numpy(np.ascontiguousarray(array)).float()[None] / 255


def test_canny_of_a_photograph_is_no_suspicion_and_its_negative_is(photograph):
    edges = cv2.Canny(photograph, 100, 200)
    assert hint_check.disagreement(hint(edges), "canny") == ""
    assert "light" in hint_check.disagreement(hint(255 - edges), "canny")
    assert "light" in hint_check.disagreement(hint(np.full((64, 64), 255, np.uint8)), "scribble")


def test_a_photograph_is_no_segmentation_and_flat_colours_are(photograph):
    palette = torch.tensor([[120, 120, 120], [180, 120, 120], [6, 230, 230]]) / 255
    flat = palette[torch.arange(64 * 64).reshape(1, 64, 64) % 3]
    assert hint_check.disagreement(flat, "segmentation", palette) == ""
    assert "colours" in hint_check.disagreement(hint(photograph), "segmentation", palette)


def test_a_ground_plane_is_near_at_its_foot():
    plane = torch.linspace(0, 1, 96)[None, :, None, None].expand(1, 96, 64, 3)
    assert hint_check.disagreement(plane, "depth") == ""
    assert "inverted" in hint_check.disagreement(1 - plane, "depth")
    assert "grey" in hint_check.disagreement(torch.rand(1, 32, 32, 3), "depth")


@pytest.mark.parametrize(
    ("facing", "right_for", "wrong_for"),
    [
        ((0.5, 0.5, 1.0), "normal_bae", "normal_cn10"),
        ((1.0, 0.5, 0.5), "normal_cn10", "normal_bae"),
    ],
)
def test_the_colour_of_surfaces_that_face_the_camera(facing, right_for, wrong_for):
    wall = torch.tensor(facing).expand(1, 32, 48, 3)
    assert hint_check.disagreement(wall, right_for) == ""
    assert "convention" in hint_check.disagreement(wall, wrong_for)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2000, 3)])
def test_any_size(size):
    for row in CONDITIONS:
        hint_check.disagreement(torch.zeros(1, *size, 3), row.key, torch.zeros(1, 3))
