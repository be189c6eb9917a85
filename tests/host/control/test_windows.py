"""Context windows: each frame has its own hint, mask and strength, proven by the latents' content.

A row of a window is a frame of the clip if its latents are; what the net must give for it comes
from ComfyUI's own net with that frame's hint.
"""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import pytest

from workbench import hosts
from workbench.family_runs import frames_by_hand, in_windows

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

STRENGTHS = "0:1, 3:0.5, 6:0, 7:0.8, 30:0.3 | step"
SCHEDULES = ("standard_static", "standard_uniform", "looped_uniform", "batched")
LENGTHS = (12, 25, 40)


def strength_of(frame):
    return next(s for f, s in ((30, 0.3), (7, 0.8), (6, 0.0), (3, 0.5), (0, 1.0)) if frame >= f)


CASES = [
    (schedule, anchor, freenoise, LENGTHS[i % 3], ("balanced", "cond_only")[i % 2])
    for i, (schedule, anchor, freenoise) in enumerate(
        product(SCHEDULES, (True, False), (True, False))
    )
]


@pytest.fixture
def calls(world):
    """Evaluate a model once over a clip: → its latents, and each call's input and control."""
    import comfy.samplers
    import torch

    def of(model, positive, negative, frames):
        seen, clip = [], {}

        def wrapper(apply, args):
            control = {place: list(all_) for place, all_ in args["c"]["control"].items()}
            noted = {**args["c"], "control": control}  # the UNet takes its residuals off the lists
            seen.append((args["input"], args["timestep"], noted, args["cond_or_uncond"]))
            return apply(args["input"], args["timestep"], **args["c"])

        def once(wrap, x, sigmas, extra_args=None, **_):
            clip["x"] = x.clone()
            return wrap(x, sigmas[0] * x.new_ones([x.shape[0]]), **extra_args)

        model.set_model_unet_function_wrapper(wrapper)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(5.0)
        generator = torch.Generator().manual_seed(3)
        noise, start = (torch.randn(frames, 4, 8, 8, generator=generator) for _ in range(2))
        guider.sample(noise, start, comfy.samplers.KSAMPLER(once), torch.tensor([9.0, 0.0]), seed=5)
        return clip["x"], seen

    return of


def frames_by_content(clip, rows):
    """Return which frame of the clip each row is."""
    matches = (clip[None] == rows[:, None]).flatten(2).all(2)
    assert matches.any(1).all()
    return matches.int().argmax(1).tolist()


def control_by_hand(world, hints, masks, frames, x, t, context):
    """Return what ComfyUI's own net gives for these frames' hints, masked and scaled by hand."""
    import torch

    net = world.nets[0].copy().set_cond_hint(hints.movedim(-1, 1)[frames], 1.0, (0.0, 1.0))
    sampling = world.model.model.model_sampling
    net.pre_run(world.model.model, sampling.percent_to_sigma)
    out = net.get_control(x, t, {"c_crossattn": context}, 1, {})
    scale = torch.tensor([strength_of(f) for f in frames]).reshape(-1, 1, 1, 1)
    shaped = []
    for residual in out["output"] + out["middle"]:
        mask = torch.nn.functional.interpolate(
            masks[frames][:, None], size=residual.shape[2:], mode="area"
        )
        shaped.append(residual * mask * scale)
    return shaped


def check_each_frame(world, clip, seen, hints, masks, mode):
    """Compare each call's control with that of its frames; return all frames that came."""
    came = set()
    for x, t, c, kinds in seen:
        count = x.shape[0] // len(kinds)
        ours = c["control"]["output"] + c["control"]["middle"]
        for i, kind in enumerate(kinds):
            rows = slice(i * count, (i + 1) * count)
            frames = frames_by_content(clip, x[rows])
            came |= set(frames)
            context = c["c_crossattn"][rows]
            theirs = control_by_hand(world, hints, masks, frames, x[rows], t[rows], context)
            for a, b in zip(ours, theirs, strict=True):
                wanted = b if mode == "balanced" or kind == 0 else b * 0
                assert a[rows].allclose(wanted, rtol=1e-3, atol=1e-4 * b.abs().max().item())
    return came


