"""Check speeds `fast` and `approximate`: how far from exact, what is computed, what is never mixed.

`fast` is compared with `exact`, which other files hold to ComfyUI's own nodes. `approximate` is
compared with ComfyUI's nodes over nets that give the same rows again at the steps listed here.
"""

from __future__ import annotations

from functools import partial

import pytest

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

ROUNDING = 1e-5
"""Of the largest value of the latent: what `fast` may differ by."""
REUSED = 0.06
"""What reuse over two steps may differ by; random weights are far less smooth than trained ones."""
STEPS = 10
FRESH = {2: (0, 1, 3, 5, 7, 9), 3: (0, 1, 4, 7)}
"""The steps of ten that are computed: those of the first fifth, then each second or third."""


def far(a, b):
    assert a.isfinite().all()
    return ((a - b).abs().max() / b.abs().max()).item()


def units_of(world, count, *, same=False, **more):
    nets = [world.nets[0]] * count if same else world.nets
    return [
        {"net": nets[i], "image": world.hint(i), "strength": 0.5 + 0.25 * i, **more}
        for i in range(count)
    ]


def half_mask(_world):
    import torch

    return {"effect_mask": torch.cat([torch.ones(1, 64, 32), torch.zeros(1, 64, 32)], dim=2)}


def soft_mask(_world):
    import torch

    return {"effect_mask": torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(3))}


