"""Depth: the same random weights in the references and in ours, formulas against values by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pack.preprocessors import depth, normals
from pack.preprocessors.build import InMemory, filled
from pack.preprocessors.nets import depth_anything, dpt_hybrid, normalbae
from workbench.references import controlnet_aux, lively, picture, relative

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
    """Return the file that transformers writes: its keys are those on the hub, whatever the
    version's classes call them.
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


def test_midass_own_file_may_carry_its_classifier():
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
    """Return the reference's detector, of full size, and ours, with the same random weights."""
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
    detector.model.register_forward_hook(lambda net, frames, output: raw.append(output))
    photo = (picture(512, 640) * 255).round() / 255
    levels = (photo[0].numpy() * 255).round().astype(np.uint8)
    depth8, normal8 = detector(levels, bg_th=0.4, depth_and_normal=True)
    networks = InMemory({depth.ESTIMATORS["midas"].weights.file: ours})
    hint, actual = depth.depth(photo, engine="midas", networks=networks)
    assert relative(actual[..., 0], raw[0]) < 1e-5
    assert depth8.std() > 5
    assert np.abs(np.floor(hint[0].numpy() * 255 + 1e-3) - depth8).max() <= 1
    colours = normals.encoded(normals.from_depth(actual[None, ..., 0]), "cn1.0")[0].movedim(0, 2)
    assert normal8.std() > 5
    difference = np.abs(np.floor(colours.numpy() * 255 + 1e-3) - normal8).max(axis=2)
    # A pixel whose depth is the threshold itself may fall on either side of it.
    assert (difference > 1).mean() < 1e-4


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


@pytest.mark.quick
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
    hint, actual = depth.depth(
        picture(600, 900), engine=engine, resolution=resolution, networks=networks
    )
    assert net.seen == [(1, 3, *seen)]
    short = resolution or 600
    assert hint.shape == actual.shape == (1, short, short * 3 // 2, 3)
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
    actual = depth.normalized(
        maps([[10.0, 20.0], [15.0, 10.0]], [[-4.0, 0.0], [-2.0, -3.0]]), "frame"
    )
    assert actual.equal(maps([[0.0, 1.0], [0.5, 0.0]], [[0.0, 1.0], [0.5, 0.25]]))


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
    actual = depth.normalized(values.view(3, 1, 40, 50), "percentile")
    assert (actual - expected).abs().max() < 1e-5
    assert 0.015 < (actual == 0).float().mean() < 0.025
    assert 0.015 < (actual == 1).float().mean() < 0.025


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


@pytest.mark.quick
@pytest.mark.parametrize("normalization", depth.NORMALIZATIONS)
def test_sixteen_bits_pass_through(normalization):
    """65 536 depths stay as many, in order: nothing on the way has 8 bits."""
    ramp = torch.arange(65536.0).view(1, 256, 256, 1).expand(-1, -1, -1, 3) * 0.37 - 1000
    hint, actual = depth.depth(ramp, engine="image", normalization=normalization)
    remaining = hint[0, ..., 0].flatten()[1400:-1400]
    assert (remaining.diff() > 0).all()
    assert len((hint[..., 0] * 65535).round().unique()) >= 65536 * (
        1 if normalization != "percentile" else 0.95
    )
    assert actual.equal(ramp)


def test_what_is_not_finite_is_far_away():
    broken = torch.tensor([[3.0, float("nan")], [float("inf"), 5.0]]).view(1, 2, 2, 1)
    hint, actual = depth.depth(broken, engine="image")
    assert hint[0, ..., 0].tolist() == [[0, 0], [0, 1]]
    assert actual[0, ..., 0].tolist() == [[3, 3], [3, 5]]


# Depth maps that exist


@pytest.mark.parametrize("levels", [(0.3, 0.6), (0.7, 0.7), (0.0, 1.0)])
def test_a_map_is_kept_inverted_or_stretched(levels):
    """0.3 to 0.6 is a map whose scale matters, 0.7 alone a wall."""
    low, high = levels
    ramp = torch.linspace(low, high, 50 * 40).view(2, 25, 40, 1).expand(-1, -1, -1, 3)
    span = (high - low) or 1.0
    expected = {
        "stretched": (ramp - low) / span,
        "unchanged": ramp,
        "inverted": 1 - ramp,
        "inverted_stretched": (high - ramp) / span,
    }
    for mode, hints in expected.items():
        hint, raw = depth.depth(ramp, engine="image", normalization="clip", image_mode=mode)
        torch.testing.assert_close(hint, hints)
        assert raw.equal(1 - ramp if mode.startswith("inverted") else ramp)


def test_a_renderers_metres_are_inverted_and_its_sky_is_far():
    """Blender's depth: metres from the camera, and no number where there is nothing."""
    metres = torch.tensor([[2.0, 4.0], [10.0, float("inf")]]).view(1, 2, 2, 1)
    hint, _ = depth.depth(metres, engine="image", image_mode="inverted_stretched")
    torch.testing.assert_close(hint[0, ..., 0], torch.tensor([[1.0, 0.75], [0.0, 0.0]]))


@pytest.mark.parametrize(("near", "background"), [(0, 0), (20, 0), (0, 35), (12.5, 40), (60, 60)])
def test_near_and_background_are_cut_as_by_leress_tools(near, background):
    """Their formula: two thresholds on 8 bits, around the inversion that makes near white."""
    far_is_white = np.arange(256, dtype=np.uint8)[None]
    theirs = cv2.threshold(far_is_white, near / 100 * 255, 255, cv2.THRESH_TOZERO)[1]
    theirs = cv2.bitwise_not(theirs)
    theirs = cv2.threshold(theirs, background / 100 * 255, 255, cv2.THRESH_TOZERO)[1]
    picture = torch.from_numpy(255 - far_is_white)[None, ..., None] / 255
    for mode in ("stretched", "unchanged"):
        hint, _ = depth.depth(
            picture,
            engine="image",
            image_mode=mode,
            remove_near=near,
            remove_background=background,
        )
        assert np.array_equal((hint[0, ..., 0] * 255).round().numpy(), theirs)


@pytest.mark.parametrize("engine", ["midas", "depth_anything_v2_small"])
def test_a_networks_depth_is_cut_too(engine):
    networks = InMemory({depth.WEIGHTS[engine].file: Brightness()})
    run = partial(depth.depth, picture(80, 120), engine=engine, networks=networks)
    (whole, raw), (cut, same) = run(), run(remove_near=25, remove_background=50)
    assert same.equal(raw)
    assert cut[whole >= 0.75].eq(1).all()
    assert cut[whole <= 0.5].eq(0).all()
    between = (whole > 0.5) & (whole < 0.75)
    assert cut[between].equal(whole[between])
    assert between.any()


def test_the_depth_takes_a_third_of_the_hint():
    hint, raw = depth.depth(torch.rand(3, 32, 24, 3), engine="image")
    assert raw.shape == hint.shape
    assert raw.untyped_storage().nbytes() * 3 == hint.untyped_storage().nbytes() == hint.nbytes
