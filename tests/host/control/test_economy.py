"""Check what is computed and what is not: hint encodings, UNet calls, rows, loaded models."""

from __future__ import annotations

import pytest


def units_of(world, count, **more):
    return [{"net": world.nets[i], "image": world.hint(i), **more} for i in range(count)]


def key(net):
    return id(net.control_model.zero_convs)


@pytest.mark.parametrize("hints", [1, 3])
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_each_hint_is_encoded_once_a_run(world, counted, hints, sampler):
    units = [{"net": world.nets[i], "image": world.hint(i, hints)} for i in range(3)]
    chain = world.ours(units)
    world.sample(*chain, steps=4, sampler=sampler, batch=3)
    assert [counted["hint"][key(net)] for net in world.nets] == [1, 1, 1]
    assert min(counted["net"].values()) >= 4
    counted["hint"].clear()
    world.sample(*world.host(units), steps=4, sampler=sampler, batch=3)
    assert min(counted["hint"].values()) >= 4, (
        "the host encodes at every step; if it no longer does, drop our cache"
    )


def test_each_size_is_encoded_once_a_run(world, counted):
    area = [[world.positive[0][0], {"area": (5, 8, 3, 2), "strength": 1.0, "pooled_output": None}]]
    chain = world.ours(units_of(world, 1), world.positive + area)
    world.sample(*chain, steps=4, size=(10, 12))
    assert counted["hint"][key(world.nets[0])] == 2


def test_the_same_net_twice_has_two_hints(world, counted):
    units = [{"net": world.nets[0], "image": world.hint(i)} for i in range(2)]
    world.sample(*world.ours(units), steps=4)
    assert counted["hint"][key(world.nets[0])] == 2


def test_a_second_run_encodes_again(world, counted):
    chain = world.ours(units_of(world, 1))
    for _ in range(2):
        world.sample(*chain, steps=3)
    assert counted["hint"][key(world.nets[0])] == 2


def test_cond_only_takes_one_unet_call_a_step_and_half_the_rows(world, counted):
    """ComfyUI can do the same only with control on the positive alone, at two UNet calls a step."""
    import nodes

    hint = world.hint(0, 3)
    ours = world.sample(
        *world.ours([{"net": world.nets[0], "image": hint, "mode": "cond_only"}]), steps=4, batch=3
    )
    assert counted["unet"] == 4
    assert counted["rows"][key(world.nets[0])] == [3, 3, 3, 3]
    counted["unet"] = 0
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    positive, _ = apply(world.positive, [], world.nets[0], hint, 1.0, 0.0, 1.0)
    theirs = world.sample(positive, world.negative, steps=4, batch=3)
    assert counted["unet"] == 8
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_cond_only_stacks_and_mixes(world):
    """Put a balanced net before and after a cond_only net, and compare with ComfyUI's two calls."""
    import nodes

    units = [{"net": net, "image": world.hint(i)} for i, net in enumerate(world.nets)]
    units[1]["mode"] = "cond_only"
    ours = world.sample(*world.ours(units))
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    positive, negative = world.host(units[:1])
    positive, _ = apply(positive, [], world.nets[1], units[1]["image"], 1.0, 0.0, 1.0)
    theirs = world.sample(*world.host(units[2:], positive, negative))
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


IDLE = {
    "strength": {"strength": 0.0},
    "schedule": {"schedule": "0:0, 0.5:0"},
    "layers": {"layers": "blocks 0"},
    "interval": {"start_percent": 0.6, "end_percent": 0.2},
    "instant": {"start_percent": 0.5, "end_percent": 0.5},
}


def asked_to_load(chain):
    import comfy.sampler_helpers

    conds = {
        "positive": [entry[1] for entry in chain[0]],
        "negative": [entry[1] for entry in chain[1]],
    }
    models, _ = comfy.sampler_helpers.get_additional_models(conds, None)
    return [model.model for model in models]


@pytest.mark.parametrize("why", [*IDLE, "mask"])
def test_a_net_that_can_never_act_is_neither_loaded_nor_run(world, counted, why):
    import torch

    more = {"effect_mask": torch.zeros(1, 8, 8)} if why == "mask" else IDLE[why]
    units = [*units_of(world, 1), {"net": world.nets[1], "image": world.hint(1), **more}]
    chain = world.ours(units)
    assert asked_to_load(chain) == [world.nets[0].control_model]
    image = world.sample(*chain, steps=4)
    assert key(world.nets[1]) not in counted["net"]
    assert (image - world.sample(*world.host(units[:1]), steps=4)).abs().max() == 0.0


def test_a_net_that_can_act_is_loaded(world):
    assert asked_to_load(world.ours(units_of(world, 3))) == [
        net.control_model for net in world.nets
    ]


def test_a_range_between_two_steps_is_loaded_but_never_run(world, counted):
    units = units_of(world, 1, start_percent=0.4, end_percent=0.45)
    chain = world.ours(units)
    assert asked_to_load(chain) == [world.nets[0].control_model]
    image = world.sample(*chain, steps=3)
    assert counted["net"] == {}
    assert (image - world.sample(world.positive, world.negative, steps=3)).abs().max() == 0.0


def test_a_step_where_the_schedule_is_zero_is_not_run(world, counted):
    world.sample(*world.ours(units_of(world, 1, schedule="0:1, 0.5:1, 0.5:0")), steps=4)
    assert counted["net"][key(world.nets[0])] == 2


def test_sigma_is_read_once_a_step_for_the_whole_chain(world, monkeypatch):
    """Each reading waits for the GPU; ComfyUI's own chain reads twice for each net."""
    import torch

    reads = []
    real = torch.Tensor.__float__
    monkeypatch.setattr(
        torch.Tensor, "__float__", lambda self: (reads.append(tuple(self.shape)), real(self))[1]
    )
    chain = world.ours(units_of(world, 3))
    control = chain[0][0][1]["control"]
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    x, t = torch.zeros(2, 4, 8, 8), torch.tensor([7.0, 7.0])
    cond = {"c_crossattn": torch.cat([world.positive[0][0], world.negative[0][0]])}
    bounds = 3 * 2  # plain numbers rounded as tensors, which wait for nothing
    reads.clear()
    control.get_control(x, t, cond, 2, {"cond_or_uncond": [1, 0]})
    assert len(reads) - bounds == 1
