"""Check schedules in steps: the strength at every step is the one written for its number."""

from __future__ import annotations

import itertools

import pytest

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

SAMPLERS = (
    "euler",
    "euler_ancestral",
    "heun",
    "dpm_2",
    "lms",
    "dpmpp_2m",
    "dpmpp_sde",
    "lcm",
    "ddim",
    "uni_pc",
)
SCHEDULERS = (
    "simple",
    "sgm_uniform",
    "karras",
    "exponential",
    "ddim_uniform",
    "beta",
    "normal",
    "linear_quadratic",
    "kl_optimal",
)
MANY = 120  # steps that a text writes: more than any run here has


def node_schedulers(model):
    """Make sigmas by nodes of ComfyUI; VP begins far above the model's own sigmas."""
    from comfy_extras import nodes_custom_sampler as extras

    return {
        "Karras": lambda n: extras.KarrasScheduler.execute(n, 14.614642, 0.0291675, 7.0)[0],
        "VP": lambda n: extras.VPScheduler.execute(n, 19.9, 0.1, 0.001)[0],
        "SD Turbo": lambda n: extras.SDTurboScheduler.execute(model, min(n, 10), 1.0)[0],
    }


def sigmas_of(world, scheduler, steps, model=None):
    import comfy.samplers

    model = model or world.model
    if scheduler in SCHEDULERS:
        return comfy.samplers.calculate_sigmas(
            model.get_model_object("model_sampling"), scheduler, steps
        )
    return node_schedulers(model)[scheduler](steps)


@pytest.fixture
def seen(world, monkeypatch):
    """(sigma, strength) of every call, with real samplers but without the nets' arithmetic."""
    import comfy.controlnet

    calls = []

    def spy(self, x, t, *rest):
        calls.append((float(t[0]), self.strength))

    monkeypatch.setattr(comfy.controlnet.ControlNet, "get_control", spy)
    monkeypatch.setattr(world.model.model, "apply_model", lambda x, t, **_: x * 0.9)
    return calls


def sample(world, chain, sampler, sigmas, model=None):
    import comfy.sample
    import comfy.samplers
    import torch

    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    by = comfy.samplers.sampler_object(sampler)
    comfy.sample.sample_custom(
        model or world.model,
        noise,
        7.0,
        by,
        sigmas,
        *chain,
        torch.zeros(1, 4, 8, 8),
        disable_pbar=True,
        seed=3,
    )


def value(step):
    return round(0.05 + 0.07 * step, 4)


def chain_of(world, text):
    return world.ours([{"net": world.nets[0], "image": world.hint(), "schedule": text}])


def each_step(first=0, last=MANY):
    return ", ".join(f"{step}s:{value(step)}" for step in range(first, last))


def check(seen, sigmas):
    """Every call at a step's sigma has that step's value; between two steps the earlier one's."""
    begun = set()
    for sigma, strength in seen:
        step = max(k for k, s in enumerate(sigmas) if s == sigma or s > sigma)
        assert strength == pytest.approx(value(step), abs=1e-6), (sigma, step)
        begun.add(step)
    assert begun == set(range(len(sigmas) - 1))


@pytest.mark.parametrize("scheduler", [*SCHEDULERS, "Karras", "VP", "SD Turbo"])
def test_the_strength_at_every_step_is_the_one_of_its_number(world, seen, scheduler):
    """A value for every step, and one after the last, which no step may take."""
    import torch

    for sampler, steps in itertools.product(SAMPLERS, (4, 8, 25)):
        sigmas = sigmas_of(world, scheduler, steps)
        if sampler in ("dpm_2", "uni_pc"):  # ComfyUI leaves out the last sigma but one
            sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
        text = f"{each_step(last=len(sigmas) - 1)}, {len(sigmas) - 1}s:9 | step"
        seen.clear()
        sample(world, chain_of(world, text), sampler, sigmas)
        check(seen, sigmas.tolist())


MODELS = {
    "lcm": ("ModelSamplingDiscrete", ("lcm", False)),
    "zsnr": ("ModelSamplingDiscrete", ("v_prediction", True)),
    "edm": ("ModelSamplingContinuousEDM", ("v_prediction", 120.0, 0.002)),
    "rescaled v": ("ModelSamplingContinuousV", ("v_prediction", 500.0, 0.03)),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("interpolation", ["linear", "smooth", "step"])
def test_also_where_the_model_samples_in_another_way(world, seen, kind, interpolation):
    import comfy_extras.nodes_model_advanced as advanced

    node, arguments = MODELS[kind]
    model = getattr(advanced, node)().patch(world.model, *arguments)[0]
    for scheduler, steps in itertools.product(SCHEDULERS, (4, 25)):
        sigmas = sigmas_of(world, scheduler, steps, model)
        seen.clear()
        text = f"{each_step()} | {interpolation}"
        sample(world, chain_of(world, text), "euler", sigmas, model)
        check(seen, sigmas.tolist())


# -- sampling in stages ----------------------------------------------------------------------------


def advanced(world, chain, start, end, *, leftover, noise=False, scheduler="karras", steps=10):
    """Run ComfyUI's KSampler (Advanced)."""
    import torch

    import nodes

    latent = {"samples": torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))}
    noise, leftover = ("enable" if flag else "disable" for flag in (noise, leftover))
    settings = (7, steps, 7.0, "euler", scheduler, *chain, latent, start, end, leftover)
    nodes.KSamplerAdvanced().sample(world.model, noise, *settings)


