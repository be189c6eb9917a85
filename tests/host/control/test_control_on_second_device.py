"""Check control where the sampler's tensors do not lie on the CPU: equal, economical, everywhere.

A tensor that was left on the CPU meets one of the device and is refused, as CUDA would refuse it.
Settings that ComfyUI's own nodes do not have are compared with the same stack on the CPU.
"""

from __future__ import annotations

import pytest
import torch

from workbench import second_device

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def here(world):
    device = second_device.open_device()
    assert world.model.load_device == device
    return device


@pytest.fixture(scope="module")
def on_cpu(make_world):
    """Return the same world, which ComfyUI runs on the CPU."""
    world = make_world("tiny")
    world.model.load_device = CPU
    for net in world.nets:
        net.load_device = net.control_model_wrapped.load_device = CPU
    return world


EXACT = {
    "plain": ({}, {}),
    "strength, range": ({"strength": 0.5, "start_percent": 0.2, "end_percent": 0.6}, {}),
    "batch": ({"strength": 2.0}, {"batch": 3, "cfg": 1.0}),
    "two evaluations": ({"end_percent": 0.7}, {"sampler": "heun"}),
    "a size of its own": ({"strength": 0.7}, {"size": (9, 13), "batch": 2}),
}


@pytest.mark.parametrize(("more", "how"), EXACT.values(), ids=EXACT)
def test_equals_the_hosts_nodes(world, here, more, how):
    units = [{"net": world.nets[i], "image": world.hint(i, 2 * i + 1), **more} for i in range(2)]
    theirs = world.sample(*world.host(units), **how)
    assert world.sample(*world.ours(units), **how).equal(theirs)
    assert not theirs.equal(world.sample(world.positive, world.negative, **how))


@pytest.mark.parametrize("order", ["host-ours-host", "ours-host-ours"])
def test_mixed_chains(world, here, order):
    units = [{"net": world.nets[i], "image": world.hint(i), "strength": 0.6} for i in range(3)]
    chain = world.positive, world.negative
    for unit, side in zip(units, order.split("-"), strict=True):
        chain = getattr(world, side)([unit], *chain)
    assert world.sample(*chain).equal(world.sample(*world.host(units)))


