"""Every family that the host controls, tiny from its real class: the host's own image, and none of it when idle."""

from __future__ import annotations

import pytest

from workbench import tiny_bases

STEPS = 3


@pytest.fixture(scope="module")
def bases(host):
    """Base models by name, each built when first asked for."""
    built = {}

    def get(name):
        if name not in built:
            built[name] = tiny_bases.BASES[name]()
        return built[name]

    return get


@pytest.fixture
def family(bases, request):
    import comfy.controlnet

    if request.param == "Qwen-Image Fun" and not hasattr(comfy.controlnet, "QwenFunControlNet"):
        pytest.skip("this host has no Qwen-Image Fun nets")
    base, net = tiny_bases.NETS[request.param]
    return bases(base), net()


def every(*families):
    return pytest.mark.parametrize("family", families or tiny_bases.NETS, indirect=True)


def hint(seed=0, batch=1):
    import torch

    return torch.rand(batch, 64, 64, 3, generator=torch.Generator().manual_seed(seed))


def sample(base, chain, batch=1, cfg=5.0):
    import torch

    import nodes

    latent = {"samples": torch.zeros(batch, *base.latent[1:])}
    out = nodes.common_ksampler(base.patcher, 7, STEPS, cfg, "euler", "simple", *chain, latent)
    image = out[0]["samples"]
    assert image.isfinite().all()
    return image


def plain(base):
    return base.positive, base.negative


def host(base, net, image=None, strength=0.7, start=0.0, end=1.0, chain=None):
    import nodes

    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    image = hint() if image is None else image
    return apply(*(chain or plain(base)), net, image, strength, start, end, base.vae)


def ours(base, net, image=None, strength=0.7, start=0.0, end=1.0, chain=None, mode="balanced", **more):
    from pack.nodes.stack import Add, Apply

    schedule, layers = more.pop("schedule", ""), more.pop("layers", "")
    image = hint() if image is None else image
    stack = Add.execute(net, image, strength, start, end, mode, "crop", schedule, layers, **more)[0]
    positive, negative = chain or plain(base)
    out = Apply.execute(positive, stack, negative, vae=base.vae, model=base.patcher)
    return out[0], out[1]


@every()
def test_plain_settings_give_the_hosts_image(family):
    base, net = family
    theirs = sample(base, host(base, net))
    assert not theirs.equal(sample(base, plain(base))), "its control must act, or the comparison says nothing"
    assert theirs.equal(sample(base, ours(base, net)))