def clip_unit(world, frames, mode):
    import torch

    masks = torch.rand(frames, 64, 64, generator=torch.Generator().manual_seed(6))
    hints = world.hint(1, frames)
    unit = {"net": world.nets[0], "image": hints, "effect_mask": masks, "mode": mode}
    return {**unit, "frame_strength": STRENGTHS}, hints, masks


@pytest.mark.parametrize(
    ("schedule", "anchor", "freenoise", "frames", "mode"), hosts.cross_section(CASES)
)
def test_each_frame_has_its_own(world, calls, schedule, anchor, freenoise, frames, mode):
    unit, hints, masks = clip_unit(world, frames, mode)
    model = in_windows(
        world.model,
        context_schedule=schedule,
        context_stride=2 if "uniform" in schedule and frames > 12 else 1,
        closed_loop=schedule == "looped_uniform",
        freenoise=freenoise,
        causal_window_fix=anchor,
    )
    clip, seen = calls(model, *world.ours([unit]), frames)
    assert len(seen) > 1
    assert check_each_frame(world, clip, seen, hints, masks, mode) == set(range(frames))


@pytest.mark.quick
def test_a_window_of_the_node_as_it_comes(world, calls):
    """With the frame before each window, where this ComfyUI adds it."""
    unit, hints, masks = clip_unit(world, 12, "balanced")
    clip, seen = calls(in_windows(world.model), *world.ours([unit]), 12)
    assert check_each_frame(world, clip, seen, hints, masks, "balanced") == set(range(12))


def test_guide_frames_behind_a_window(world):
    """Guides stand behind the clip; those of a window's frames stand behind the window."""
    import comfy.context_windows
    import torch

    unit, hints, masks = clip_unit(world, 15, "balanced")
    window = comfy.context_windows.IndexListContextWindow([4, 5, 6], dim=0, total_frames=12)
    window.causal_anchor_index, window.guide_frames_indices = 3, [0, 2]
    frames = [3, 4, 5, 6, 12, 14]
    control = world.ours([unit])[0][0][1]["control"]
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    x = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    t, context = torch.full((6,), 7.0), world.positive[0][0].repeat(6, 1, 1)
    options = {"cond_or_uncond": [0], "context_window": window}
    out = control.get_control(x, t, {"c_crossattn": context}, 1, options)
    theirs = control_by_hand(world, hints, masks, frames, x, t, context)
    for a, b in zip(out["output"] + out["middle"], theirs, strict=True):
        assert a.allclose(b, rtol=1e-3, atol=1e-5)


def test_a_window_of_another_length_is_a_sentence(world):
    import torch

    class Window:
        dim, index_list, total_frames = 0, [4, 5, 6], 9

    control = world.ours([{"net": world.nets[0], "image": world.hint(0, 9)}])[0][0][1]["control"]
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    x, t = torch.zeros(4, 4, 8, 8), torch.full((4,), 7.0)
    cond = {"c_crossattn": world.positive[0][0].repeat(4, 1, 1)}
    with pytest.raises(ValueError, match="window has 3 frames, but 4 latents"):
        control.get_control(x, t, cond, 1, {"context_window": Window(), "cond_or_uncond": [0]})


def test_a_window_over_latent_frames_has_their_numbers(host):
    from pack.control.frames import frames_of, window_frames

    class Window:
        dim, index_list, total_frames = 2, [4, 5, 6], 9
        causal_anchor_index, guide_frames_indices = 3, [0, 2]

    assert window_frames(Window()) == (3, 4, 5, 6, 9, 11)
    assert frames_of(2, {"context_window": Window()}) == (0, 1)


@pytest.fixture
def video(host):
    """Return the tiny Wan with six latent frames, its Uni3C, and 21 pictures of a clip."""
    from dataclasses import replace

    import torch

    from workbench import tiny_patches

    if not tiny_patches.has_module("comfy.ldm.wan.uni3c"):
        pytest.skip("this ComfyUI has no Uni3C")
    clip = torch.rand(21, 64, 64, 3, generator=torch.Generator().manual_seed(8))
    base = tiny_patches.wan()
    return replace(base, latent=(1, 16, 6, 8, 8)), tiny_patches.uni3c(), clip


VIDEO_WINDOWS = [
    ("standard_static", True, 1),
    ("standard_static", False, 1),
    ("standard_uniform", True, 2),
    ("looped_uniform", False, 2),
    ("batched", True, 1),
]


