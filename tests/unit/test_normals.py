"""Normal maps: the same random weights in the reference and in ours, formulas against values by
hand.
"""

from __future__ import annotations

import math
import types
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pack.preprocessors import catalogue, depth, normals
from pack.preprocessors.build import InMemory, filled
from pack.preprocessors.nets import depth_anything, dpt_hybrid, normalbae
from pack.preprocessors.spec import Weights
from workbench.references import controlnet_aux, lively, picture, relative, trained_once

pytestmark = pytest.mark.slow  # networks at their published size

SMALL_DPT = dpt_hybrid.Sizes(16, ((2, 32), (2, 64), (2, 128)), 8, 64, 4, 4, (1, 3), fusion=32)
SMALL_DA = depth_anything.Sizes(48, 3, 4, (0, 1, 2, 3), (8, 16, 24, 32), 16, trained_px=56)
FEW = zip(normalbae.Sizes().stages, (8, 8, 16, 16, 24, 24, 32), strict=True)
SMALL_BAE = normalbae.Sizes(
    16,
    tuple(stage._replace(blocks=1, channels=channels) for stage, channels in FEW),
    64,
    (32, 16, 16, 8),
    16,
)


# NormalBAE


@pytest.fixture(scope="module")
def bae() -> tuple:
    """Return the reference's detector and ours, with the same random weights."""
    with controlnet_aux():
        from controlnet_aux.normalbae import NNET, NormalBaeDetector

        settings = types.SimpleNamespace(
            architecture="BN", sampling_ratio=0.4, importance_ratio=0.7
        )
        torch.manual_seed(0)
        detector = NormalBaeDetector(trained_once(lively(NNET(settings), gain=1.0)))
    state = {f"module.{key}": tensor for key, tensor in detector.model.state_dict().items()}
    return detector, filled(normals.BAE, state)


@torch.inference_mode()
def test_normalbae_is_the_references(bae):
    detector, ours = bae
    frames = torch.randn(1, 3, 96, 128)
    theirs = detector.model(frames)[0][-1]
    for channel in range(4):
        assert relative(ours(frames)[:, channel], theirs[:, channel]) < 1e-5


class AsTheReference(torch.nn.Module):
    """A network fed in the reference's layout: deep random weights make whole levels of another
    order of sums.
    """

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.net(frames.contiguous())


def test_normal_hints_are_normalbaes_within_a_level(bae):
    detector, ours = bae
    photo = picture(256, 320)
    expected = detector((photo[0].numpy() * 255).astype(np.uint8), 256, 256, output_type="np")
    photo = (photo * 255).floor() / 255
    hint, vectors = normals.normal(
        photo, networks=InMemory({normals.BAE.file: AsTheReference(ours)})
    )
    assert expected.std() > 5
    assert np.abs(np.floor(hint[0].numpy() * 255 + 1e-3) - expected).max() <= 1
    assert (vectors.norm(dim=-1) - 1).abs().max() < 1e-4


# Normals


def cn10(actual: np.ndarray, threshold: float) -> np.ndarray:
    """ControlNet 1.0's formula with OpenCV, in float: the map (H,W,3) as its net gets it."""
    relative = (actual - actual.min()) / (actual.max() - actual.min())
    across, down = (cv2.Sobel(actual, cv2.CV_32F, *axes, ksize=3) for axes in ((1, 0), (0, 1)))
    across[relative < threshold] = 0
    down[relative < threshold] = 0
    normal = np.stack([across, down, np.full_like(across, 2 * math.pi)], axis=2)
    normal /= np.sum(normal**2, axis=2, keepdims=True) ** 0.5
    return (normal[..., ::-1] * 127.5 + 127.5) / 255


@pytest.mark.quick
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("size", [(64, 48), (37, 53), (2, 3), (1, 9), (9, 1)], ids=str)
def test_normals_from_depth_are_controlnets(size, threshold):
    actual = cv2.GaussianBlur(
        np.random.default_rng(0).normal(0, 300, size).astype(np.float32), (0, 0), 2
    )
    vectors = normals.from_depth(torch.from_numpy(actual)[None, None], threshold)
    hint = normals.encoded(vectors, "cn1.0")[0].movedim(0, 2)
    assert np.abs(hint.numpy() - cn10(actual, threshold)).max() < 1e-5
    assert (vectors.norm(dim=1) - 1).abs().max() < 1e-6


