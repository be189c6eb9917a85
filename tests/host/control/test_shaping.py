"""Check that what a unit sets beyond strength and range shows in its residuals."""

from __future__ import annotations

import pytest


@pytest.fixture
def residuals(world):
    """Return a chain's residuals at one sigma for a negative and a positive chunk of latents."""
    import torch

    def at(chain, sigma=7.0, entries=1, size=(8, 8)):
        control = chain[0][0][1]["control"]
        control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(entries, 4, *size, generator=generator).repeat(2, 1, 1, 1)
        context = torch.cat(
            [c[0][0].repeat(entries, 1, 1) for c in (world.negative, world.positive)]
        )
        t = torch.full((2 * entries,), sigma)
        out = control.get_control(x, t, {"c_crossattn": context}, 2, {"cond_or_uncond": [1, 0]})
        return out["output"] + out["middle"]

    return at


def unit(world, **more):
    return [{"net": world.nets[0], "image": world.hint(), **more}]


def test_layers_multiply_each_block(world, residuals):
    plain = residuals(world.ours(unit(world)))
    soft = residuals(world.ours(unit(world, layers="soft 0.825")))
    assert len(plain) == 13
    for i, (a, b) in enumerate(zip(plain, soft, strict=True)):
        assert (a * 0.825 ** (12 - i)).allclose(b, rtol=1e-6, atol=0)


def test_blocks_leave_the_others_bit_for_bit(world, residuals):
    plain = residuals(world.ours(unit(world)))
    some = residuals(world.ours(unit(world, layers="blocks 1,0,1,0.5,1,1,1,1,1,1,1,1,2")))
    for i, (a, b) in enumerate(zip(plain, some, strict=True)):
        assert (a * {1: 0.0, 3: 0.5, 12: 2.0}.get(i, 1.0)).equal(b)


def test_a_schedule_is_the_strength_of_that_instant(world, residuals):
    sampling = world.model.model.model_sampling
    for percent, factor in ((0.1, 1.0), (0.35, 0.8), (0.475, 0.4), (0.7, 0.0)):
        sigma = sampling.percent_to_sigma(percent)
        wanted = (
            residuals(world.ours(unit(world, strength=0.9 * factor)), sigma) if factor else None
        )
        chain = world.ours(unit(world, strength=0.9, schedule="0.1:1, 0.35:0.8, 0.6:0"))
        if wanted is None:
            control = chain[0][0][1]["control"]
            control.pre_run(world.model.model, sampling.percent_to_sigma)
            assert control.strength_at(__import__("torch").tensor([sigma]), {}) == 0.0
            continue
        for a, b in zip(wanted, residuals(chain, sigma), strict=True):
            assert a.allclose(b, rtol=1e-4, atol=1e-7)


def test_a_constant_schedule_of_one_changes_nothing(world, residuals):
    for a, b in zip(
        residuals(world.ours(unit(world))),
        residuals(world.ours(unit(world, schedule="0:1, 1:1"))),
        strict=True,
    ):
        assert a.equal(b)


def test_a_wrapper_may_reuse_its_options_from_step_to_step(world):
    """A reading noted in transformer_options belongs to one call: the next one has another t."""
    import torch

    sampling = world.model.model.model_sampling
    control = world.ours(unit(world, end_percent=0.5))[0][0][1]["control"]
    control.pre_run(world.model.model, sampling.percent_to_sigma)
    x, cond, options = (
        torch.zeros(1, 4, 8, 8),
        {"c_crossattn": world.positive[0][0]},
        {"cond_or_uncond": [0]},
    )
    for percent, acts in ((0.2, True), (0.8, False), (0.3, True)):
        t = torch.tensor([sampling.percent_to_sigma(percent)])
        assert (control.get_control(x, t, cond, 1, options) is not None) is acts


def test_a_mask_of_ones_changes_nothing(world):
    import torch

    plain = world.sample(*world.ours(unit(world)))
    assert plain.equal(world.sample(*world.ours(unit(world, effect_mask=torch.ones(1, 64, 64)))))


def test_half_a_mask_leaves_the_other_half_untouched(world, residuals):
    import torch

    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1.0
    plain, half = (
        residuals(world.ours(unit(world))),
        residuals(world.ours(unit(world, effect_mask=mask))),
    )
    for a, b in zip(plain, half, strict=True):
        middle = a.shape[-1] // 2
        if a.shape[-1] > 1:
            assert b[..., :middle].equal(a[..., :middle])
            assert not b[..., middle:].any()
        else:
            assert b.allclose(a * 0.5)


def test_each_batch_entry_has_its_mask(world, residuals):
    import torch

    masks = torch.stack([torch.ones(8, 8), torch.zeros(8, 8), torch.full((8, 8), 0.25)])
    plain = residuals(world.ours(unit(world)), entries=3)
    masked = residuals(world.ours(unit(world, effect_mask=masks)), entries=3)
    factors = torch.tensor([1.0, 0.0, 0.25] * 2).reshape(6, 1, 1, 1)
    for a, b in zip(plain, masked, strict=True):
        assert b.allclose(
            a * factors, rtol=1e-4, atol=1e-5
        )  # a black mask's rows are not computed: other sums
        assert not b[[1, 4]].any()


def test_cond_only_is_zero_on_the_negative_rows(world, residuals):
    for mask in ({}, {"effect_mask": __import__("torch").rand(1, 64, 64)}):
        plain = residuals(world.ours(unit(world, **mask)), entries=3)
        only = residuals(world.ours(unit(world, mode="cond_only", **mask)), entries=3)
        for a, b in zip(plain, only, strict=True):
            assert not b[:3].any()
            assert b[3:].allclose(a[3:], rtol=1e-4, atol=1e-5)


def test_a_hint_longer_than_the_batch_gives_its_first_entries_to_both_prompts(world, residuals):
    """ComfyUI would give the first of two hints to the negative and the second to the positive."""
    hint = world.hint(0, 2)
    long = residuals(world.ours([{"net": world.nets[0], "image": hint}]))
    first = residuals(world.ours([{"net": world.nets[0], "image": hint[:1]}]))
    for a, b in zip(long, first, strict=True):
        assert a.allclose(b, rtol=1e-4, atol=1e-6)


def test_a_tiler_may_exchange_the_hint_along_the_chain(world, residuals):
    """Tilers write their part into copies: as cond_hint_original, or fitted as cond_hint."""
    import torch

    other = world.hint(7).movedim(-1, 1)
    wanted = residuals(world.ours([{"net": world.nets[0], "image": world.hint(7)}]))
    chain = world.ours(unit(world))
    residuals(chain)
    for attribute in ("cond_hint_original", "cond_hint"):
        twin = chain[0][0][1]["control"].copy()
        setattr(twin, attribute, other.clone())
        for a, b in zip(wanted, residuals([[[None, {"control": twin}]]]), strict=True):
            assert torch.equal(a, b)
