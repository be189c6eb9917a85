"""Check families of nets on a second device: as ComfyUI's nodes there, and shaped as on a CPU.

Nets for UNets and for transformers, unions, inpainting nets, and model patches.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch

from workbench import second_device, tiny_bases, tiny_patches
from workbench.family_runs import hint, host, ours, plain
from workbench.family_runs import sample as sample_for

sample = partial(sample_for, steps=2)
CPU = torch.device("cpu")
READ_AREAS = ("Z-Image Fun lite", "Z-Image Fun 2.1", "Flux 2 Fun")  # beside those for inpainting
NETS, PATCHES = tuple(tiny_bases.NETS), tuple(tiny_patches.PATCHES)


@pytest.fixture(scope="module")
def bases(world):
    """Return base models by name and place, each built at first use."""
    here, built = second_device.open_device(), {}
    makers = {**tiny_patches.BASES, **tiny_bases.BASES}

    def get(name, on_cpu=False):
        if (name, on_cpu) not in built:
            base = built[name, on_cpu] = makers[name]()
            assert base.patcher.load_device == here
            if on_cpu:
                base.patcher.load_device = CPU
        return built[name, on_cpu]

    return get


def mask():
    values = torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(6))
    values[:, :12] = 0.0
    return values


def shaped(name):
    """Return settings of all kinds, with an area to inpaint where the net reads one."""
    settings = {"effect_mask": mask(), "schedule": "0s:1, 1s:0.6", "mode": "control"}
    settings |= {"layers": "linear 1..0.3"}
    if "inpaint" in name or name in READ_AREAS:
        settings["inpaint_mask"] = (mask() > 0.5).float()
    return settings


def on_cpu(net):
    """Return a control object that ComfyUI runs on the CPU."""
    for part in (net, getattr(net, "control_model_wrapped", None), getattr(net, "patcher", None)):
        if hasattr(part, "load_device"):
            part.load_device = CPU
    return net


def adapters_on_cpu(chain):
    """Move a chain's adapters to the CPU: a copy of one goes where ComfyUI's models are."""
    for conditioning in chain:
        for _, options in conditioning:
            if hasattr(inner := options["control"].inner, "device"):
                inner.device = CPU
    return chain


def assert_same(ours, reference):
    assert (ours - reference).abs().max() <= 1e-3 * reference.abs().max()


@pytest.mark.parametrize("name", NETS)
def test_a_net_is_what_it_is_elsewhere(bases, name):
    import comfy.controlnet

    if name == "Qwen-Image Fun" and not hasattr(comfy.controlnet, "QwenFunControlNet"):
        pytest.skip("this host has no Qwen-Image Fun nets")
    base_name, make = tiny_bases.NETS[name]
    base, net = bases(base_name), make()
    union = {"union_type": "depth"} if name == "Flux union" else {}
    image = sample(base, ours(base, net, **union))
    if not union and not getattr(net, "concat_mask", False):
        assert image.equal(sample(base, host(base, net)))
    assert not image.equal(sample(base, plain(base)))
    settings = {**shaped(name), **union}
    reference = bases(base_name, on_cpu=True)
    elsewhere = adapters_on_cpu(ours(reference, on_cpu(make()), **settings))
    theirs = sample(reference, elsewhere)
    assert_same(sample(base, ours(base, net, **settings)), theirs)


@pytest.mark.parametrize("name", PATCHES)
def test_a_model_patch_is_what_it_is_elsewhere(bases, name):
    from pack.control.patches import net_of

    tiny = tiny_patches.PATCHES[name]
    if not tiny.is_here:
        pytest.skip(f"this host has no {name}")
    base, patcher, settings = bases(tiny.base), tiny.net(), shaped(name)
    image = hint(0, 5) if tiny.is_clip else hint()
    chain = ours(base, net_of(patcher), image)
    if "inpaint_mask" not in settings:
        model = tiny.node(base, base.patcher, patcher, image, 0.7, None)
        assert_same(sample(base, chain), sample(base, plain(base), patcher=model))
    reference = bases(tiny.base, on_cpu=True)
    elsewhere = tiny.net()
    elsewhere.load_device = CPU
    theirs = sample(reference, ours(reference, net_of(elsewhere), image, **settings))
    assert_same(sample(base, ours(base, net_of(patcher), image, **settings)), theirs)
