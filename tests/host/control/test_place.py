"""Check place: how a hint of another aspect is fitted, what an area cuts, and where masks act."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick


def unit(world, image=None, **more):
    return [{"net": world.nets[0], "image": world.hint() if image is None else image, **more}]


def resized(image, height, width):
    import comfy.utils

    return comfy.utils.common_upscale(
        image.movedim(-1, 1), width, height, "nearest-exact", "disabled"
    ).movedim(1, -1)


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("hints", [1, 2])
def test_a_hint_of_the_pictures_size_needs_no_fitting(world, fit, hints):
    units = unit(world, world.hint(0, hints, 64, 96))
    how = {"size": (8, 12), "batch": 2}
    image = world.sample(*world.host(units), **how)
    assert world.sample(*world.ours([{**units[0], "fit": fit}]), **how).equal(image)


def test_stretch_is_the_hosts_with_a_hint_that_was_stretched_before(world):
    wide = world.hint(0, 1, 50, 130)
    image = world.sample(*world.host(unit(world, resized(wide, 64, 64))))
    assert world.sample(*world.ours(unit(world, wide, fit="stretch"))).equal(image)
    assert not world.sample(*world.ours(unit(world, wide))).equal(image)


def test_pad_is_the_hosts_with_a_hint_that_was_padded_before(world):
    """A hint of 32x64 on 64x64 stays whole, with its border's median in 16 rows above and below."""
    import torch

    wide = world.hint(0, 1, 32, 64)
    wide[:, 0], wide[:, -1], wide[:, :, 0], wide[:, :, -1] = 0.25, 0.25, 0.25, 0.25
    whole = torch.full((1, 64, 64, 3), 0.25)
    whole[:, 16:48] = wide
    image = world.sample(*world.host(unit(world, whole)))
    assert world.sample(*world.ours(unit(world, wide, fit="pad"))).equal(image)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_a_fitted_hint_is_made_once_for_each_size(world, counted, fit):
    area = [[world.positive[0][0], {"area": (5, 8, 3, 2), "strength": 1.0, "pooled_output": None}]]
    world.sample(
        *world.ours(unit(world, world.hint(0, 1, 50, 90), fit=fit), world.positive + area),
        size=(10, 12),
    )
    assert counted["hint"][id(world.nets[0].control_model.zero_convs)] == 2


def with_area(world, area):
    return [[world.positive[0][0], {"area": area, "strength": 1.0, "pooled_output": None}]]


REGIONS = {
    "percent": ("percentage", 0.5, 0.5, 0.25, 0.5),
    "eighths of pixels": (5, 6, 3, 6),
}


@pytest.mark.parametrize("kind", REGIONS)
@pytest.mark.parametrize("with_base", [True, False])
def test_a_region_is_the_hosts_with_a_hint_that_was_cut_before(world, kind, with_base):
    """On 80x96 pixels; a prompt without an area gets no control, and neither does the negative."""
    import nodes

    hint, how = world.hint(0, 1, 80, 96), {"size": (10, 12)}
    cut = {"percent": hint[:, 20:60, 48:96], "eighths of pixels": hint[:, 24:64, 48:96]}[kind]
    base = world.positive if with_base else []
    area = with_area(world, REGIONS[kind])
    controlled, _ = nodes.ControlNetApplyAdvanced().apply_controlnet(
        area, [], world.nets[0], cut, 0.8, 0.0, 1.0
    )
    theirs = world.sample(base + controlled, world.negative, **how)
    ours = world.ours(unit(world, hint, fit="region", strength=0.8), base + area)
    assert world.sample(*ours, **how).equal(theirs)
    assert "control" not in ours[1][0][1]
    assert not theirs.equal(world.sample(base + area, world.negative, **how))


@pytest.mark.quick
def test_a_region_cuts_the_effect_mask_too(world):
    import torch

    hint, how = world.hint(0, 1, 80, 96), {"size": (10, 12)}
    area = with_area(world, REGIONS["eighths of pixels"])
    mask = torch.zeros(1, 80, 96)
    mask[:, 24:64, 48:72] = 1.0  # the region's left half
    half = torch.zeros(1, 40, 48)
    half[:, :, :24] = 1.0
    ours = world.ours(unit(world, hint, fit="region", effect_mask=mask), area)
    cut = world.ours(unit(world, hint[:, 24:64, 48:96], effect_mask=half), area, negative=[])
    assert world.sample(*ours, **how).equal(world.sample(cut[0], world.negative, **how))


def test_a_region_next_to_a_unit_for_the_whole_picture(world):
    """Both act in the area; elsewhere and on the negative only the second acts."""
    area = with_area(world, REGIONS["percent"])
    units = [
        *unit(world, world.hint(0, 1, 80, 96), fit="region"),
        {"net": world.nets[1], "image": world.hint(1)},
    ]
    positive, negative = world.ours(units, world.positive + area)
    whole, part = (entry[1]["control"] for entry in positive)
    assert whole.previous_controlnet is None
    assert part.previous_controlnet.inner.control_model is world.nets[0].control_model
    assert negative[0][1]["control"] is whole
    assert world.sample(positive, negative, size=(10, 12)).isfinite().all()


def test_a_region_beyond_the_hint_gets_a_sentence(world):
    with pytest.raises(
        ValueError, match="the prompt's area reaches to 96x64 pixels, the hint is 64x64"
    ):
        world.ours(unit(world, fit="region"), with_area(world, (5, 6, 3, 6)))
    with pytest.raises(ValueError, match="the positive prompt has no area"):
        world.ours(unit(world, fit="region"))


