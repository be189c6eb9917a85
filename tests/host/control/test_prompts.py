"""Which prompt is the positive: known however conditionings reach a guider.

The reference is ComfyUI's own control on the positive alone, or its balanced control set to zero on
the rows of every other prompt.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from workbench.guiders import cfg, dual_cfg, perp_neg

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

CLOSE = 1e-4  # of the scale: other batches round otherwise


def dual_model(model, positive, negative, _other):
    from comfy_extras import nodes_custom_sampler

    if not hasattr(nodes_custom_sampler, "Guider_DualModel"):
        pytest.skip("this ComfyUI has no Dual Model Guider")
    guider = nodes_custom_sampler.Guider_DualModel(model, model.clone())
    guider.set_conds(positive, negative)
    guider.set_cfg(5.0)
    return guider


GUIDERS = {"CFG": cfg, "Dual CFG": dual_cfg, "Dual Model": dual_model, "Perp-Neg": perp_neg}
POSITIVE = {"CFG": 0, "Dual CFG": 2, "Perp-Neg": 0}  # its number in `cond_or_uncond`
each_guider = pytest.mark.parametrize("name", GUIDERS)


@pytest.fixture
def other(world):
    from workbench import tiny

    return tiny.conditioning(3)


@pytest.fixture
def sampled(world):
    def of(name, positive, negative, third, steps=2, size=(8, 8), model=None):
        import comfy.samplers
        import torch

        guider = GUIDERS[name](model or world.model, positive, negative, third)
        noise = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(7))
        sampling = world.model.model.model_sampling
        sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", steps)
        sampler = comfy.samplers.sampler_object("euler")
        return guider.sample(noise, noise * 0, sampler, sigmas, disable_pbar=True, seed=7)

    return of


def unit(world, mode="cond_only"):
    return {"net": world.nets[0], "image": world.hint(), "strength": 0.9, "mode": mode}


def both(world, positive=None, negative=None, mode="cond_only"):
    return world.ours([unit(world, mode)], positive, negative)


def alone(world, positive=None):
    return world.host([unit(world)], positive, [])[0]


def without_negative(world, positive=None, mode="cond_only"):
    from pack.nodes.apply import Apply

    return Apply.execute(positive or world.positive, world.stack([unit(world, mode)]))[0]


def zeroed(conditioning):
    import nodes

    return nodes.ConditioningZeroOut().zero_out(conditioning)[0]


def close(a, b):
    assert a.isfinite().all()
    return (a - b).abs().max() <= CLOSE * b.abs().max()


@each_guider
def test_the_positive_zeroed_out_serves_as_negative(world, sampled, other, name):
    positive, _ = both(world)
    theirs = sampled(name, alone(world), zeroed(world.positive), other)
    assert close(sampled(name, positive, zeroed(positive), other), theirs)
    theirs = sampled(name, alone(world), world.negative, zeroed(world.positive))
    positive, negative = both(world)
    assert close(sampled(name, positive, negative, zeroed(positive)), theirs)


@pytest.mark.quick
@each_guider
def test_a_negative_around_apply(world, sampled, other, counted, name):
    """As many calls of the model as ComfyUI's first apply node needs, which it serves alike."""
    import nodes

    theirs = sampled(name, alone(world), world.negative, other)
    row = (world.nets[0], world.hint(), 0.9)
    (balanced,) = nodes.ControlNetApply().apply_controlnet(world.positive, *row)
    counted["unet"] = 0
    sampled(name, balanced, world.negative, other)
    calls, counted["unet"] = counted["unet"], 0
    assert close(sampled(name, without_negative(world), world.negative, other), theirs)
    assert counted["unet"] == calls


@each_guider
def test_prompts_in_calls_of_their_own(world, sampled, other, monkeypatch, name):
    """As where memory is short: a call alone does not tell which prompts there are beside it."""
    positive, negative = both(world)
    theirs = sampled(name, alone(world), zeroed(world.positive), other)
    with monkeypatch.context() as patched:
        patched.setattr(world.model.model, "memory_required", lambda *_args, **_more: 1e30)
        assert close(sampled(name, positive, zeroed(positive), other), theirs)
        theirs = sampled(name, alone(world), world.negative, other)
        assert close(sampled(name, positive, negative, other), theirs)
        assert close(sampled(name, without_negative(world), world.negative, other), theirs)


def test_one_conditioning_on_both_sides(world, sampled, other):
    """Control acts where the sampler takes it for the positive."""
    positive, _ = both(world)
    theirs = sampled("CFG", alone(world), world.positive, other)
    assert close(sampled("CFG", positive, positive, other), theirs)


@contextmanager
def zero_but(world, kind):
    """Set control to zero in front of the UNet on the rows of all prompts but one."""

    def hook(_module, args, options):
        kinds = options["transformer_options"]["cond_or_uncond"]
        rows = args[0].shape[0] // len(kinds)
        for residuals in (options.get("control") or {}).values():
            for residual in residuals:
                for i, number in enumerate(kinds):
                    if residual is not None and number != kind:
                        residual[i * rows : (i + 1) * rows] = 0
        return args, options

    handle = world.model.model.diffusion_model.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def with_area(world, side):
    from workbench import tiny

    text = tiny.conditioning(5)[0][0]
    return [*side, [text, {"area": (5, 8, 3, 0), "strength": 1.0, "pooled_output": None}]]


