"""Check schedules at every step of real samplers against values from the sigmas alone."""

from __future__ import annotations

from itertools import product

import numpy
import pytest

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick


@pytest.fixture
def strengths(world, monkeypatch):
    """Sample a chain and record the net's calls.

    → (sigma, strength) of every call, and the sampler's own list of sigmas.
    """
    import comfy.controlnet
    import comfy.samplers

    def of(chain, sampler="euler", steps=6, scheduler="normal"):
        seen = []
        real = comfy.controlnet.ControlNet.get_control

        def spy(self, x, t, *rest):
            seen.append((float(t[0]), self.strength))
            return real(self, x, t, *rest)

        with monkeypatch.context() as patched:
            patched.setattr(comfy.controlnet.ControlNet, "get_control", spy)
            world.sample(*chain, sampler=sampler, steps=steps, scheduler=scheduler)
        sampling = world.model.model.model_sampling
        return seen, comfy.samplers.calculate_sigmas(sampling, scheduler, steps).tolist()

    return of


def percent(world, sigma):
    """Invert discrete sampling by hand: the timestep at log sigma, counted down from 999."""
    log_sigmas = world.model.model.model_sampling.log_sigmas.double().numpy()
    return (
        1.0 - numpy.interp(numpy.log(sigma), log_sigmas, numpy.arange(1000)) / 999
        if sigma > 0
        else 1.0
    )


def hermite(xs, ys, slopes):
    from scipy.interpolate import CubicHermiteSpline

    return CubicHermiteSpline(xs, ys, slopes)


# Slopes of the smooth one by hand: secants -1 and -0.5, their mean inside, themselves at the ends.
SCHEDULES = {
    "0:1, 0.35:0.8, 0.6:0.1": lambda p: numpy.interp(p, [0, 0.35, 0.6], [1, 0.8, 0.1]),
    "0:1, 0.5:0.5, 1:0.25 | smooth": lambda p: hermite(
        [0, 0.5, 1], [1, 0.5, 0.25], [-1, -0.75, -0.5]
    )(p),
    "0:1, 0.3:0.6, 0.7:0.2 | step": lambda p: 1.0 if p < 0.3 else 0.6 if p < 0.7 else 0.2,
}


SAMPLERS = [
    *product(("euler", "dpmpp_2m", "heun"), SCHEDULES),
    ("dpm_adaptive", list(SCHEDULES)[1]),
]


@pytest.mark.parametrize(("sampler", "text"), SAMPLERS)  # the adaptive one takes some hundred steps
def test_the_strength_at_every_step(world, strengths, sampler, text):
    unit = {"net": world.nets[0], "image": world.hint(), "strength": 0.9, "schedule": text}
    seen, _ = strengths(world.ours([unit]), sampler)
    assert len(seen) >= {"heun": 11}.get(sampler, 6)
    for sigma, strength in seen:
        assert strength == pytest.approx(0.9 * SCHEDULES[text](percent(world, sigma)), abs=2e-5)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_steps_are_the_samplers_own(world, strengths, sampler):
    """`3s:0.4` is 0.4 at the fourth sigma of the run, whatever the sampler evaluates in between."""
    unit = {"net": world.nets[0], "image": world.hint(), "schedule": "0s:1, 3s:0.4, 99s:0.2"}
    seen, sigmas = strengths(world.ours([unit]), sampler, scheduler="karras")
    places = [percent(world, sigma) for sigma in (sigmas[0], sigmas[3], sigmas[-1])]
    for sigma, strength in seen:
        assert strength == pytest.approx(
            numpy.interp(percent(world, sigma), places, [1, 0.4, 0.2]), abs=2e-5
        )
    if sampler == "euler":
        assert seen[0][1] == pytest.approx(1.0, abs=1e-5)
        assert seen[3][1] == pytest.approx(0.4, abs=1e-5)


def test_a_sampler_that_does_not_report_its_steps(world):
    import torch

    control = world.ours([{"net": world.nets[0], "image": world.hint(), "schedule": "3s:0.4"}])[0][
        0
    ][1]["control"]
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    with pytest.raises(ValueError, match="Use fractions of sampling instead"):
        control.strength_at(torch.tensor([7.0]), {})