LEAN = (
    8 * math.pi / 4
)  # Sobel's sum of weights times the slope of a plane that rises by π/4 a pixel: a lean of 45°
HALF = 0.5 + 0.5 / math.sqrt(2)
PLANES = {  # what grows where, and R, G, B in each convention, by hand
    "left": (
        lambda y, x: x,
        {"bae": (HALF, 0.5, HALF), "cn1.0": (HALF, 0.5, HALF), "opengl": (1 - HALF, 0.5, HALF)},
    ),
    "right": (lambda y, x: -x, {"bae": (1 - HALF, 0.5, HALF), "cn1.0": (HALF, 0.5, 1 - HALF)}),
    "up": (
        lambda y, x: y,
        {"bae": (0.5, HALF, HALF), "opengl": (0.5, HALF, HALF), "directx": (0.5, 1 - HALF, HALF)},
    ),
    "down": (lambda y, x: -y, {"cn1.0": (HALF, 1 - HALF, 0.5), "directx": (0.5, HALF, HALF)}),
}


@pytest.mark.parametrize("facing", PLANES)
def test_slanted_planes_have_the_colours_that_each_convention_says(facing):
    """A plane facing left is red in bae's, blue in the net's of 1.0, not red in OpenGL's; and so
    on.
    """
    assert pytest.approx(2 * math.pi) == LEAN
    rises, colours = PLANES[facing]
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(11.0), indexing="ij")
    vectors = normals.from_depth((rises(y, x) * math.pi / 4)[None, None], 0.0)
    for convention, expected in colours.items():
        middle = normals.encoded(vectors, convention)[0, :, 4, 5]
        assert middle.tolist() == pytest.approx(expected, abs=1e-6), convention


def test_the_background_faces_the_viewer():
    ramp = torch.linspace(0, 100, 101).expand(5, -1)[None, None]
    vectors = normals.from_depth(ramp, 0.4)
    assert vectors[0, :2, :, :40].abs().max() == 0
    assert (vectors[0, 0, :, 41:-1] < 0).all()


@pytest.mark.parametrize("source", normals.CONVENTIONS)
@pytest.mark.parametrize("target", normals.CONVENTIONS)
def test_any_convention_becomes_any_other(source, target):
    vectors = nn.functional.normalize(torch.randn(2, 3, 8, 9))
    there = normals.encoded(vectors, source).movedim(1, 3)
    assert (
        normals.converted(there, source, target).movedim(3, 1) - normals.encoded(vectors, target)
    ).abs().max() < 1e-6


@pytest.mark.quick
def test_two_conversions_by_hand():
    colour = torch.tensor([0.9, 0.7, 0.6]).view(1, 1, 1, 3)
    assert normals.converted(colour, "bae", "cn1.0").flatten().tolist() == pytest.approx(
        [0.6, 0.7, 0.9]
    )
    assert normals.converted(colour, "bae", "directx").flatten().tolist() == pytest.approx(
        [0.1, 0.3, 0.6]
    )


# Normals from a connected depth


def hill(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
    )
    return torch.exp(-3 * (x**2 + y**2)).view(1, height, width, 1).expand(-1, -1, -1, 3)


def by_depth(actual: Tensor | None, image: Tensor, **more) -> Tensor:
    return normals.normal(image, engine="depth", depth=actual, **more)[1]


def test_the_unit_of_a_depth_does_not_matter_and_hardly_its_size():
    image = picture(96, 144)
    plain = by_depth(hill(96, 144), image)
    assert (by_depth(hill(96, 144) * 0.02 + 7, image) - plain).abs().max() < 1e-3
    assert (by_depth(hill(96, 144) * 4000, image) - plain).abs().max() < 1e-4
    assert plain[0, 48, 50, 0] < -0.5  # left of the hill the ground faces left
    assert plain[0, 32, 72, 1] > 0.5  # above it, up
    near = by_depth(hill(96, 144), image, background_threshold=0.0)
    larger = by_depth(hill(288, 432), picture(288, 432), background_threshold=0.0)[:, 1::3, 1::3]
    assert (larger - near)[:, 2:-2, 2:-2].abs().max() < 0.1


def test_a_depth_of_another_size_is_fitted_and_one_serves_all_frames():
    hint, vectors = normals.normal(
        picture(60, 90, 3), engine="depth", depth=hill(20, 30), resolution=48
    )
    assert hint.shape == vectors.shape == (3, 48, 72, 3)
    assert vectors[0].equal(vectors[2])


