"""Depth and normals: the same random weights in the references and in ours, and the formulas
against values by hand.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor, nn

from pack.preprocessors import catalogue, depth, normals
from pack.preprocessors.build import InMemory, filled
from pack.preprocessors.nets import depth_anything, dpt_hybrid, normalbae
from pack.preprocessors.spec import Weights

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


@contextmanager
def controlnet_aux() -> Iterator[None]:
    """The package without its own imports, and with the one part of torchvision that it uses;
    afterwards as before.
    """
    found = find_spec("controlnet_aux")
    if found is None:
        pytest.fail(
            "controlnet-aux is not installed: it is part of the test environment"
            " (workbench/environment.py)"
        )
    stand_ins = {
        name: types.ModuleType(name)
        for name in ("controlnet_aux", "torchvision", "torchvision.transforms")
    }
    stand_ins["controlnet_aux"].__path__ = list(found.submodule_search_locations or ())
    stand_ins["torchvision"].transforms = stand_ins["torchvision.transforms"]  # type: ignore[attr-defined]
    vars(stand_ins["torchvision.transforms"]).update(Normalize=Normalize, Compose=None)
    before = dict(sys.modules)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        ours = [
            *stand_ins,
            *(name for name in sys.modules if name.partition(".")[0] == "controlnet_aux"),
        ]
        for name in dict.fromkeys(ours):
            sys.modules.pop(name)
            if name in before:
                sys.modules[name] = before[name]


class Normalize:
    def __init__(self, mean: list[float], std: list[float]) -> None:
        self.mean, self.std = (torch.tensor(three)[:, None, None] for three in (mean, std))

    def __call__(self, frames: Tensor) -> Tensor:
        return (frames - self.mean) / self.std


def lively(net: nn.Module, last: nn.Module | None = None, *, gain: float = 1.5) -> nn.Module:
    """Random weights with norms and biases that do something, and a `gain` that keeps the picture's
    contrast on its way through; `last` without negative ones, so that depth is not 0.
    """
    torch.manual_seed(0)
    for name, weight in net.named_parameters():
        if weight.ndim < 2:
            weight.data.add_(torch.randn_like(weight) * 0.1)
        elif "token" in name or "pos" in name:
            weight.data.normal_(0, 0.3)
        else:
            weight.data.mul_(gain)
    if last is not None:
        last.weight.data.abs_()  # type: ignore[operator, union-attr]
    return net.eval().requires_grad_(False)


@torch.no_grad()
def trained_once(net: nn.Module) -> nn.Module:
    """Its norms set by one picture, as training would have: else a deep network's values vanish or
    overflow.
    """
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.momentum = 1.0
    net.train()(picture(96, 128).movedim(3, 1) * 4 - 2)
    assert all(
        layer.running_var.isfinite().all() for layer in norms if layer.running_var is not None
    )
    return net.eval()


def picture(height: int, width: int, frames: int = 1) -> Tensor:
    photo = (
        cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA).astype(
            np.float32
        )
        / 255
    )
    return torch.stack(
        [torch.from_numpy(np.roll(photo, 9 * index, axis=0)) for index in range(frames)]
    )


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a part of the reference's range."""
    span = theirs.max() - theirs.min()
    assert span > 0.01 * theirs.abs().max(), "a constant output proves nothing"
    return float((ours - theirs).abs().max() / span)


# NormalBAE


@pytest.fixture(scope="module")
def bae() -> tuple:
    """The reference's detector and ours, with the same random weights."""
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


# DPT-hybrid


def transformers_dpt(sizes: dpt_hybrid.Sizes):
    from transformers import BitConfig, DPTConfig, DPTForDepthEstimation

    bit = BitConfig(
        embedding_size=sizes.stem,
        depths=[blocks for blocks, _ in sizes.stages],
        hidden_sizes=[channels for _, channels in sizes.stages],
        num_groups=sizes.groups,
        layer_type="bottleneck",
        global_padding="SAME",
        embedding_dynamic_padding=True,
        out_features=["stage1", "stage2", "stage3"],
    )
    config = DPTConfig(
        is_hybrid=True,
        readout_type="project",
        backbone_config=bit,
        backbone_featmap_shape=(1, sizes.stages[-1][1], 24, 24),
        hidden_size=sizes.width,
        intermediate_size=4 * sizes.width,
        num_attention_heads=sizes.heads,
        num_hidden_layers=sizes.blocks,
        backbone_out_indices=(0, 1, *sizes.tapped),
        neck_hidden_sizes=(sizes.stages[0][1], sizes.stages[1][1], sizes.width, sizes.width),
        fusion_hidden_size=sizes.fusion,
        layer_norm_eps=1e-6,
    )
    return DPTForDepthEstimation(config)