SETTINGS = {
    "plain": {},
    "range": {"start_percent": 0.1, "end_percent": 0.9},
    "schedule": {"schedule": "0:1, 0.35:0.8, 0.6:0.2 | smooth"},
    "steps": {"schedule": "0s:1, 4s:0.5, 7s:0 | step"},
    "layers": {"layers": "linear 1..0"},
    "prompt": {"mode": "prompt"},
    "control": {"mode": "control"},
    "cond_only": {"mode": "cond_only"},
    "frames": {"frame_strength": "0:1, 1:0, 2:0.5 | step"},
    "pad": {"fit": "pad"},
    "half mask": half_mask,
    "soft mask": soft_mask,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_at_every_speed(world, name):
    """Keep what masks, layers, modes and schedules promise, with one net several times or not."""
    more = SETTINGS[name](world) if callable(SETTINGS[name]) else SETTINGS[name]
    units = units_of(world, 3, same=[*SETTINGS].index(name) % 2 == 0, **more)
    sample = partial(world.sample, steps=6, batch=2)
    exact = sample(*world.ours(units))
    assert far(sample(*world.ours(units, speed="fast")), exact) <= ROUNDING
    reused = sample(*world.ours(units, speed="approximate"))
    assert ROUNDING < far(reused, exact) <= REUSED


def test_reuse_over_one_step_is_fast(world):
    units = units_of(world, 2)
    once = world.ours(units, speed="approximate", reuse=1)
    assert far(world.sample(*once), world.sample(*world.host(units))) <= ROUNDING


def with_area(conditioning, height, width, y, x):
    return [[c[0], {**c[1], "area": (height, width, y, x), "strength": 1.0}] for c in conditioning]


def areas(world):
    from workbench import tiny

    return (
        world.positive
        + with_area(tiny.conditioning(5), 8, 8, 0, 0)
        + with_area(tiny.conditioning(6), 8, 8, 0, 4)
    )


@pytest.mark.parametrize("order", ["host-ours-host-ours", "ours-host-ours"])
def test_fast_in_mixed_chains_and_areas(world, order):
    sides = order.split("-")
    units = units_of(world, len(sides), same=True)
    positive, negative = areas(world), world.negative
    exact = world.host(units, positive)
    for unit, side in zip(units, sides, strict=True):
        speed = {"speed": "fast"} if side == "ours" else {}
        positive, negative = getattr(world, side)([unit], positive, negative, **speed)
    how = {"size": (8, 12), "batch": 2}
    assert far(world.sample(positive, negative, **how), world.sample(*exact, **how)) <= ROUNDING


@pytest.mark.parametrize("mode", [pytest.param("balanced", marks=pytest.mark.quick), "cond_only"])
def test_one_net_with_three_hints_is_one_forward(world, counted, mode):
    """After the first step, in which each hint is encoded."""
    units = units_of(world, 3, same=True, mode=mode)
    world.sample(*world.ours(units, speed="fast"), steps=4)
    (rows,) = counted["rows"].values()
    one = 1 if mode == "cond_only" else 2
    assert rows == [one] * 3 + [3 * one] * 3
    counted["rows"].clear()
    world.sample(*world.ours(units_of(world, 3), speed="fast"), steps=4)
    assert [*counted["rows"].values()] == [[2] * 4] * 3


@pytest.mark.quick
def test_rows_of_a_batch_may_differ(world, counted):
    """A net on both prompts, on the positive alone, and with a frame left out."""
    units = units_of(world, 3, same=True)
    units[1]["mode"] = "cond_only"
    units[2]["frame_strength"] = "0:1, 1:0 | step"
    how = {"batch": 2, "steps": 4}
    fast = world.sample(*world.ours(units, speed="fast"), **how)
    (rows,) = counted["rows"].values()
    assert rows == [4, 2, 2, 8, 8, 8]
    assert far(fast, world.sample(*world.ours(units), **how)) <= ROUNDING


def test_a_batch_that_does_not_fit_into_memory_runs_one_by_one(world, counted, monkeypatch):
    import torch

    from pack.control import batches

    def full(*_):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(batches, "_forward", full)
    units = units_of(world, 2, same=True)
    fast = world.sample(*world.ours(units, speed="fast"), steps=3)
    (rows,) = counted["rows"].values()
    assert rows == [2] * 6
    assert far(fast, world.sample(*world.host(units), steps=3)) <= ROUNDING


# -- approximate -----------------------------------------------------------------------------------


class Held:
    """Stand in for a net's module in ComfyUI's own control: run it at some steps, else repeat.

    Rows are told by their prompt, hint and latent's size, steps by their time.
    """

    def __init__(self, module, fresh, positive=None):
        self.module, self.fresh, self.positive = module, fresh, positive
        self.dtype, self.times, self.rows, self.counts = module.dtype, [], {}, {}

    def __call__(self, *, x, hint, timesteps, context, **rest):
        time = timesteps[0].item()
        if time not in self.times:
            self.times.append(time)
        sums = [value.double().flatten(1).sum(1).tolist() for value in (context, hint)]
        keys = [(*(of[i % len(of)] for of in sums), x.shape[2:]) for i in range(len(x))]
        keys = [self.counted(time, key) for key in keys]
        if self.times.index(time) in self.fresh:
            out = self.module(x=x, hint=hint, timesteps=timesteps, context=context, **rest)
            served = range(len(x))
            if self.positive is not None:
                served = [[row.equal(self.positive) for row in context].index(True)] * len(x)
            for row, key in zip(served, keys, strict=True):
                self.rows[key] = {place: [r[row].clone() for r in out[place]] for place in out}
        return {place: self.stacked(place, keys) for place in ("middle", "output")}

    def counted(self, time, key):
        """Count equal rows of a step: the negative's in two areas of one size."""
        count = self.counts[time, key] = self.counts.get((time, key), -1) + 1
        return key, count

    def stacked(self, place, keys):
        import torch

        rows = [self.rows[key][place] for key in keys]
        return [torch.stack(blocks) for blocks in zip(*rows, strict=True)]


def held(world, nets, fresh, positive=None):
    import copy

    copies = []
    for net in nets:
        other = copy.copy(net)
        module = Held(net.control_model, fresh, positive)
        other.copy = partial(_copy_of, net, module)
        copies.append(other)
    return copies


def _copy_of(net, module):
    made_by_comfy = type(net).copy(net)
    made_by_comfy.control_model = module
    return made_by_comfy


@pytest.mark.parametrize("reuse", [2, 3])
@pytest.mark.parametrize("same", [False, True])
def test_reuse_is_the_hosts_net_held(world, reuse, same):
    units = units_of(world, 2, same=same)
    nets = held(world, [unit["net"] for unit in units], FRESH[reuse])
    theirs = [{**unit, "net": net} for unit, net in zip(units, nets, strict=True)]
    ours = world.ours(units, speed="approximate", reuse=reuse)
    a, b = (world.sample(*chain, steps=STEPS) for chain in (ours, world.host(theirs)))
    assert far(a, b) <= ROUNDING
    assert far(a, world.sample(*world.host(units), steps=STEPS)) > 100 * ROUNDING


def test_areas_and_prompts_never_get_each_others(world):
    """Two areas of one size and three prompts: each keeps its own, as the reference does."""
    units = units_of(world, 1)
    (net,) = held(world, [units[0]["net"]], FRESH[2])
    ours = world.ours(units, areas(world), speed="approximate")
    theirs = world.host([{**units[0], "net": net}], areas(world))
    how = {"steps": STEPS, "size": (8, 12)}
    assert far(world.sample(*ours, **how), world.sample(*theirs, **how)) <= ROUNDING


def test_shared_prompts_are_the_positives(world, counted):
    units = units_of(world, 1)
    positive = world.positive[0][0][0]
    (net,) = held(world, [units[0]["net"]], FRESH[2], positive)
    ours = world.ours(units, speed="approximate", share_prompts=True)
    a = world.sample(*ours, steps=STEPS)
    assert [*counted["rows"].values()] == [[1] * len(FRESH[2])]
    b = world.sample(*world.host([{**units[0], "net": net}]), steps=STEPS)
    assert far(a, b) <= ROUNDING


@pytest.mark.parametrize(("sampler", "calls"), [("heun", 2), ("dpmpp_2s_ancestral", 2)])
def test_samplers_that_call_several_times_a_step(world, counted, sampler, calls):
    """All calls of a step are computed or none; the last step has but one."""
    units = units_of(world, 1)
    how = {"steps": STEPS, "sampler": sampler}
    reused = world.sample(*world.ours(units, speed="approximate"), **how)
    (rows,) = counted["rows"].values()
    counted["rows"].clear()
    exact = world.sample(*world.ours(units), **how)
    (every,) = counted["rows"].values()
    assert len(every) == calls * STEPS - 1
    # Step 0 of heun has one call at its sigma, all others two; the last step of both is computed.
    assert len(rows) == calls * len(FRESH[2]) - 1
    assert far(reused, exact) <= REUSED


@pytest.mark.parametrize(
    ("settings", "computed"),
    [
        ({"start_percent": 0.45}, [5, 7, 9]),
        ({"end_percent": 0.7}, [0, 1, 3, 5, 6]),
        ({"schedule": "0:1, 0.45:1, 0.45:0, 0.65:0, 0.65:1"}, [0, 1, 3, 4, 6, 8]),
    ],
)
def test_steps_beside_an_edge_are_computed(world, monkeypatch, settings, computed):
    import comfy.cldm.cldm

    times = []
    real = comfy.cldm.cldm.ControlNet.forward

    def forward(self, x, hint, timesteps, *args, **kwargs):
        times.append(timesteps[0].item())
        return real(self, x, hint, timesteps, *args, **kwargs)

    monkeypatch.setattr(comfy.cldm.cldm.ControlNet, "forward", forward)
    world.sample(*world.ours(units_of(world, 1)), steps=STEPS)
    all_times, times[:] = list(times), []
    world.sample(*world.ours(units_of(world, 1, **settings), speed="approximate"), steps=STEPS)
    assert [all_times.index(time) for time in times] == computed


def test_nothing_outlives_a_run_or_an_interruption(world):
    """A run that is broken off leaves nothing that the next one, with another hint, could read."""
    import comfy.model_management

    units = units_of(world, 1)
    chain = world.ours(units, speed="approximate")
    control = chain[0][0][1]["control"]
    exact = world.sample(*chain, steps=STEPS)
    assert not control.run.reuse.stored
    calls = []

    def interrupted(apply, call):
        calls.append(call)
        if len(calls) > 6:
            raise comfy.model_management.InterruptProcessingException
        return apply(call["input"], call["timestep"], **call["c"])

    model = world.model.clone()
    model.set_model_unet_function_wrapper(interrupted)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        world.sample(*chain, steps=STEPS, model=model)
    assert world.sample(*chain, steps=STEPS).equal(exact)