@pytest.mark.parametrize("text", ["0:1", "0:1, 1:1 | smooth", "0s:1, 4s:1", ""])
def test_a_constant_schedule_of_one_changes_no_bit(world, text):
    unit = {"net": world.nets[0], "image": world.hint()}
    image = world.sample(*world.host([unit]), steps=4)
    assert world.sample(*world.ours([{**unit, "schedule": text}]), steps=4).equal(image)


@pytest.mark.parametrize("text", ["0:1", "0:1, 8:1 | step"])
def test_a_constant_frame_strength_of_one_changes_no_bit(world, text):
    unit = {"net": world.nets[0], "image": world.hint(0, 2)}
    image = world.sample(*world.host([unit]), batch=2)
    assert world.sample(*world.ours([{**unit, "frame_strength": text}]), batch=2).equal(image)


def test_the_table_of_percents_is_made_once_for_the_whole_chain(world, monkeypatch):
    sampling = type(world.model.model.model_sampling)
    calls, real = [], sampling.percent_to_sigma
    monkeypatch.setattr(
        sampling, "percent_to_sigma", lambda self, p: (calls.append(p), real(self, p))[1]
    )
    units = [
        {"net": net, "image": world.hint(i), "schedule": "0:1, 1:0.5"}
        for i, net in enumerate(world.nets)
    ]
    world.sample(*world.ours(units), steps=4)
    assert 1000 <= len(calls) < 1100


def test_the_hosts_curve_is_a_schedule(host):
    """The Curve Editor's value comes as an object, as its raw dict, or as plain points."""
    from pack.control.units import schedule_of

    points = [(0.0, 1.0), (0.5, 0.5), (1.0, 0.25)]
    read = schedule_of("0:1, 0.5:0.5, 1:0.25 | smooth")
    assert (
        schedule_of(points)
        == schedule_of({"points": points, "interpolation": "monotone_cubic"})
        == read
    )
    assert schedule_of({"points": points, "interpolation": "linear"}) == schedule_of(
        "0:1, 0.5:0.5, 1:0.25"
    )
    curves = pytest.importorskip("comfy_api.input", reason="this host has no curves")
    if not hasattr(curves, "MonotoneCubicCurve"):
        pytest.skip("this host has no curves")
    for theirs in (curves.MonotoneCubicCurve(points), curves.LinearCurve(points)):
        ours = schedule_of(theirs)
        for x in numpy.linspace(0, 1, 41):
            assert ours.at(x) == pytest.approx(theirs.interp(x), abs=1e-9)


def test_a_curve_may_be_wired_into_the_schedule(host):
    """Where ComfyUI has the type; the text's widget stays declared, so typing stays possible."""
    from comfy_api.latest import io
    from comfy_execution.validation import validate_node_input

    from pack.nodes.apply import Add

    declared = next(i for i in Add.define_schema().inputs if i.id == "schedule")
    if not hasattr(io, "Curve"):
        assert declared.get_io_type() == "STRING"
        return
    assert declared.as_dict()["widgetType"] == "STRING"
    assert declared.as_dict()["default"] == ""
    for wire in ("STRING", "CURVE"):
        assert validate_node_input(wire, declared.get_io_type())
    assert not validate_node_input("IMAGE", declared.get_io_type())


# -- frames: batch entries, each with its own strength, hint and mask ------------------------------


@pytest.fixture
def own(world):
    """Return a unit's residuals for `entries` latents, or for one of them alone, in one list."""
    import torch

    def of(unit, pick=None, entries=4, window=None):
        control = world.ours([{"net": world.nets[0], **unit}])[0][0][1]["control"]
        control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
        latents = torch.randn(entries, 4, 8, 8, generator=torch.Generator().manual_seed(3))
        latents = latents if pick is None else latents[pick : pick + 1]
        x = latents.repeat(2, 1, 1, 1)
        context = torch.cat(
            [c[0][0].repeat(len(latents), 1, 1) for c in (world.negative, world.positive)]
        )
        options = {"cond_or_uncond": [1, 0], **({"context_window": window} if window else {})}
        out = control.get_control(
            x, torch.full((len(x),), 7.0), {"c_crossattn": context}, 2, options
        )
        return None if out is None else out["output"] + out["middle"]

    return of