def test_a_missing_depth_and_one_of_another_length_are_refused():
    with pytest.raises(
        ValueError, match="none is connected: connect one to depth in the Normal Map node"
    ):
        by_depth(None, picture(8, 8))
    with pytest.raises(ValueError, match="depth has 2 frames and image has 3"):
        by_depth(hill(8, 8).expand(2, -1, -1, -1), picture(8, 8, 3))
    with pytest.raises(ValueError, match="expected a float picture"):
        by_depth(hill(8, 8)[..., 0], picture(8, 8))


# The rows


SMALL_MODULES = {
    **{
        weights.file: partial(depth_anything.DepthAnythingV2, SMALL_DA)
        for weights in depth.WEIGHTS.values()
    },
    depth.WEIGHTS["midas"].file: partial(dpt_hybrid.DPTHybrid, SMALL_DPT),
    normals.BAE.file: partial(normalbae.NNET, SMALL_BAE),
}


def small_networks(row_weights: dict[str, Weights]) -> InMemory:
    torch.manual_seed(0)
    return InMemory(
        {weights.file: lively(SMALL_MODULES[weights.file]()) for weights in row_weights.values()},
        chunk=2,
    )


@pytest.mark.parametrize(
    ("key", "engine"), [(k, e) for k in ("depth", "normal") for e in catalogue(k).weights]
)
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 53)], ids=str)
def test_any_picture_has_depth_and_normals(key, engine, size):
    row = catalogue(key)
    networks = small_networks(dict(row.weights))
    pictures = torch.rand(3, *size, 4)
    before = pictures.clone()
    hint, actual = row.full(pictures, engine=engine, networks=networks)
    for output in (hint, actual):
        assert output.shape == (3, *size, 3)
        assert output.dtype == torch.float32
        assert output.isfinite().all()
    assert hint.is_contiguous()
    assert hint.min() >= 0
    assert hint.max() <= 1
    assert pictures.equal(before)
    assert row.full(pictures, engine=engine, networks=networks)[0].equal(hint)
    assert (
        row.full(torch.full_like(pictures, float("nan")), engine=engine, networks=networks)[0]
        .isfinite()
        .all()
    )


@pytest.mark.parametrize("key", ["depth", "normal"])
def test_without_networks_a_sentence(key):
    with pytest.raises(ValueError, match="this engine needs the weights"):
        catalogue(key)(picture(8, 8))


def test_engine_midas_is_the_formula_on_its_depth():
    networks = small_networks({"midas": depth.WEIGHTS["midas"]})
    photo = picture(96, 64)
    _, actual = depth.depth(photo, engine="midas", networks=networks)
    _, vectors = normals.normal(photo, engine="midas", background_threshold=0.3, networks=networks)
    assert actual.std() > 0
    assert (
        vectors.movedim(3, 1) - normals.from_depth(actual[..., :1].movedim(3, 1), 0.3)
    ).abs().max() < 1e-5


# Finished maps

COLOURS = {
    "opengl": (0.9, 0.2, 0.7),
    "directx": (0.9, 0.8, 0.7),
    "bae": (0.1, 0.2, 0.7),
    "cn1.0": (0.7, 0.2, 0.1),
}
"""The colours of one surface, which faces right, down and the viewer, by the help page's table."""


@pytest.mark.parametrize("source", COLOURS)
@pytest.mark.parametrize("target", COLOURS)
def test_a_finished_map_is_converted_from_any_convention_to_any(source, target):
    picture = torch.tensor(COLOURS[source]).expand(2, 5, 4, 3)
    hint, vectors = catalogue("normal").full(
        picture, engine="image", source_convention=source, convention=target
    )
    torch.testing.assert_close(hint, torch.tensor(COLOURS[target]).expand(2, 5, 4, 3))
    torch.testing.assert_close(vectors[0, 0, 0], torch.tensor((0.8, -0.6, 0.4)))
    assert hint.equal(picture) or source != target


def test_a_finished_map_keeps_every_level_and_follows_the_resolution():
    picture = (torch.rand(1, 64, 48, 3) * 255).round() / 255
    run = partial(catalogue("normal"), engine="image", source_convention="bae")
    there = run(picture, convention="directx")
    back = catalogue("normal")(there, engine="image", source_convention="directx", convention="bae")
    assert ((back - picture).abs() * 255).max() < 1e-4
    small = run(picture, resolution=24)
    means = picture.reshape(1, 32, 2, 24, 2, 3).mean((2, 4))
    torch.testing.assert_close(small, means)


def test_the_vectors_are_no_second_copy():
    depth = torch.rand(3, 32, 24, 3)
    row = catalogue("normal")
    outputs = row.full(depth, engine="depth", depth=depth)
    assert sum(output.untyped_storage().nbytes() for output in outputs) == 2 * depth.nbytes