def saved(model, folder: Path) -> dict[str, Tensor]:
    """The file that transformers writes: its keys are those on the hub, whatever the version's
    classes call them.
    """
    from safetensors.torch import load_file

    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("dtype", "within"), [(torch.float32, 1e-5), (torch.float64, 1e-11)], ids=str
)
@torch.inference_mode()
def test_dpt_hybrid_is_transformers_at_384(tmp_path, dtype, within):
    reference = transformers_dpt(SMALL_DPT)
    lively(reference, last=reference.head.head[4])
    weights = replace(
        depth.ESTIMATORS["midas"].weights, module=partial(dpt_hybrid.DPTHybrid, SMALL_DPT)
    )
    ours = filled(weights, saved(reference, tmp_path)).to(dtype)
    frames = torch.rand(2, 3, 384, 384, dtype=dtype) * 2 - 1
    assert relative(ours(frames)[:, 0], reference.to(dtype)(frames).predicted_depth) < within


def test_dpt_hybrids_file_has_transformers_weights_in_all_their_shapes():
    with torch.device("meta"):
        theirs = dpt_hybrid.renamed(transformers_dpt(dpt_hybrid.Sizes()).state_dict())
        ours = dpt_hybrid.DPTHybrid().state_dict()
    assert shapes(theirs) == shapes(ours)


def shapes(state) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def test_miDaSs_own_file_may_carry_its_classifier():
    weights = replace(
        depth.ESTIMATORS["midas"].weights, module=partial(dpt_hybrid.DPTHybrid, SMALL_DPT)
    )
    state = dict(weights.module().state_dict())
    filled(weights, {**state, "pretrained.model.head.weight": torch.zeros(1000, 64)})
    with pytest.raises(
        ValueError, match=r"dpt_hybrid-midas-501f0c75\.pt does not hold the network.*1 unknown"
    ):
        filled(weights, {**state, "pretrained.model.header.weight": torch.zeros(1)})


@pytest.fixture(scope="module")
def midas() -> tuple:
    """The reference's detector, of full size, and ours, with the same random weights."""
    pytest.importorskip(
        "timm", reason="the reference's MiDaS is built on timm: part of the test environment"
    )
    import timm  # noqa: F401  # with the real torchvision, before its stand-in

    with controlnet_aux():
        from controlnet_aux.midas import MidasDetector
        from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

        reference = DPTDepthModel(backbone="vitb_rn50_384")
    lively(reference, last=reference.scratch.output_conv[4])
    return MidasDetector(reference), filled(
        depth.ESTIMATORS["midas"].weights, reference.state_dict()
    )


@pytest.mark.slow
def test_depth_and_its_normals_are_midass_at_another_size(midas):
    detector, ours = midas
    raw: list[Tensor] = []
    detector.model.register_forward_hook(lambda net, frames, made: raw.append(made))
    photo = (picture(512, 640) * 255).round() / 255
    levels = (photo[0].numpy() * 255).round().astype(np.uint8)
    depth8, normal8 = detector(levels, bg_th=0.4, depth_and_normal=True)
    networks = InMemory({depth.ESTIMATORS["midas"].weights.file: ours})
    hint, found = depth.depth(photo, engine="midas", networks=networks)
    assert relative(found[..., 0], raw[0]) < 1e-5
    assert depth8.std() > 5
    assert np.abs(np.floor(hint[0].numpy() * 255 + 1e-3) - depth8).max() <= 1
    colours = normals.encoded(normals.from_depth(found[None, ..., 0]), "cn1.0")[0].movedim(0, 2)
    assert normal8.std() > 5
    difference = np.abs(np.floor(colours.numpy() * 255 + 1e-3) - normal8).max(axis=2)
    # A pixel whose depth is the threshold itself may fall on either side of it.
    assert (difference > 1).mean() < 1e-4


def test_engine_midas_is_the_formula_on_its_depth():
    networks = small_networks({"midas": depth.WEIGHTS["midas"]})
    photo = picture(96, 64)
    _, found = depth.depth(photo, engine="midas", networks=networks)
    _, vectors = normals.normal(photo, engine="midas", background_threshold=0.3, networks=networks)
    assert found.std() > 0
    assert (
        vectors.movedim(3, 1) - normals.from_depth(found[..., :1].movedim(3, 1), 0.3)
    ).abs().max() < 1e-5


# Depth Anything V2


def transformers_depth_anything(sizes: depth_anything.Sizes):
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        image_size=sizes.trained_px,
        hidden_size=sizes.width,
        num_attention_heads=sizes.heads,
        num_hidden_layers=sizes.blocks,
        out_indices=[index + 1 for index in sizes.tapped],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=sizes.width,
        neck_hidden_sizes=list(sizes.layers),
        fusion_hidden_size=sizes.fusion,
    )
    return DepthAnythingForDepthEstimation(config)


