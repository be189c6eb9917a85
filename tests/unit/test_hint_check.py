"""Suspicions against variety: none about maps of photographs and scenes, one about each obviously
wrong twin.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from skimage.segmentation import slic

from pack.preprocessors import catalogue, depth, hint_check, normals, softedges
from pack.preprocessors.build import InMemory, filled
from pack.preprocessors.palettes import PALETTES
from workbench import random_weights as trained

# Close-ups and cluttered textures, faces, rooms, text, drawings, things on black, things on white.
PICTURES = {
    "astronaut": data.astronaut,
    "brick": data.brick,
    "camera": data.camera,
    "cat": data.cat,
    "clock": data.clock,
    "coffee": data.coffee,
    "coins": data.coins,
    "colorwheel": data.colorwheel,
    "galaxies": data.hubble_deep_field,
    "grass": data.grass,
    "gravel": data.gravel,
    "horse": lambda: 255 * data.horse().astype(np.uint8),
    "logo": lambda: data.logo()[..., :3],
    "moon": data.moon,
    "motorcycle": lambda: data.stereo_motorcycle()[0],
    "page": data.page,
    "retina": data.retina,
    "rocket": data.rocket,
    "text": data.text,
    "tissue": data.immunohistochemistry,
    "window": lambda: data.astronaut()[:200, 250:450],
}
SIDE_PX = 320


def picture(name: str) -> torch.Tensor:
    """(1,H,W,3) in [0,1]."""
    actual = np.atleast_3d(PICTURES[name]()).astype(np.float32) / 255
    scale = SIDE_PX / min(actual.shape[:2])
    size = (round(actual.shape[1] * scale), round(actual.shape[0] * scale))
    resized = cv2.resize(actual, size, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.atleast_3d(resized)).expand(-1, -1, 3)[None].contiguous()


every_picture = pytest.mark.parametrize("name", PICTURES)
CLUTTERED = {"brick", "coins", "galaxies", "grass", "gravel", "motorcycle", "tissue"}
"""Of these a line map has no areas, in black or in white: what is inverted is nothing obvious."""


def twin_of(hint: torch.Tensor) -> torch.Tensor:
    return 1 - hint


# -- lines -----------------------------------------------------------------------------------------

LINES = {
    "canny": ("canny", {}, "canny"),
    "every ripple": ("canny", {"low_threshold": 20, "high_threshold": 60}, "canny"),
    "xdog": ("xdog", {}, "scribble"),
    "mlsd": ("mlsd", {"engine": "lsd"}, "mlsd"),
}


@every_picture
def test_lines_of_a_picture_are_no_suspicion_and_their_negative_is(name):
    photo = picture(name)
    for kind, (method, params, condition) in LINES.items():
        hint = catalogue(method)(photo, **params)
        assert hint_check.disagreement(hint, condition) == "", kind
        if name not in CLUTTERED and kind != "every ripple":
            assert "is light" in hint_check.disagreement(twin_of(hint), condition), kind


@pytest.mark.slow
@pytest.mark.parametrize("name", ["brick", "coffee", "motorcycle"])
def test_broad_strokes_are_no_suspicion(name):
    """A trained HED, and the scribble made of it: of bricks two thirds are light, of a motorcycle
    more than half.
    """
    photo, hed = picture(name), InMemory({softedges.HED.file: filled(softedges.HED, trained.hed())})
    for method, condition in (("hed", "softedge"), ("fake_scribble", "scribble")):
        hint = catalogue(method)(photo, networks=hed)
        assert hint_check.disagreement(hint, condition) == ""
        if name not in CLUTTERED:
            assert "is light" in hint_check.disagreement(twin_of(hint), condition)


# -- segmentation ----------------------------------------------------------------------------------

PALETTE = torch.cat([table.paint for table in PALETTES.values()])
MOSTLY_GREY = {"brick", "horse", "text"}
"""Grey, black and white are colours of classes as well: half of these pictures could be a map."""


@every_picture
def test_segments_of_a_picture_are_no_suspicion_and_the_picture_is(name):
    """Eighty segments in colours of ADE20K, as they are, enlarged smoothly, and from a JPEG of
    quality 85.
    """
    photo = picture(name)
    small = cv2.resize(photo[0].numpy(), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    labels = slic(small, n_segments=80, compactness=8, start_label=0).repeat(4, 0).repeat(4, 1)
    flat = PALETTES["ade20k"].paint[torch.from_numpy(labels * 37 % 150)]
    levels = (flat.numpy() * 255).round().astype(np.uint8)
    _, file = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 85])
    for map8 in (
        levels,
        cv2.imdecode(file, cv2.IMREAD_COLOR),
        cv2.resize(levels, None, fx=1.5, fy=1.5),
    ):
        hint = torch.from_numpy(map8).float()[None] / 255
        assert hint_check.disagreement(hint, "segmentation", PALETTE) == ""
    assert ("colours" in hint_check.disagreement(photo, "segmentation", PALETTE)) is (
        name not in MOSTLY_GREY
    )


# -- scenes: inverse depth as a network gives it, from rays ----------------------------------------


def rays(
    pitch_degrees: float, field_degrees: float = 60.0, size: tuple[int, int] = (192, 256)
) -> np.ndarray:
    """Directions (H,W,3), x right, y up, z ahead, of a camera that looks up by `pitch_degrees`."""
    height, width = size
    reach = np.tan(np.radians(field_degrees) / 2)
    x, y = np.meshgrid(
        np.linspace(-reach, reach, width), np.linspace(reach, -reach, height) * height / width
    )
    up, ahead = np.sin(np.radians(pitch_degrees)), np.cos(np.radians(pitch_degrees))
    return np.stack([x, y * ahead + up, ahead - y * up], axis=-1)


def plane(seen: np.ndarray, axis: int, at: float) -> np.ndarray:
    """1 / depth of the plane that cuts `axis` at `at`; 0 where no ray meets it."""
    return np.clip(seen[..., axis] / at, 0, None)


def ball(seen: np.ndarray, x: float, y: float, z: float, radius: float) -> np.ndarray:
    centre = np.array([x, y, z])
    along = seen @ centre / (squared := (seen**2).sum(-1))
    under = along**2 - (centre @ centre - radius**2) / squared
    depth = along - np.sqrt(np.clip(under, 0, None))
    return np.where((under > 0) & (depth > 0), 1 / np.where(depth > 0, depth, 1), 0)


def person(seen: np.ndarray, x: float, z: float, eye: float = 1.6) -> np.ndarray:
    parts = [
        ball(seen, x, 1.62 - eye, z, 0.14),
        *(ball(seen, x, 0.1 + 0.2 * i - eye, z, 0.22) for i in range(7)),
    ]
    return np.maximum.reduce(parts)


def outdoors(pitch: float, *people: tuple[float, float], eye: float = 1.6) -> np.ndarray:
    seen = rays(pitch)
    return np.maximum.reduce([plane(seen, 1, -eye), *(person(seen, x, z, eye) for x, z in people)])


def indoors(
    pitch: float, *people: tuple[float, float], width: float = 4, length: float = 6
) -> np.ndarray:
    seen = rays(pitch)
    walls = [plane(seen, 1, -1.6), plane(seen, 1, 1.0), plane(seen, 2, length)]
    walls += [plane(seen, 0, width / 2), plane(seen, 0, -width / 2)]
    return np.maximum.reduce([*walls, *(person(seen, x, z) for x, z in people)])


def motorcycle(rows: slice, columns: slice) -> np.ndarray:
    """Measured disparity; what the scanner could not see counts as far."""
    return np.nan_to_num(data.stereo_motorcycle()[2][rows, columns], posinf=0.0)


ALL = slice(None)
OPEN = {  # the sky or a far background above, the ground or a body below: inverted, that is obvious
    "plain": outdoors(0),
    "plain from above": outdoors(-15),
    "street": outdoors(-5, (-1, 6), (0.5, 4), (2, 9)),
    "crowd": outdoors(-8, (-1.5, 3), (-0.6, 5), (0.4, 4), (1.2, 3), (2, 8)),
    "portrait": person(rays(0), 0, 0.9),
    "portrait on the left": person(rays(0), -0.25, 0.8),
    "two faces": np.maximum(person(rays(0), -0.25, 0.9), person(rays(0), 0.3, 1.4)),
    "cup": np.maximum(plane(rays(-30), 1, -0.5), ball(rays(-30), 0, -0.4, 0.7, 0.15)),
    "balls on a lawn": np.maximum(outdoors(-10), ball(rays(-10), 0.5, -1.2, 3, 0.4)),
}
OTHER = {  # where that does not tell: rooms, ceilings, walls, things from above, a view upwards
    "room": indoors(0),
    "room, looking down": indoors(-12, (0.5, 3)),
    "room, looking up": indoors(12),
    "corridor": indoors(0, width=2, length=20),
    "corridor with people": indoors(0, (-0.4, 5), (0.5, 8), width=2, length=20),
    "low room": indoors(5, (0, 2)),
    "alley": np.maximum(
        outdoors(-5), np.maximum(plane(rays(-5), 0, 1.6), plane(rays(-5), 0, -1.6))
    ),
    "half length in a room": indoors(0, (0, 1.1)),
    "table from above": np.maximum(plane(rays(-80), 1, -1.0), ball(rays(-80), 0, -0.9, 0.2, 0.12)),
    "wall": plane(rays(0), 2, 3.0),
    "wall at an angle": plane(
        rays(0) @ np.array([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]]), 2, 2.0
    ),
    "lamp above a street": np.maximum(outdoors(0), ball(rays(0), 0, 0.7, 2, 0.25)),
    "under a tree": np.maximum(outdoors(5, (1, 5)), ball(rays(5), -1.0, 1.6, 2.5, 0.9)),
    "motorcycle": motorcycle(ALL, ALL),
    "motorcycle, wheel": motorcycle(slice(100, 400), slice(0, 300)),
    "motorcycle, shelf": motorcycle(slice(0, 200), slice(300, 700)),
    "motorcycle, floor": motorcycle(slice(250, 500), slice(100, 741)),
    "workshop wall": motorcycle(slice(0, 120), ALL),
}
SCENES = OPEN | OTHER


@pytest.mark.parametrize("name", SCENES)
def test_depth_of_a_scene_is_no_suspicion_and_inverted_under_the_sky_it_is(name):
    actual = torch.from_numpy(np.ascontiguousarray(SCENES[name])).float()[None, None]
    hint = depth.normalized(actual, "frame").movedim(1, 3).expand(-1, -1, -1, 3)
    assert hint_check.disagreement(hint, "depth") == ""
    if name in OPEN:
        assert "inverted" in hint_check.disagreement(twin_of(hint), "depth")


TURNED = {"wall at an angle"}
"""Lit in both channels, so either convention may be meant."""


@pytest.mark.parametrize("name", SCENES)
def test_normals_of_a_scene_are_no_suspicion_and_of_the_other_convention_they_are(name):
    actual = torch.from_numpy(np.ascontiguousarray(SCENES[name])).float()[None, None]
    vectors = normals.from_depth(normals.spread(actual))
    output = {
        convention: normals.encoded(vectors, convention).movedim(1, 3)
        for convention in normals.CONVENTIONS
    }
    for convention in ("bae", "opengl", "directx"):
        for condition in ("normal", "normal_bae"):
            assert hint_check.disagreement(output[convention], condition) == ""
    assert hint_check.disagreement(output["cn1.0"], "normal_cn10") == ""
    if name not in TURNED:
        assert "convention" in hint_check.disagreement(output["cn1.0"], "normal_bae")
        assert "convention" in hint_check.disagreement(output["bae"], "normal_cn10")


@pytest.mark.parametrize("degrees", [30, 45, 60])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_wall_at_any_angle_is_no_suspicion(degrees, side):
    away = np.radians(degrees)
    wall = (
        torch.tensor([side * np.sin(away), 0.0, np.cos(away)])
        .float()
        .view(1, 3, 1, 1)
        .expand(-1, -1, 64, 64)
    )
    for convention, condition in (
        ("bae", "normal_bae"),
        ("opengl", "normal"),
        ("cn1.0", "normal_cn10"),
    ):
        assert (
            hint_check.disagreement(normals.encoded(wall, convention).movedim(1, 3), condition)
            == ""
        )