def strengths(seen):
    return [pytest.approx(strength, abs=1e-6) for _, strength in seen]


def test_stages_of_ksampler_advanced_count_over_the_whole_schedule(world, seen):
    """Three stages of ten steps, twice, because a workflow is queued again with another seed."""
    chain = chain_of(world, f"{each_step(last=10)}, 10s:9 | step")
    for _ in range(2):
        seen.clear()
        advanced(world, chain, 0, 4, leftover=True, noise=True)
        advanced(world, chain, 4, 7, leftover=True)
        advanced(world, chain, 7, 10000, leftover=False)
        assert strengths(seen) == [value(step) for step in range(10)]


def test_two_ways_on_from_one_stage_both_count_on(world, seen):
    chain = chain_of(world, f"{each_step()} | step")
    advanced(world, chain, 0, 4, leftover=True, noise=True)
    for _ in range(2):
        seen.clear()
        advanced(world, chain, 4, 10000, leftover=False)
        assert strengths(seen) == [value(step) for step in range(4, 10)]


def test_copies_of_a_chain_count_on_too(world, seen):
    import copy

    positive, negative = chain_of(world, f"{each_step()} | step")
    advanced(world, (positive, negative), 0, 4, leftover=True, noise=True)
    seen.clear()
    control = positive[0][1]["control"].copy()
    control.stages = copy.deepcopy(control.stages)
    copied = [[[c[0], {**c[1], "control": control}] for c in side] for side in (positive, negative)]
    advanced(world, copied, 4, 10000, leftover=False)
    assert strengths(seen) == [value(step) for step in range(4, 10)]


def test_both_parts_of_split_sigmas_count_over_the_whole(world, seen):
    from comfy_extras import nodes_custom_sampler as extras

    sigmas = sigmas_of(world, "normal", 12)
    high, low = extras.SplitSigmas.execute(sigmas, 5)[:2]
    chain = chain_of(world, f"{each_step()} | step")
    sample(world, chain, "euler", high)
    sample(world, chain, "dpmpp_2m", low)
    assert strengths(seen) == [value(step) for step in range(12)]


@pytest.mark.quick
def test_a_run_that_begins_in_mid_sampling_counts_from_its_first_step_and_says_so(
    world, seen, caplog
):
    """Image to image, or a second stage alone: ComfyUI tells neither from the other."""
    import torch

    import nodes

    chain = chain_of(world, f"{each_step()} | step")
    advanced(world, chain, 4, 10000, leftover=False)
    assert strengths(seen) == [value(step) for step in range(6)]
    assert caplog.text.count("does not tell whether steps came before it") == 1
    seen.clear()
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    nodes.common_ksampler(world.model, 7, 5, 7.0, "euler", "simple", *chain, latent, denoise=0.5)
    assert strengths(seen) == [value(step) for step in range(5)]
    assert "begins after 50% of sampling" in caplog.text
    caplog.clear()
    advanced(world, chain, 0, 10000, leftover=False, noise=True)
    assert not caplog.text


def test_a_whole_run_after_a_stage_counts_from_0(world, seen):
    """The stage stopped at another sigma than the one where this run begins."""
    chain = chain_of(world, f"{each_step()} | step")
    advanced(world, chain, 0, 4, leftover=True, noise=True)
    seen.clear()
    advanced(world, chain, 0, 10000, leftover=False, noise=True)
    assert strengths(seen) == [value(step) for step in range(10)]


def test_a_line_through_a_stage_goes_by_the_number_of_its_last_step(world, seen):
    """Sampling uniform in time: step k of ten at percent k / 9. At strength 0 the net is off."""
    chain = chain_of(world, "0s:0, 9s:0.9")
    for start, end, leftover in ((0, 4, True), (4, 10000, False)):
        advanced(world, chain, start, end, leftover=leftover, noise=not start, scheduler="normal")
    table = [pytest.approx(k / 10, abs=1e-3) for k in range(1, 10)]
    assert [strength for _, strength in seen] == table


def test_steps_of_a_run_towards_noise_count_in_its_direction(world, seen):
    """Flipped sigmas, as for finding the noise of a picture, and back again."""
    sigmas = sigmas_of(world, "normal", 6).flip(0).clone()
    sigmas[0] = 0.0001
    chain = chain_of(world, f"{each_step()} | step")
    sample(world, chain, "euler", sigmas)
    assert strengths(seen) == [value(step) for step in range(6)]
    seen.clear()
    sample(world, chain, "euler", sigmas_of(world, "normal", 6))
    assert strengths(seen) == [value(step) for step in range(6)]


def test_a_line_to_the_end_of_the_run_is_a_line_over_sampling(world, seen):
    """`0s:1, 10s:0` falls with the percent of sampling, not with the number of the step."""
    chain = chain_of(world, "0s:1, 10s:0")
    sample(world, chain, "euler", sigmas := sigmas_of(world, "karras", 10))
    log_sigmas = world.model.model.model_sampling.log_sigmas.double()
    import numpy

    for sigma, strength in seen:
        percent = 1 - numpy.interp(numpy.log(sigma), log_sigmas, numpy.arange(1000)) / 999
        assert strength == pytest.approx(1 - percent, abs=2e-5)
    assert seen[5][1] < 0.4, "karras spends its steps late"
    assert len(seen) == len(sigmas) - 1