@pytest.mark.parametrize("size", [(56, 56), (70, 98)], ids=str)
@pytest.mark.parametrize(
    ("dtype", "within"), [(torch.float32, 1e-5), (torch.float64, 1e-6)], ids=str
)
@torch.inference_mode()
def test_depth_anything_is_transformers(tmp_path, size, dtype, within):
    """Theirs enlarges positions in float32 whatever the weights are."""
    reference = transformers_depth_anything(SMALL_DA)
    lively(reference, last=reference.head.conv3)
    weights = replace(
        depth.ESTIMATORS["depth_anything_v2_small"].weights,
        module=partial(depth_anything.DepthAnythingV2, SMALL_DA),
    )
    ours = filled(weights, saved(reference, tmp_path)).to(dtype)
    frames = torch.randn(2, 3, *size, dtype=dtype)
    assert relative(ours(frames)[:, 0], reference.to(dtype)(frames).predicted_depth) < within


@pytest.mark.parametrize("sizes", ["SMALL", "BASE", "LARGE"])
def test_depth_anythings_files_have_transformers_weights_in_all_their_shapes(sizes):
    """Their class calls attention's layers otherwise than their files since version 5."""
    newer = {
        "q_proj": "attention.query",
        "k_proj": "attention.key",
        "v_proj": "attention.value",
        "o_proj": "output.dense",
    }
    with torch.device("meta"):
        state = dict(transformers_depth_anything(getattr(depth_anything, sizes)).state_dict())
        for now, before in newer.items():
            state = {
                key.replace(f".attention.{now}.", f".attention.{before}."): t
                for key, t in state.items()
            }
        ours = depth_anything.DepthAnythingV2(getattr(depth_anything, sizes)).state_dict()
    assert shapes(depth_anything.renamed(state)) == shapes(ours)


def test_depth_anythings_own_file_needs_no_renaming():
    weights = replace(
        depth.ESTIMATORS["depth_anything_v2_small"].weights,
        module=partial(depth_anything.DepthAnythingV2, SMALL_DA),
    )
    assert filled(weights, weights.module().state_dict())


def test_what_restricts_use_is_said():
    restricted = {engine for engine, weights in depth.WEIGHTS.items() if weights.restricted}
    assert restricted == {"depth_anything_v2_base", "depth_anything_v2_large"}
    assert all("not for commercial use" in depth.WEIGHTS[engine].licence for engine in restricted)


# Sizes