def mask(batch=1, height=64, width=64):
    values = torch.rand(batch, height, width, generator=torch.Generator().manual_seed(4))
    values[:, : height // 3] = 0.0
    return values


SETTINGS = {
    "mask": {"effect_mask": mask()},
    "a mask for each frame": {"effect_mask": mask(2, 20, 30), "mode": "control"},
    "frames": {"frame_strength": "0:1, 1:0.4"},
    "a frame without": {"frame_strength": "0:0, 1:1 | step", "effect_mask": mask()},
    "schedule": {"schedule": "0:1, 0.35:0.8, 0.6:0.1 | smooth"},
    "steps": {"schedule": "0s:1, 2s:0.5"},
    "prompt": {"mode": "prompt"},
    "control": {"mode": "control"},
    "cond_only": {"mode": "cond_only"},
    "soft": {"layers": "soft 0.7"},
    "linear": {"layers": "linear 0.2..1"},
    "blocks": {"layers": "blocks 1,0,0.5,1"},
    "resolution": {"layers": "resolution", "strength": 0.4},
    "stretch": {"fit": "stretch"},
    "pad": {"fit": "pad", "effect_mask": mask()},
}
TOGETHER = {
    "mode": "control",
    "layers": "linear 0..1",
    "schedule": "0s:1, 2s:0.5",
    "frame_strength": "0:1, 1:0.5",
    "effect_mask": mask(2, 24, 40),
    "fit": "pad",
}


def sampled(world, more, device=CPU, nets=1, **how):
    """Sample two latents with a stack whose pictures and masks lie on `device`."""
    more = {name: to(value, device) for name, value in more.items()}
    units = [
        {"net": world.nets[i], "image": world.hint(i, 2, 48, 80).to(device), **more}
        for i in range(nets)
    ]
    return world.sample(*world.ours(units), batch=2, **how)


def to(value, device):
    return value.to(device) if isinstance(value, torch.Tensor) else value


def assert_same(ours, reference):
    assert ours.isfinite().all()
    assert (ours - reference).abs().max() <= 1e-4 * reference.abs().max()


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_what_it_is_on_the_cpu(world, on_cpu, here, setting):
    more = SETTINGS[setting]
    reference = sampled(on_cpu, more)
    assert_same(sampled(world, more), reference)
    assert not torch.equal(reference, sampled(on_cpu, {}))


def test_all_settings_together(world, on_cpu, here):
    assert_same(sampled(world, TOGETHER, nets=3), sampled(on_cpu, TOGETHER, nets=3))


@pytest.mark.parametrize("more", [{}, TOGETHER, {"fit": "stretch"}], ids=["plain", "all", "fit"])
def test_inputs_may_lie_on_the_device(world, on_cpu, here, more):
    """With --gpu-only pictures and masks come on the device."""
    assert_same(sampled(world, more, here), sampled(on_cpu, more))


def test_a_region(world, on_cpu, here):
    area = {"area": (5, 6, 3, 6), "strength": 1.0, "pooled_output": None}

    def of(each, device):
        hint = each.hint(0, 1, 80, 96).to(device)
        unit = {"net": each.nets[0], "image": hint, "fit": "region"}
        unit["effect_mask"] = mask(1, 80, 96).to(device)
        chain = each.ours([unit], [*each.positive, [each.positive[0][0], area]])
        return each.sample(*chain, size=(10, 12))

    reference = of(on_cpu, CPU)
    for device in (CPU, here):
        assert_same(of(world, device), reference)


@pytest.mark.parametrize("more", [{}, TOGETHER], ids=["plain", "all"])
def test_a_step_waits_once_and_sends_nothing(world, here, more):
    """Reading sigma waits; all else is brought to the device at the first step, and stays there."""
    import comfy.model_management

    units = [{"net": net, "image": world.hint(i, 2), **more} for i, net in enumerate(world.nets)]
    control = world.ours(units)[0][0][1]["control"]
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    comfy.model_management.load_models_gpu([world.model, *control.get_models()])
    prompts = [world.negative[0][0]] * 2 + [world.positive[0][0]] * 2
    x, cond = torch.zeros(4, 4, 8, 8, device=here), {"c_crossattn": torch.cat(prompts).to(here)}
    sigmas = torch.tensor([14.0, 7.0, 3.0, 1.0, 0.0], device=here)
    crossed = []
    for sigma in sigmas[:3].tolist():
        t, step = torch.full((4,), sigma, device=here), {"cond_or_uncond": [1, 0]}
        with second_device.traffic() as counted:
            control.get_control(x, t, cond, 2, {**step, "sample_sigmas": sigmas})
        crossed.append((counted.reads, counted.writes))
    assert crossed[0][1] > 0
    assert crossed[1:] == [(1, 0), (1, 0)]


def test_the_report_is_drawn_on_the_cpu(world, here):
    from pack.nodes.report import Report

    units = [{"net": net, "image": world.hint(i)} for i, net in enumerate(world.nets)]
    chain = world.ours(units)
    out = Report.execute(chain[0], {"samples": world.sample(*chain)})
    assert "3 ControlNets, 3 steps" in out[1]
    assert out[2].device == CPU


def test_numbers_of_the_report_are_the_cpus(world, on_cpu, here):
    from pack.control.adapter import members_of
    from pack.control.report.numbers import report

    def sizes(each):
        units = [{"net": net, "image": each.hint(i), **TOGETHER} for i, net in enumerate(each.nets)]
        chain = each.ours(units)
        each.sample(*chain, batch=2)
        return [step for net in report(*members_of(chain[0])).nets for step in net.by_step]

    ours, reference = sizes(world), sizes(on_cpu)
    assert len(ours) == 9
    assert ours == pytest.approx(reference, rel=1e-3)


def test_a_net_that_is_not_finite_is_left_out(world, here):
    with torch.no_grad():
        weight = world.nets[2].control_model.middle_block_out[0].weight
        before = weight.clone()
        weight.fill_(float("nan"))
    try:
        units = [{"net": world.nets[i], "image": world.hint(i)} for i in (0, 2)]
        image = world.sample(*world.ours(units))
        assert image.equal(world.sample(*world.host(units[:1])))
    finally:
        with torch.no_grad():
            weight.copy_(before)


def evaluated(each, chain, device, rows=2, chunks=2):
    """Return the residuals of one evaluation, its inputs on `device`."""
    import comfy.model_management

    control = chain[0][0][1]["control"]
    control.pre_run(each.model.model, each.model.model.model_sampling.percent_to_sigma)
    comfy.model_management.load_models_gpu([each.model, *control.get_models()])
    noise = torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    prompts = torch.cat([each.negative[0][0], each.positive[0][0]])[-chunks:]
    cond = {"c_crossattn": prompts.repeat_interleave(rows // chunks, 0).to(device)}
    options = {"cond_or_uncond": [1, 0][-chunks:]}
    t = torch.full((rows,), 7.0, device=device)
    out = control.get_control(noise.to(device), t, cond, chunks, options)
    residuals = out["output"] + out["middle"]
    assert all(residual.device == device for residual in residuals)
    return [residual.cpu() for residual in residuals]


SPEEDS = {
    "fast": {"speed": "fast"},
    "approximate": {"speed": "approximate", "reuse": 2},
    "prompts shared": {"speed": "approximate", "reuse": 3, "share_prompts": True},
}


@pytest.mark.parametrize("speed", SPEEDS.values(), ids=SPEEDS)
@pytest.mark.parametrize("more", [{}, TOGETHER], ids=["plain", "all"])
def test_speeds(world, on_cpu, here, speed, more):
    """Also one net with two hints, which `fast` may run in one batch."""

    def of(each):
        nets = (each.nets[0], each.nets[0], each.nets[1])
        units = [{"net": net, "image": each.hint(i), **more} for i, net in enumerate(nets)]
        return each.sample(*each.ours(units, **speed), batch=2, steps=6)

    assert_same(of(world), of(on_cpu))


@pytest.mark.parametrize("types", ["canny, depth:0.5", "tile"])
def test_a_union(world, on_cpu, here, union, types, monkeypatch):
    import copy

    from pack.control import checks

    monkeypatch.setattr(checks, "refuse_mismatch", lambda *_: None)  # 320 channels on 32
    results = []
    for each, device in ((on_cpu, CPU), (world, here)):
        net = union.copy()
        net.load_device = device
        net.control_model = copy.deepcopy(union.control_model).to(device)
        count = len(types.split(","))
        unit = {"net": net, "image": each.hint(2, count), "union_type": types, "strength": 0.7}
        with monkeypatch.context() as context:
            context.setattr(type(net), "get_models", lambda _self: [])
            results.append(evaluated(each, attached(each, unit), device))
    for reference, ours in zip(*results, strict=True):
        assert_same(ours, reference)


def attached(each, unit):
    from pack.control.attach import attach

    return attach(each.stack([unit]), [each.positive], with_negative=True)


def test_a_tile_has_its_part_of_hint_and_mask(world, on_cpu, here):
    """As tilers do that crop copies of a chain, each tile a row of the batch."""
    results = []
    for each, device in ((on_cpu, CPU), (world, here), (world, None)):
        unit = {"net": each.nets[0], "image": each.hint(3, 1, 64, 128)}
        unit["effect_mask"] = mask(1, 64, 128)
        if device is None:  # the pictures on the device too
            unit = {name: to(value, here) for name, value in unit.items()}
        chain = each.ours([unit])
        twin = chain[0][0][1]["control"].copy()
        parts = [twin.cond_hint_original[..., left : left + 64] for left in (0, 64)]
        twin.cond_hint_original = torch.cat(parts)
        tiles = [[each.positive[0][0], {**chain[0][0][1], "control": twin}]]
        results.append(evaluated(each, [tiles], device or here, chunks=1))
    for reference, *others in zip(*results, strict=True):
        for ours in others:
            assert_same(ours, reference)


@pytest.mark.parametrize("mode", ["balanced", "cond_only"])
def test_context_windows(world, on_cpu, here, mode):
    """Each window's frames have their own hints, masks and strengths."""
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    def of(each):
        plain = {"context_length": 4, "context_overlap": 2, "context_schedule": "looped_uniform"}
        plain |= {"context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "dim": 0}
        model = ContextWindowsManualNode.execute(each.model, **plain, freenoise=False)[0]
        unit = {"net": each.nets[0], "image": each.hint(0, 7), "effect_mask": mask(7, 20, 20)}
        unit |= {"frame_strength": "0:1, 3:0.5, 6:0", "mode": mode}
        return each.sample(*each.ours([unit]), batch=7, steps=2, model=model)

    assert_same(of(world), of(on_cpu))


def test_unloading_frees_the_device_and_the_next_run_is_identical(world, here):
    import gc

    import comfy.model_management

    units = [{"net": net, "image": world.hint(i), **TOGETHER} for i, net in enumerate(world.nets)]
    chain = world.ours(units)
    comfy.model_management.unload_all_models()
    gc.collect()
    before = torch.ops.second_device.used()
    first = world.sample(*chain, batch=2)
    assert torch.ops.second_device.used() > before
    comfy.model_management.unload_all_models()
    gc.collect()
    left = torch.ops.second_device.used() - before
    assert left < 64 << 10, "notes for the report stay, and nothing else"
    assert world.sample(*chain, batch=2).equal(first)


def test_a_run_that_ran_out_of_memory_leaves_nothing_behind(world, here):
    import comfy.model_management

    units = [{"net": net, "image": world.hint(i), **TOGETHER} for i, net in enumerate(world.nets)]
    chain = world.ours(units)
    first = world.sample(*chain, batch=2)
    with second_device.budget(100 << 10), pytest.raises(torch.OutOfMemoryError):
        world.sample(*chain, batch=2)
    comfy.model_management.unload_all_models()
    assert world.sample(*chain, batch=2).equal(first)


@pytest.mark.parametrize("where", ["loaded", "offloaded"])
def test_a_control_lora_is_merged_beside_the_bases_weights(
    world, here, control_lora, where, monkeypatch
):
    """Also where ComfyUI leaves these on the CPU, for lack of memory."""
    import comfy.model_management

    comfy.model_management.unload_all_models()
    if where == "offloaded":
        little = comfy.model_management.VRAMState.NO_VRAM
        monkeypatch.setattr(comfy.model_management, "vram_state", little)
        # Without a cast the norms of ComfyUI's own Control-LoRA refuse weights of the CPU.
        monkeypatch.setattr(world.model.model, "manual_cast_dtype", torch.float32)
    units = [{"net": control_lora, "image": world.hint(5), "strength": 0.7}]
    exact = world.sample(*world.host(units))
    assert world.sample(*world.ours(units)).equal(exact)
    weight = world.model.model.diffusion_model.input_blocks[0][0].weight
    assert weight.device == (CPU if where == "offloaded" else here)
    chain = world.ours(units, speed="fast")
    fast = world.sample(*chain)
    assert chain[0][0][1]["control"].journal.merged == 1
    assert (fast - exact).abs().max() <= 1e-5 * exact.abs().max()
    comfy.model_management.unload_all_models()


@pytest.fixture
def halved(make_world, here):
    """Return a world in half precision, as most cards run it."""
    world = make_world("tiny")
    unet = world.model.model.diffusion_model.half()
    unet.dtype = torch.float16
    for net in world.nets:
        net.control_model.half()
        net.control_model.dtype = torch.float16
    return world


def test_half_precision(halved):
    units = [{"net": halved.nets[i], "image": halved.hint(i), "strength": 0.3} for i in range(2)]
    theirs = halved.sample(*halved.host(units))
    assert halved.sample(*halved.ours(units)).equal(theirs)


ROUNDED = 0.015
"""Of the largest value: what half precision may change; without control it changes 0.007."""


@pytest.mark.parametrize("setting", [*SETTINGS, "together"])
def test_a_setting_in_half_precision(halved, on_cpu, setting):
    more = {**SETTINGS, "together": TOGETHER}[setting]
    nets = 3 if setting == "together" else 1
    full = sampled(on_cpu, more, nets=nets)
    size, ours = full.abs().max(), sampled(halved, more, nets=nets)
    assert (ours - full).abs().max() <= ROUNDED * size
    free = on_cpu.sample(on_cpu.positive, on_cpu.negative, batch=2)
    assert (free - full).abs().max() > 4 * ROUNDED * size