def many(world):
    import torch

    masks = torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(6))
    return {
        "image": world.hint(1, 4),
        "effect_mask": masks,
        "frame_strength": "0:1, 1:0.5, 2:0, 3:0.7",
    }


@pytest.mark.quick
@pytest.mark.parametrize("mode", ["balanced", "control"])
def test_each_entry_equals_a_run_of_its_own(world, own, mode):
    whole = own({**many(world), "mode": mode})
    for entry in range(4):
        single = {
            "image": many(world)["image"][entry : entry + 1],
            "effect_mask": many(world)["effect_mask"][entry : entry + 1],
            "frame_strength": f"0:{(1, 0.5, 0, 0.7)[entry]}",
            "mode": mode,
        }
        alone = own(single, entry)
        for a, b in zip(whole, alone or [None] * 13, strict=True):
            rows = a[[entry, 4 + entry]]
            if b is None:
                assert entry == 2
                assert not rows.any()
            else:
                assert rows.allclose(b, rtol=1e-4, atol=1e-5)


def test_an_entry_never_leaks_into_another(world, own):
    """Changing the last entry's hint, mask and strength leaves every bit of the other residuals."""
    import torch

    changed = many(world)
    changed["image"] = torch.cat([changed["image"][:3], world.hint(9)])
    changed["effect_mask"] = torch.cat([changed["effect_mask"][:3], torch.rand(1, 16, 16)])
    changed["frame_strength"] = "0:1, 1:0.5, 2:0, 3:2"
    for a, b in zip(own(many(world)), own(changed), strict=True):
        others = [0, 1, 2, 4, 5, 6]
        assert a[others].equal(b[others])
        assert not a[3].equal(b[3])


def test_frames_without_strength_are_not_computed(world, own, counted):
    import torch

    own({"image": world.hint(1, 4), "frame_strength": "0:1, 1:0, 2:0, 3:1"})
    masks = torch.ones(4, 8, 8)
    masks[1] = 0
    own({"image": world.hint(1, 4), "effect_mask": masks, "mode": "control"})
    assert counted["rows"][id(world.nets[0].control_model.zero_convs)] == [4, 3]


def test_windows_of_a_long_clip_take_their_own_frames(world, own):
    """ComfyUI passes a window's latents and numbers; its own control takes the first hints."""

    class Window:
        dim = 0
        index_list = (5, 6, 0, 1)

    import torch

    masks = torch.rand(7, 8, 8, generator=torch.Generator().manual_seed(6))
    strengths = "0:1, 1:0.9, 5:0.5, 6:0.4"
    unit = {"image": world.hint(1, 7), "effect_mask": masks, "frame_strength": strengths}
    picked = {
        "image": world.hint(1, 7)[[5, 6, 0, 1]],
        "effect_mask": masks[[5, 6, 0, 1]],
        "frame_strength": "0:0.5, 1:0.4, 2:1, 3:0.9",
    }
    for a, b in zip(own(unit, window=Window()), own(picked), strict=True):
        assert a.allclose(b, rtol=1e-5, atol=1e-6)


def test_a_window_over_video_frames_is_not_over_rows(world, own):
    class Window:
        dim = 2
        index_list = (3, 2, 1, 0)

    for a, b in zip(own(many(world), window=Window()), own(many(world)), strict=True):
        assert a.equal(b)


def test_a_sampler_that_does_not_report_its_steps_is_refused_at_its_first_call(world):
    """Also where the range begins later: the sentence comes before step one, not in mid-run."""
    import torch

    unit = {
        "net": world.nets[0],
        "image": world.hint(),
        "start_percent": 0.5,
        "schedule": "0s:1, 2s:0",
    }
    control = world.ours([unit])[0][0][1]["control"]
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    first = (torch.zeros(2, 4, 8, 8), torch.tensor([14.0, 14.0]), {}, 2)
    with pytest.raises(ValueError, match=r"does not report its steps.* Use fractions of sampling"):
        control.get_control(*first, {"cond_or_uncond": [1, 0]})
    assert (
        control.get_control(
            *first, {"cond_or_uncond": [1, 0], "sample_sigmas": torch.tensor([14.0, 7.0, 0.0])}
        )
        is None
    )