class Brightness(nn.Module):
    """Stands for a depth network: what is bright is near. It notes what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, frames: Tensor) -> Tensor:
        self.seen.append(tuple(frames.shape))
        return frames.mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("engine", "resolution", "seen"),
    [
        ("depth_anything_v2_small", 0, (518, 784)),
        ("depth_anything_v2_small", 300, (308, 462)),
        ("midas", 0, (512, 768)),
        ("midas", 384, (384, 576)),
        ("midas", 500, (512, 768)),
    ],
)
def test_a_network_sees_whole_pixels_near_the_size_it_was_trained_at(engine, resolution, seen):
    net = Brightness()
    networks = InMemory({depth.WEIGHTS[engine].file: net})
    hint, found = depth.depth(
        picture(600, 900), engine=engine, resolution=resolution, networks=networks
    )
    assert net.seen == [(1, 3, *seen)]
    short = resolution or 600
    assert hint.shape == found.shape == (1, short, short * 3 // 2, 3)
    assert (hint.min(), hint.max()) == (0, 1)


def test_depth_stays_where_the_picture_is():
    """Padding is cropped, and enlarging does not shift: a bright square stays in its place."""
    image = torch.zeros(1, 700, 1050, 3)
    image[:, 200:300, 400:600] = 1
    networks = InMemory({depth.WEIGHTS["midas"].file: Brightness()})
    hint, _ = depth.depth(image, engine="midas", networks=networks)
    assert ((hint > 0.5) == (image > 0.5)).float().mean() > 0.995
    assert (hint - image).abs().mean() < 0.005


# Normalisation


def maps(*frames: list[list[float]]) -> Tensor:
    return torch.tensor(frames)[:, None]


def test_each_frame_for_itself():
    found = depth.normalized(
        maps([[10.0, 20.0], [15.0, 10.0]], [[-4.0, 0.0], [-2.0, -3.0]]), "frame"
    )
    assert found.equal(maps([[0.0, 1.0], [0.5, 0.0]], [[0.0, 1.0], [0.5, 0.25]]))


def test_a_clip_does_not_flicker():
    """A pixel that stays where it is keeps its brightness, though something nearer comes by."""
    still, passing = [[2.0, 4.0, 6.0]], [[2.0, 4.0, 10.0]]
    clip = depth.normalized(maps(still, passing, still), "clip")
    assert clip[:, 0, 0, :2].equal(torch.tensor([[0.0, 0.25]] * 3))
    frames = depth.normalized(maps(still, passing, still), "frame")
    assert frames[0, 0, 0, 1] == 0.5
    assert frames[1, 0, 0, 1] == 0.25


def test_percentiles_are_those_of_the_sorted_clip():
    """Linear between the two pixels around the place of 2 and of 98 per cent."""
    values = torch.from_numpy(
        np.random.default_rng(0).gamma(2, 100, 3 * 40 * 50).astype(np.float32)
    )
    ordered = np.sort(values.numpy().astype(np.float64))

    def at(percent: float) -> float:
        place = percent / 100 * (len(ordered) - 1)
        low = int(place)
        return ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])

    low, high = at(2), at(98)
    expected = ((values.double() - low) / (high - low)).clamp(0, 1).view(3, 1, 40, 50)
    found = depth.normalized(values.view(3, 1, 40, 50), "percentile")
    assert (found - expected).abs().max() < 1e-5
    assert 0.015 < (found == 0).float().mean() < 0.025
    assert 0.015 < (found == 1).float().mean() < 0.025


@pytest.mark.parametrize("normalization", depth.NORMALIZATIONS)
def test_one_depth_throughout_is_black_and_no_division_by_zero(normalization):
    assert depth.normalized(torch.full((2, 1, 3, 4), 7.0), normalization).equal(
        torch.zeros(2, 1, 3, 4)
    )


def test_unknown_names_are_refused():
    with pytest.raises(
        ValueError, match="no normalization 'minmax': choose one of frame, clip, percentile"
    ):
        depth.normalized(torch.ones(1, 1, 2, 2), "minmax")
    with pytest.raises(
        ValueError, match="no depth engine 'zoe': choose one of depth_anything_v2_small"
    ):
        depth.depth(picture(8, 8), engine="zoe")
    with pytest.raises(
        ValueError, match=r"no convention of normal maps 'unreal': choose one of bae, cn1\.0"
    ):
        normals.encoded(torch.ones(1, 3, 2, 2), "unreal")


@pytest.mark.parametrize("normalization", depth.NORMALIZATIONS)
def test_sixteen_bits_pass_through(normalization):
    """65 536 depths stay as many, in order: nothing on the way has 8 bits."""
    ramp = torch.arange(65536.0).view(1, 256, 256, 1).expand(-1, -1, -1, 3) * 0.37 - 1000
    hint, found = depth.depth(ramp, engine="image", normalization=normalization)
    kept = hint[0, ..., 0].flatten()[1400:-1400]
    assert (kept.diff() > 0).all()
    assert len((hint[..., 0] * 65535).round().unique()) >= 65536 * (
        1 if normalization != "percentile" else 0.95
    )
    assert found.equal(ramp)


def test_what_is_not_finite_is_far_away():
    broken = torch.tensor([[3.0, float("nan")], [float("inf"), 5.0]]).view(1, 2, 2, 1)
    hint, found = depth.depth(broken, engine="image")
    assert hint[0, ..., 0].tolist() == [[0, 0], [0, 1]]
    assert found[0, ..., 0].tolist() == [[3, 3], [3, 5]]


# Normals


def cn10(found: np.ndarray, threshold: float) -> np.ndarray:
    """ControlNet 1.0's formula with OpenCV, in float: the map (H,W,3) as its net gets it."""
    relative = (found - found.min()) / (found.max() - found.min())
    across, down = (cv2.Sobel(found, cv2.CV_32F, *axes, ksize=3) for axes in ((1, 0), (0, 1)))
    across[relative < threshold] = 0
    down[relative < threshold] = 0
    normal = np.stack([across, down, np.full_like(across, 2 * math.pi)], axis=2)
    normal /= np.sum(normal**2, axis=2, keepdims=True) ** 0.5
    return (normal[..., ::-1] * 127.5 + 127.5) / 255


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("size", [(64, 48), (37, 53), (2, 3), (1, 9), (9, 1)], ids=str)
def test_normals_from_depth_are_controlnets(size, threshold):
    found = cv2.GaussianBlur(
        np.random.default_rng(0).normal(0, 300, size).astype(np.float32), (0, 0), 2
    )
    vectors = normals.from_depth(torch.from_numpy(found)[None, None], threshold)
    hint = normals.encoded(vectors, "cn1.0")[0].movedim(0, 2)
    assert np.abs(hint.numpy() - cn10(found, threshold)).max() < 1e-5
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


def by_depth(found: Tensor | None, image: Tensor, **more) -> Tensor:
    return normals.normal(image, engine="depth", depth=found, **more)[1]


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
    hint, found = row.full(pictures, engine=engine, networks=networks)
    for made in (hint, found):
        assert made.shape == (3, *size, 3)
        assert made.dtype == torch.float32
        assert made.isfinite().all()
        assert made.is_contiguous()
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