@pytest.mark.parametrize("name", POSITIVE)
def test_areas_and_their_twins_on_the_other_prompts(world, sampled, other, name):
    """ComfyUI gives an area of the positive a twin on each other prompt, with its control."""
    how = {"size": (10, 12)}
    positive, negative = with_area(world, world.positive), with_area(world, world.negative)
    with zero_but(world, POSITIVE[name]):
        theirs = sampled(name, *world.host([unit(world)], positive, negative), other, **how)
    assert close(sampled(name, *both(world, positive, negative), other, **how), theirs)
    if name == "CFG":
        with zero_but(world, 0):
            chain = world.host([unit(world)], positive, world.negative)
            theirs = sampled(name, *chain, other, **how)
        without = without_negative(world, positive)
        assert close(sampled(name, without, world.negative, other, **how), theirs)
    else:
        with pytest.raises(ValueError, match="Connect it to Apply Control"):
            sampled(name, without_negative(world, positive), world.negative, other, **how)


def changed_after(world, how, conditioning):
    import nodes
    from workbench import tiny

    extra = tiny.conditioning(6)
    if how == "average":
        return nodes.ConditioningAverage().addWeighted(conditioning, extra, 0.6)[0]
    if how == "concat":
        return nodes.ConditioningConcat().concat(conditioning, extra)[0]
    if how == "combine":
        return nodes.ConditioningCombine().combine(conditioning, extra)[0]
    if how == "range":
        first = nodes.ConditioningSetTimestepRange().set_range(conditioning, 0.0, 0.5)[0]
        zero = nodes.ConditioningSetTimestepRange().set_range(zeroed(conditioning), 0.5, 1.0)[0]
        return [*first, *zero]
    return [[text, dict(options)] for text, options in conditioning]  # "rewrapped"


@pytest.mark.parametrize("name", ["CFG", "Dual CFG"])
@pytest.mark.parametrize("how", ["average", "concat", "combine", "range", "rewrapped"])
def test_conditionings_that_other_nodes_change(world, sampled, other, name, how):
    positive, negative = (changed_after(world, how, side) for side in both(world))
    third = changed_after(world, how, other)
    mine = sampled(name, positive, negative, third)
    wanted = changed_after(world, how, alone(world))
    assert close(mine, sampled(name, wanted, changed_after(world, how, world.negative), third))


@pytest.mark.parametrize("order", ["ours-ours", "host-ours", "ours-host"])
def test_chains_of_several_applies(world, sampled, other, order):
    """A unit for both prompts, in front of or behind one for the positive alone."""
    second = {"net": world.nets[1], "image": world.hint(1), "strength": 0.6}
    prompts = world.positive, world.negative
    first_is_for_positive = order.startswith("ours") and order != "host-ours"
    units = [unit(world), second] if first_is_for_positive else [second, unit(world)]
    for one, side in zip(units, order.split("-"), strict=True):
        prompts = getattr(world, side)([one], *prompts)
    positive = world.host([second], alone(world))[0]
    negative = world.host([second], world.negative, [])[0]
    theirs = sampled("Dual CFG", positive, negative, other)
    assert close(sampled("Dual CFG", *prompts, other), theirs)


def test_the_model_never_sees_a_mark(world, sampled, other):
    from pack.control.prompts import SIDE

    seen = []
    handle = world.model.model.diffusion_model.register_forward_pre_hook(
        lambda _module, _args, options: seen.append(set(options)), with_kwargs=True
    )
    sampled("CFG", *both(world), other)
    handle.remove()
    assert seen
    assert all(SIDE not in keys for keys in seen)


@pytest.mark.parametrize("mode", ["balanced", "prompt"])
def test_chains_for_both_prompts_carry_nothing(world, mode):
    """So nothing can keep their prompts apart in batches."""
    for side in both(world, mode=mode):
        assert type(side[0][1]) is dict
        assert "model_conds" not in side[0][1]


def test_copies_and_clones_know_the_positive(world, sampled, other):
    """As tilers make them before sampling: a copy of the chain on each side."""

    def copied(side):
        return [[c[0], {**c[1], "control": c[1]["control"].copy()}] for c in side]

    positive, negative = (copied(side) for side in both(world))
    theirs = sampled("Dual CFG", alone(world), world.negative, other)
    assert close(sampled("Dual CFG", positive, negative, other), theirs)


def test_a_refused_or_stopped_run_leaves_nothing(world, sampled, other, monkeypatch):
    """The next run, under another guider, hears its own prompts only."""
    import comfy.samplers

    prompts = both(world)

    def stop(*_args, **_more):
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(comfy.samplers, "calc_cond_batch", stop)
        with pytest.raises(InterruptedError):
            sampled("CFG", *prompts, other)
    theirs = sampled("Dual CFG", alone(world), world.negative, other)
    assert close(sampled("Dual CFG", *prompts, other), theirs)
