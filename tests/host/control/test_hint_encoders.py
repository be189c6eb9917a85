"""Check Flux nets that encode their hint by convolutions: once a run, and at odd sizes too."""

from __future__ import annotations

import pytest

from workbench import tiny_bases

ENCODERS = {"XLabs": "input_hint_block", "MistoLine": "input_cond_block"}
STEPS = 3


@pytest.fixture(scope="module")
def bases(host):
    return {name: tiny_bases.BASES[name]() for name in ("flux", "chroma")}


@pytest.fixture(params=[(net, base) for net in ENCODERS for base in ("flux", "chroma")], ids=str)
def pair(request, bases):
    """Return a net, the name of its encoder, and the base that it acts on."""
    name, base = request.param
    return tiny_bases.NETS[name][1](), ENCODERS[name], bases[base]


def hint(batch=1, height=64, width=64):
    import torch

    generator = torch.Generator().manual_seed(4)
    return torch.rand(batch, height, width, 3, generator=generator)


def sample(base, chain, size=(8, 8), batch=1):
    import torch

    import nodes

    latent = {"samples": torch.zeros(batch, 16, *size)}
    out = nodes.common_ksampler(base.patcher, 7, STEPS, 5.0, "euler", "simple", *chain, latent)
    assert out[0]["samples"].isfinite().all()
    return out[0]["samples"]


def host_chain(base, net, image):
    import nodes

    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    return apply(base.positive, base.negative, net, image, 0.7, 0.0, 1.0)


def our_chain(base, net, image, mode="balanced", chain=None):
    from pack.nodes.apply import Add, Apply

    stack = Add.execute(
        net,
        image,
        strength=0.7,
        start_percent=0.0,
        end_percent=1.0,
        mode=mode,
        fit="crop",
        schedule="",
        layers="",
    )[0]
    positive, negative = chain or (base.positive, base.negative)
    out = Apply.execute(positive, stack, negative, model=base.patcher)
    return out[0], out[1]


def with_padded_encoder(net, name):
    """Return a copy whose encoder's feature goes on around the edge, as ComfyUI's latent does."""
    import copy

    import torch

    encoder = getattr(net.control_model, name)

    class Padded(torch.nn.Module):
        def forward(self, picture):
            feature = encoder(picture)
            odd = (0, feature.shape[-1] % 2, 0, feature.shape[-2] % 2)
            return torch.nn.functional.pad(feature, odd, mode="circular")

    padded = net.copy()
    padded.control_model = copy.copy(net.control_model)
    padded.control_model._modules = {**net.control_model._modules, name: Padded()}
    return padded


@pytest.fixture
def encoded(pair):
    """Count the encoder's runs."""
    net, name, _ = pair
    counts = []
    handle = getattr(net.control_model, name).register_forward_hook(lambda *_: counts.append(1))
    yield counts
    handle.remove()


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (7, 8), (8, 9), (1, 1)])
def test_the_image_is_the_hosts_at_even_and_odd_sizes(pair, encoded, size):
    """ComfyUI itself fails at odd sizes, so there its net runs with a padded feature."""
    net, name, base = pair
    image = hint(height=72, width=56)
    mine = sample(base, our_chain(base, net, image), size)
    assert len(encoded) == 1
    oracle = net if size == (8, 8) else with_padded_encoder(net, name)
    assert mine.equal(sample(base, host_chain(base, oracle, image), size))
    assert not mine.equal(sample(base, (base.positive, base.negative), size))


@pytest.mark.slow
def test_each_hint_of_a_batch_is_encoded_once(pair, encoded):
    net, name, base = pair
    mine = sample(base, our_chain(base, net, hint(2)), (9, 8), batch=2)
    assert len(encoded) == 1
    oracle = with_padded_encoder(net, name)
    assert mine.equal(sample(base, host_chain(base, oracle, hint(2)), (9, 8), batch=2))


@pytest.mark.slow
def test_the_positive_alone_at_an_odd_size(pair, encoded):
    """ComfyUI can do the same at twice the calls of the model."""
    import nodes

    net, name, base = pair
    mine = sample(base, our_chain(base, net, hint(), "cond_only"), (9, 7))
    assert len(encoded) == 1
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    oracle = with_padded_encoder(net, name)
    positive, _ = apply(base.positive, [], oracle, hint(), 0.7, 0.0, 1.0)
    theirs = sample(base, (positive, base.negative), (9, 7))
    assert (mine - theirs).abs().max() <= 2e-4 * theirs.abs().max()


@pytest.mark.slow
def test_two_runs_of_other_hints_and_sizes(pair, encoded):
    net, name, base = pair
    for image, size in ((hint(), (8, 8)), (hint(1, 40, 90), (9, 9)), (hint(), (8, 8))):
        mine = sample(base, our_chain(base, net, image), size)
        oracle = with_padded_encoder(net, name)
        assert mine.equal(sample(base, host_chain(base, oracle, image), size))
    assert len(encoded) == 3 + 3 * STEPS
    assert getattr(net.control_model, name).__class__.__name__ in (
        "Sequential",
        "MistolineCondDownsamplBlock",
    )