@pytest.mark.parametrize(("schedule", "anchor", "stride"), VIDEO_WINDOWS)
def test_a_clips_hint_follows_windows_over_latent_frames(video, schedule, anchor, stride):
    """Compare with ComfyUI's node, its patch shown the latent frames of each window by hand.

    By itself it shows every window the beginning of the clip.
    """
    from comfy_extras.nodes_model_patch import WanUni3CControlnetApply

    from pack.control.patches import net_of
    from workbench.family_runs import ours, plain, sample

    base, patcher, clip = video
    how = {"context_length": 3, "context_overlap": 1, "dim": 2, "context_schedule": schedule}
    how |= {"context_stride": stride, "closed_loop": schedule == "looped_uniform"}
    windows = in_windows(base.patcher, **how, causal_window_fix=anchor)

    node = WanUni3CControlnetApply().apply_patch
    patched = node(windows, patcher, base.vae, clip, 0.7, 0.0, 1.0)[0]
    patch = patched.model_options["transformer_options"]["patches"]["double_block"][0]
    whole, came = patch.encode_render_video(base.latent[2:]), []

    def with_the_windows_frames(apply, args):
        frames = frames_by_hand(args["c"]["transformer_options"], args["input"].shape[2])
        came.append(frames)
        patch.prepared_render = whole[:, :, frames]
        return apply(args["input"], args["timestep"], **args["c"])

    shown = patched.clone()
    shown.set_model_unet_function_wrapper(with_the_windows_frames)
    theirs = sample(base, plain(base), patcher=shown, steps=2)
    assert {frame for frames in came for frame in frames} == set(range(6))
    assert len({tuple(frames) for frames in came}) > 1

    base.vae.encodes = 0
    chain = ours(base, net_of(patcher), clip)
    assert theirs.equal(sample(base, chain, patcher=windows, steps=2))
    assert base.vae.encodes == 1
    assert not theirs.equal(sample(base, plain(base), patcher=patched, steps=2))


def test_a_clips_window_of_another_length_is_a_sentence(host):
    from pack.control.frames import latent_window

    window = SimpleNamespace(dim=2, index_list=[4, 5, 6], total_frames=9)
    assert latent_window(3, {"context_window": window}) == ((4, 5, 6), 9)
    assert latent_window(3, {}) is None
    with pytest.raises(ValueError, match=r"the context window has 3 frames, but 4 latents came"):
        latent_window(4, {"context_window": window})


# -- AnimateDiff-Evolved ---------------------------------------------------------------------------


@pytest.mark.parametrize("told_by", ["attribute", "transformer options"])
def test_windows_of_animatediff(world, told_by):
    """It asks each control of a chain for `sub_idxs` and writes the window's frames there."""
    import torch

    unit, hints, masks = clip_unit(world, 12, "cond_only")
    units = [unit, {"net": world.nets[1], "image": world.hint(2), "strength": 0.0}]
    control = world.ours(units)[0][0][1]["control"]
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    frames = [9, 10, 0, 1]
    member, options = control, {"cond_or_uncond": [1, 0]}
    while member is not None:
        assert hasattr(member, "sub_idxs")
        if told_by == "attribute":
            member.sub_idxs, member.full_latent_length, member.context_length = frames, 12, 4
        member = member.previous_controlnet
    if told_by != "attribute":
        options["ad_params"] = {"sub_idxs": frames, "full_length": 12, "context_length": 4}
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1)).repeat(2, 1, 1, 1)
    t = torch.full((8,), 7.0)
    sides = (world.negative, world.positive)
    context = torch.cat([side[0][0].repeat(4, 1, 1) for side in sides])
    out = control.get_control(x, t, {"c_crossattn": context}, 2, options)
    theirs = control_by_hand(world, hints, masks, frames, x[4:], t[4:], context[4:])
    for a, b in zip(out["output"] + out["middle"], theirs, strict=True):
        assert not a[:4].any()
        assert a[4:].allclose(b, rtol=1e-3, atol=1e-5)
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    assert control.sub_idxs is None


def test_animatediff_without_windows_counts_from_zero(host):
    from pack.control.frames import frames_of

    assert frames_of(3, {"ad_params": {"sub_idxs": None}}, sub_idxs=[7, 8, 9]) == (0, 1, 2)
