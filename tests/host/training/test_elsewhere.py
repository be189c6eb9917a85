"""Train a net in diffusers' layout: loaded, trained, saved, and read by ComfyUI's own loader."""

from __future__ import annotations

import gc

import pytest
import torch
from safetensors.torch import load_file, save_file

from .conftest import OLDER, as_diffusers, discs, residuals

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick


@pytest.fixture
def tiny_in_diffusers(host, monkeypatch):
    """Add the tiny UNet to the table of shapes by which ComfyUI knows diffusers' nets.

    The mapping of keys is ComfyUI's own.
    """
    import comfy.model_detection

    from workbench.tiny_family import family

    original = comfy.model_detection.unet_config_from_diffusers_unet
    tiny = {
        **family.TINY,
        **family.TINY_HEADS,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }

    def detect(state_dict, dtype=None):
        is_tiny = state_dict["conv_in.weight"].shape[0] == 32
        return dict(tiny) if is_tiny else original(state_dict, dtype)

    monkeypatch.setattr(comfy.model_detection, "unet_config_from_diffusers_unet", detect)


def load(name):
    import folder_paths

    from pack.nodes.load import Load

    folder_paths.filename_list_cache.clear()
    with torch.inference_mode():
        return Load.execute(name)[0]


def loaded_by_the_host(name):
    import folder_paths

    import nodes

    folder_paths.filename_list_cache.clear()
    with torch.inference_mode():
        return nodes.ControlNetLoader().load_controlnet(name)[0]


def save(net, name):
    from pack.nodes.train import Save

    with torch.inference_mode():
        Save.execute(net, name, "fp32")


def is_zero_convolution(key):
    return key.startswith(("zero_convs", "middle_block_out"))


def matrices(weights):
    """Name all weights but vectors: a bias before a normalisation may stand still."""
    return {key for key, value in weights.items() if value.ndim > 1}


def put(folder, name, weights, config):
    renamed = as_diffusers(weights, config)
    save_file({key: value.clone().contiguous() for key, value in renamed.items()}, folder / name)
    return name


@pytest.mark.usefixtures("tiny_in_diffusers")
def test_a_net_in_diffusers_layout_is_trained_further(studio, folder):
    """Load, move each weight by a step's length, save in the ldm layout, let ComfyUI read it."""
    from pack.control.net_info import source_of
    from workbench.tiny_family import family

    config = studio.model.model.model_config.unet_config
    published = family.controlnet(31).state_dict()
    net = load(put(folder, "published.safetensors", published, config))
    assert source_of(net).name == "published.safetensors"
    assert source_of(net).identity.family == "ControlNet (diffusers)"
    start = {key: value.clone() for key, value in net.control_model.state_dict().items()}
    assert start.keys() == published.keys()
    assert all(value.equal(published[key]) for key, value in start.items())
    base = {
        key: value.clone() for key, value in studio.model.model.diffusion_model.state_dict().items()
    }

    trained = studio.train(net, studio.dataset(*discs(2)), steps=2, learning_rate=1e-4)[0]
    moved = {
        k: float((v - start[k]).abs().max()) for k, v in trained.control_model.state_dict().items()
    }
    assert {key for key in matrices(start) if moved[key] == 0} == set()
    assert max(moved.values()) < 3e-4  # two of Adam's steps
    assert all(value.equal(start[key]) for key, value in net.control_model.state_dict().items())
    assert all(
        value.equal(base[key])
        for key, value in studio.model.model.diffusion_model.state_dict().items()
    )

    save(trained, "trained further")
    again = loaded_by_the_host("trained further.safetensors")
    before, ours, theirs = (studio.residuals(each) for each in (net, trained, again))
    assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))
    assert not any(a.equal(b) for a, b in zip(before, theirs, strict=True))


@pytest.mark.skipif(
    OLDER, reason="tiny nets and the full-size loader are shown on each host: once is enough"
)
@pytest.mark.alone
def test_a_net_in_diffusers_layout_at_full_size(host, folder):
    """Do the same at SD1.5's own shapes, 1.4 GB a file; a step at 64 pixels moves every matrix."""
    from pack.control.net_info import source_of
    from pack.training import loop, nets
    from pack.training.cache import Encoded, Text
    from workbench import tiny

    model = tiny.full_model_patcher()
    start = nets.create_weights(model)
    for key, value in start.items():
        if is_zero_convolution(key) or key.startswith("input_hint_block.14"):
            value.normal_(std=0.02)
    net = load(put(folder, "published.safetensors", start, model.model.model_config.unet_config))
    assert source_of(net).identity.family == "ControlNet (diffusers)"
    taken = nets.copy_weights(net, model)
    assert taken.keys() == start.keys()
    assert all(taken[key].equal(value) for key, value in start.items())

    cpu, text = torch.device("cpu"), Text(torch.randn(1, 77, 768))
    data = Encoded(torch.randn(1, 4, 8, 8), (text,), (0,), text, lambda _: torch.rand(64, 64, 3))
    settings = loop.Settings(
        steps=1, batch_size=1, precision="fp32", learning_rate=1e-4, weight_decay=0.0
    )
    trainable = nets.trainable_net(taken, model, cpu)
    base = nets.frozen_base(model, cpu, torch.float32)
    del net, taken
    gc.collect()
    trainer = loop.Trainer(base, trainable, model.model.model_sampling, data, settings, cpu)
    trainer.advance()
    weights = {key: value.detach().clone() for key, value in trainable.state_dict().items()}
    trainer.close()
    assert {key for key in matrices(weights) if weights[key].equal(start[key])} == set()
    del start, trainable, base, trainer
    gc.collect()

    trained = nets.as_control(weights, model, "trained further")
    save(trained, "trained further")
    again = loaded_by_the_host("trained further.safetensors")
    loaded = again.control_model.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(loaded[key].equal(value) for key, value in weights.items())
    ours, theirs = (residuals(each, model, 768) for each in (trained, again))
    assert all(a.equal(b) and a.any() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.quick
@pytest.mark.usefixtures("tiny_in_diffusers")
def test_a_new_net_in_diffusers_layout_begins_at_its_zero_convolutions(studio, folder):
    created = {
        key: value.clone() for key, value in studio.create().control_model.state_dict().items()
    }
    net = load(put(folder, "new.safetensors", created, studio.model.model.model_config.unet_config))
    assert not any(residual.any() for residual in studio.residuals(net))
    trained = studio.train(net, studio.dataset(*discs(2)), steps=1)[0].control_model.state_dict()
    moved = {key for key, value in trained.items() if not value.equal(created[key])}
    assert moved == {key for key in created if is_zero_convolution(key)}


@pytest.mark.usefixtures("tiny_in_diffusers")
def test_a_gap_in_diffusers_layout_is_refused(studio, folder):
    """Refuse a file that lacks a weight, which ComfyUI would leave as the memory has it."""
    from workbench.tiny_family import family

    put(
        folder,
        "gap.safetensors",
        family.controlnet(31).state_dict(),
        studio.model.model.model_config.unet_config,
    )
    whole = load_file(folder / "gap.safetensors")
    save_file(
        {k: v for k, v in whole.items() if k != "mid_block.resnets.1.conv2.weight"},
        folder / "gap.safetensors",
    )
    with pytest.raises(ValueError, match=r"gap.safetensors .* lacks 1 of its weights"):
        load("gap.safetensors")
