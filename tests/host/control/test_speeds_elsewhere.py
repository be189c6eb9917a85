"""Check speeds `fast` and `approximate` under context windows, guiders and tilers.

Exact, which other files hold to ComfyUI's own nets there, is the reference.
"""

from __future__ import annotations

import pytest

from workbench.family_runs import in_windows
from workbench.guiders import cfg, dual_cfg, perp_neg
from workbench.hosts import cross_section
from workbench.tilers import crop, cropped, stacked

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

ROUNDING, REUSED = 1e-5, 0.08  # of the largest value of the latent: fast, approximate
STEPS = 6
SPEEDS = {
    "fast": {"speed": "fast"},
    "approximate": {"speed": "approximate"},
    "shared": {"speed": "approximate", "share_prompts": True},
}
each_speed = pytest.mark.parametrize("name", cross_section([*SPEEDS], 3))
SHARED = 0.5  # the negative's control is another one altogether


def check(name, run, counted):
    """Sample at a speed and at exact; `run` takes settings of Apply."""
    exact = run()
    every = sum(map(sum, counted["rows"].values()))
    counted["rows"].clear()
    other = run(**SPEEDS[name])
    rows = sum(map(sum, counted["rows"].values()))
    far = ((other - exact).abs().max() / exact.abs().max()).item()
    assert other.isfinite().all()
    if name == "fast":
        assert far <= ROUNDING
        assert rows == every
        return
    assert far <= {"approximate": REUSED, "shared": SHARED}[name]
    assert rows < every
    assert far > ROUNDING


def clip_units(world, frames, mode):
    import torch

    masks = torch.rand(frames, 64, 64, generator=torch.Generator().manual_seed(6))
    more = {"mode": mode, "effect_mask": masks, "frame_strength": "0:1, 3:0.5, 6:0, 7:0.8 | step"}
    return [{"net": world.nets[0], "image": world.hint(i, frames), **more} for i in range(2)]


@each_speed
@pytest.mark.parametrize(
    ("schedule", "mode"),
    [
        ("standard_static", "balanced"),
        ("standard_uniform", "cond_only"),
        ("looped_uniform", "balanced"),
        ("batched", "control"),
    ],
)
def test_windows(world, counted, schedule, mode, name):
    """Each frame has its hint, mask and strength; a window that moved has no earlier residuals."""
    units, is_looped = clip_units(world, 12, mode), schedule == "looped_uniform"
    model = in_windows(world.model, context_schedule=schedule, closed_loop=is_looped)

    def run(**speed):
        return world.sample(*world.ours(units, **speed), steps=STEPS, batch=12, model=model)

    if name == "shared" and mode == "cond_only":
        pytest.skip("nothing is left to share")
    check(name, run, counted)


@pytest.mark.quick
@each_speed
@pytest.mark.parametrize("guider", [cfg, dual_cfg, perp_neg])
def test_guiders_of_two_and_three_prompts(world, counted, guider, name):
    import comfy.samplers
    import torch

    from workbench import tiny

    third = tiny.conditioning(3)
    sigmas = comfy.samplers.calculate_sigmas(world.model.model.model_sampling, "normal", STEPS)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    units = [{"net": world.nets[0], "image": world.hint(i), "strength": 0.6} for i in range(2)]

    def run(**speed):
        positive, negative = world.ours(units, **speed)
        third_too = world.ours(units, third, [], **speed)[0] if guider is perp_neg else third
        steered = guider(world.model, positive, negative, third_too)
        sampler = comfy.samplers.sampler_object("euler")
        return steered.sample(noise, noise * 0, sampler, sigmas, disable_pbar=True, seed=7)

    check(name, run, counted)


BOXES = ((0, 0, 8, 8), (0, 4, 8, 8), (0, 8, 8, 8))


def tiled(model, boxes_at_once):
    """Average tiles while sampling; the chain comes as it is, its hints cut once a run."""
    import torch

    cuts = {}

    def cut(control, first, boxes, x):
        chain = []
        while control is not None:
            chain.append(control)
            control = control.previous_controlnet
        if (key := (id(chain[0]), first)) not in cuts:
            stacked(chain[0], boxes, len(x), x.shape[2:])
            cuts[key] = [(member, member.cond_hint) for member in chain]
        for member, hint in cuts[key]:
            member.cond_hint = hint

    def tiles(apply, args):
        x, t, c = args["input"], args["timestep"], dict(args["c"])
        control, kinds = c.pop("control"), args["cond_or_uncond"]
        total, count = torch.zeros_like(x), torch.zeros_like(x)
        for first in range(0, len(BOXES), boxes_at_once):
            boxes = BOXES[first : first + boxes_at_once]
            parts = torch.cat([crop(x, box, 1) for box in boxes])
            many = {
                key: torch.cat([value] * len(boxes)) if isinstance(value, torch.Tensor) else value
                for key, value in c.items()
            }
            times = t.repeat(len(boxes))
            cut(control, first, boxes, x)
            options = c["transformer_options"]
            many["control"] = control.get_control(parts, times, many, len(kinds), options)
            for box, part in zip(boxes, apply(parts, times, **many).chunk(len(boxes)), strict=True):
                crop(total, box, 1).add_(part)
                crop(count, box, 1).add_(1.0)
        return total / count

    model = model.clone()
    model.set_model_unet_function_wrapper(tiles)
    return model


@pytest.fixture
def unasked(monkeypatch):
    """Hand whole chains over to the tiler, which asks them for its tiles."""
    from pack.control.adapter import StackedControl

    real = StackedControl.get_control

    def handed(self, x, *rest):
        return real(self, x, *rest) if x.shape[3] == BOXES[0][3] else self

    monkeypatch.setattr(StackedControl, "get_control", handed)


@each_speed
@pytest.mark.parametrize("boxes_at_once", [1, 3])
def test_a_tiler_that_stacks_tiles(world, counted, unasked, boxes_at_once, name):
    import torch

    mask = torch.cat([torch.ones(1, 64, 64), torch.zeros(1, 64, 64)], dim=2)
    hints = [world.hint(i, 1, 64, 128) for i in range(2)]
    units = [{"net": world.nets[0], "image": hint, "effect_mask": mask} for hint in hints]
    model = tiled(world.model, boxes_at_once)

    def run(**speed):
        return world.sample(*world.ours(units, **speed), steps=STEPS, size=(8, 16), model=model)

    check(name, run, counted)


@each_speed
def test_a_tiler_that_crops_copies(world, counted, name):
    """Each tile is a run of its own: nothing of the tile before serves it."""
    import torch

    hints = [world.hint(i, 1, 64, 128) for i in range(2)]
    units = [{"net": world.nets[0], "image": hint, "strength": 0.7} for hint in hints]

    def run(**speed):
        sides = world.ours(units, **speed)
        tiles = []
        for box in BOXES:
            cut = [[[text, {**more, "control": cropped(more["control"], (box,))}]
                    for text, more in side] for side in sides]  # fmt: skip
            tiles.append(world.sample(*cut, steps=STEPS))
        return torch.cat(tiles)

    check(name, run, counted)