# -- masks and modes in a whole run ----------------------------------------------------------------


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("mode", ["balanced", "control"])
def test_a_mask_of_ones_changes_no_bit(world, fit, mode):
    import torch

    units = unit(world, world.hint(0, 1, 50, 90), fit=fit, mode=mode)
    plain = world.sample(*world.ours(units), size=(9, 11))
    for ones in (torch.ones(1, 64, 64), torch.ones(5, 3)):
        assert world.sample(*world.ours([{**units[0], "effect_mask": ones}]), size=(9, 11)).equal(
            plain
        )


def test_the_order_of_nets_does_not_matter(world):
    import torch

    mask = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(2))
    more = (
        {"mode": "control"},
        {"layers": "linear 0..1", "schedule": "0:1, 1:0.3 | smooth"},
        {"effect_mask": mask},
    )
    units = [{"net": net, "image": world.hint(i), **more[i]} for i, net in enumerate(world.nets)]
    image = world.sample(*world.ours(units))
    for order in ([2, 0, 1], [1, 2, 0], [2, 1, 0]):
        other = world.sample(*world.ours([units[i] for i in order]))
        assert (other - image).abs().max() <= 1e-4 * image.abs().max()


SOFT = [0.825 ** (12 - i) for i in range(13)]


@pytest.fixture
def residuals(world):
    """Return the residuals of a chain for the rows [negative, positive], at one sigma."""
    import torch

    def of(chain):
        control = chain[0][0][1]["control"]
        control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
        x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)).repeat(2, 1, 1, 1)
        context = torch.cat([world.negative[0][0], world.positive[0][0]])
        options = {"cond_or_uncond": [1, 0]}
        out = control.get_control(x, torch.tensor([7.0, 7.0]), {"c_crossattn": context}, 2, options)
        return out["output"] + out["middle"]

    return of


@pytest.mark.quick
def test_what_the_modes_mean(world, residuals):
    """prompt: soft; control: soft on the positive row only; cond_only: plain on that row only."""
    plain = residuals(world.ours(unit(world)))
    for mode, weights, negative in (
        ("prompt", SOFT, True),
        ("control", SOFT, False),
        ("cond_only", [1.0] * 13, False),
    ):
        for a, b, weight in zip(
            plain, residuals(world.ours(unit(world, mode=mode))), weights, strict=True
        ):
            assert b[1].allclose(a[1] * weight, rtol=1e-4, atol=1e-5 * weight)
            assert b[0].allclose(a[0] * weight * negative, rtol=1e-5, atol=0)
    assert len(plain) == 13


def test_layers_replace_those_of_the_mode(world, residuals):
    linear = residuals(world.ours(unit(world, layers="linear 0.2..1")))
    for a, b in zip(
        linear,
        residuals(world.ours(unit(world, mode="prompt", layers="linear 0.2..1"))),
        strict=True,
    ):
        assert a.equal(b)


def test_ten_residuals_get_the_first_ten_soft_weights(world):
    """SDXL has three levels: its middle block gets 0.825^3, as in A1111."""
    import torch

    from pack.control.layers import parse
    from pack.control.residuals import weigh

    ones = {
        "output": [torch.ones(1, 1, h, h) for h in (16,) * 3 + (8,) * 3 + (4,) * 3],
        "middle": [torch.ones(1, 1, 4, 4)],
    }
    soft = weigh(ones, parse("soft").weights)
    numbers = [float(r.max()) for r in soft["output"] + soft["middle"]]
    assert numbers == pytest.approx(SOFT[:10])
    assert numbers[-1] == pytest.approx(0.5615, abs=1e-4)
    paper = weigh(ones, parse("resolution").weights)
    assert [float(r.max()) for r in paper["output"] + paper["middle"]] == [
        1,
        1,
        1,
        2,
        2,
        2,
        4,
        4,
        4,
        4,
    ]


@pytest.mark.parametrize("mode", ["control", "cond_only"])
def test_the_negatives_rows_are_not_computed(world, counted, mode):
    world.sample(*world.ours(unit(world, mode=mode)), steps=4, batch=3)
    assert counted["unet"] == 4
    assert counted["rows"][id(world.nets[0].control_model.zero_convs)] == [3, 3, 3, 3]


def test_the_device_is_read_once_a_step_for_every_setting_together(world, monkeypatch):
    """Everything is prepared at the first step; then only sigma is read, once a step."""
    import torch

    more = {
        "mode": "control",
        "layers": "resolution",
        "schedule": "0s:1, 3s:0.5",
        "frame_strength": "0:1, 1:0.5",
        "effect_mask": torch.rand(1, 8, 8),
    }
    units = [{"net": net, "image": world.hint(i, 2), **more} for i, net in enumerate(world.nets)]
    control = world.ours(units)[0][0][1]["control"]
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    x, context = (
        torch.zeros(4, 4, 8, 8),
        torch.cat([world.negative[0][0]] * 2 + [world.positive[0][0]] * 2),
    )
    options = {"sample_sigmas": torch.tensor([14.0, 7.0, 3.0, 1.0, 0.0])}
    reads = []
    for name in ("__float__", "__bool__", "__int__", "item", "tolist", "cpu", "numpy", "nonzero"):
        real = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda self, *a, n=name, r=real, **k: (reads.append(n), r(self, *a, **k))[1],
        )
    for sigma in (14.0, 7.0, 3.0):
        reads.clear()
        step = {"cond_or_uncond": [1, 0], **options}
        control.get_control(x, torch.full((4,), sigma), {"c_crossattn": context}, 2, step)
    assert reads == ["__float__"]
