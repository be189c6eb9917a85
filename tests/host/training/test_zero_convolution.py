"""Test the idea: a new net does nothing; gradients reach the zero convolutions first."""

from __future__ import annotations

import gc
import hashlib
import zlib

import pytest
import torch

from .conftest import as_diffusers, discs


def zero(key):
    return key.startswith(("zero_convs", "middle_block_out"))


def hashed(module):
    digest = hashlib.sha256()
    for _, value in sorted(module.state_dict().items()):
        digest.update(value.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def images(model, net, conditionings, size=(8, 8), steps=3):
    """Sample without control, through ComfyUI's own Apply, and through ours."""
    import nodes
    from pack.nodes.apply import Add, Apply

    positive, negative = conditionings
    hint = torch.rand(1, size[0] * 8, size[1] * 8, 3, generator=torch.Generator().manual_seed(1))
    stack = Add.execute(net, hint)[0]
    ours = Apply.execute(positive, stack, negative)
    theirs = nodes.ControlNetApplyAdvanced().apply_controlnet(
        positive, negative, net, hint, 1.0, 0.0, 1.0
    )
    latent = {"samples": torch.zeros(1, 4, *size)}
    for pair in ((positive, negative), theirs, (ours[0], ours[1])):
        yield nodes.common_ksampler(model, 7, steps, 5.0, "euler", "normal", *pair, latent)[0][
            "samples"
        ]


def test_a_new_net_does_nothing(studio):
    from workbench import tiny

    net = studio.create()
    residuals = studio.residuals(net)
    assert len(residuals) == 13
    assert all(residual.abs().max() == 0 for residual in residuals)
    with torch.inference_mode():
        base, theirs, ours = images(studio.model, net, (tiny.conditioning(1), tiny.conditioning(2)))
    assert theirs.equal(base)
    assert ours.equal(base)


PUBLISHED = (  # keys of diffusers' nets for SD1.5, one of each kind
    "conv_in.weight",
    "time_embedding.linear_2.bias",
    "down_blocks.0.downsamplers.0.conv.weight",
    "down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_k.weight",
    "down_blocks.3.resnets.1.time_emb_proj.weight",
    "mid_block.attentions.0.proj_out.weight",
    "controlnet_cond_embedding.blocks.5.bias",
    "controlnet_cond_embedding.conv_out.weight",
    "controlnet_down_blocks.11.weight",
    "controlnet_mid_block.bias",
)


@pytest.mark.alone
@pytest.mark.slow
def test_a_new_net_does_nothing_at_full_size(host):
    """Do the same at SD1.5's own shapes, and load the net in diffusers' layout for training."""
    import comfy.controlnet

    from pack.training import nets
    from workbench import tiny

    model = tiny.full_model_patcher()
    weights = nets.create_weights(model)
    net = nets.as_control(weights, model, "new")
    prompts = [tiny.conditioning(seed, size="full") for seed in (1, 2)]
    base, theirs, ours = images(model, net, prompts, steps=1)
    assert theirs.equal(base)
    assert ours.equal(base)
    del net, base, theirs, ours
    gc.collect()
    elsewhere = as_diffusers(weights, model.model.model_config.unet_config)
    assert not [key for key in PUBLISHED if key not in elsewhere]
    loaded = comfy.controlnet.load_controlnet_state_dict(elsewhere)
    taken = nets.copy_weights(loaded, model)
    assert all(taken[key].equal(value) for key, value in weights.items())
    del loaded, elsewhere, weights
    first_step_moves_zero_convolutions(model, taken)


def first_step_moves_zero_convolutions(model, weights):
    """Take a step at 64 pixels: it moves the zero convolutions of a new net and nothing else.

    Empties `weights` to save memory.
    """
    from pack.training import loop, nets
    from pack.training.cache import Encoded, Text

    text = Text(torch.randn(1, 77, 768))
    data = Encoded(torch.randn(1, 4, 8, 8), (text,), (0,), text, lambda _: torch.rand(64, 64, 3))
    cpu = torch.device("cpu")
    settings = loop.Settings(
        steps=1, batch_size=1, precision="fp32", learning_rate=1e-4, weight_decay=0.0
    )
    before = {key: zlib.crc32(value.numpy()) for key, value in weights.items()}
    net = nets.trainable_net(weights, model, cpu)
    weights.clear()
    base = nets.frozen_base(model, cpu, torch.float32)
    trainer = loop.Trainer(base, net, model.model.model_sampling, data, settings, cpu)
    trainer.advance()
    moved = {k for k, v in net.state_dict().items() if zlib.crc32(v.detach().numpy()) != before[k]}
    assert moved == {key for key in before if zero(key)}
    trainer.close()


def test_the_copy_is_the_base(studio):
    """Copy encoder and middle block; draw the hint block, whose last convolution is zero."""
    weights = studio.create().control_model.state_dict()
    base = studio.model.model.diffusion_model.state_dict()
    fresh = {key for key in weights if zero(key) or key.startswith("input_hint_block")}
    assert {key for key in weights if key not in fresh} == {
        key for key in base if not key.startswith(("output_blocks", "out."))
    }
    assert all(weights[key].equal(base[key]) for key in weights.keys() - fresh)
    hint = {key: value for key, value in weights.items() if key.startswith("input_hint_block")}
    assert {key for key, value in hint.items() if value.abs().max() == 0} == {
        "input_hint_block.14.weight",
        "input_hint_block.14.bias",
    }
    assert all(
        0.5 < value.std() * (3 * value[0].numel()) ** 0.5 < 1.5
        for key, value in hint.items()
        if "14" not in key and value.ndim > 1
    )
    assert weights["input_hint_block.0.weight"].shape[1] == 3


@pytest.mark.parametrize("loaded", [False, True], ids=["on disk", "in use"])
def test_loras_on_the_base_are_copied(studio, loaded):
    import comfy.model_management

    key = "input_blocks.1.0.in_layers.2.weight"
    base = studio.model.model.diffusion_model.state_dict()[key].clone()
    change = torch.full_like(base, 0.25)
    patched = studio.model.clone()
    patched.add_patches({f"diffusion_model.{key}": ("diff", (change,))}, 0.5)
    if loaded:
        comfy.model_management.load_models_gpu([patched])
    from pack.training import nets

    assert torch.allclose(nets.create_weights(patched)[key], base + 0.125, atol=1e-6)
    assert nets.create_weights(studio.model)[key].equal(base)
    comfy.model_management.unload_all_models()


def test_forward_equals_comfyuis(studio):
    """Compare our forward with ComfyUI's own modules to the bit, with a net that acts."""
    from pack.training import forward, nets
    from workbench import tiny

    net, cpu = tiny.control_net(), torch.device("cpu")
    ours = nets.trainable_net(nets.copy_weights(net, studio.model), studio.model, cpu)
    base = nets.frozen_base(studio.model, cpu, torch.float32)
    x, hint, context = torch.randn(2, 4, 8, 8), torch.rand(2, 3, 64, 64), torch.randn(2, 77, 64)
    timesteps = torch.tensor([10.0, 900.0])
    with torch.no_grad():
        residuals = forward.residuals(ours, x, hint, timesteps, context, None)
        output = forward.prediction(base, x, timesteps, context, None, residuals)
        theirs = net.control_model(x=x, hint=hint, timesteps=timesteps, context=context)
        expected = [value.clone() for value in (*theirs["output"], *theirs["middle"])]
        expected_output = studio.model.model.diffusion_model(
            x, timesteps, context=context, control=theirs
        )
    assert all(a.equal(b) for a, b in zip(residuals, expected, strict=True))
    assert output.equal(expected_output)


def test_checkpointing_changes_nothing(studio, eight):
    gradients = []
    for checkpointing in (False, True):
        trainer = studio.trainer(studio.create(), eight, gradient_checkpointing=checkpointing)
        trainer.loss(*trainer.read(0)).backward()
        gradients.append({key: value.grad for key, value in trainer.named.items()})
        trainer.close()
    assert all(gradients[1][key].equal(value) for key, value in gradients[0].items())


def test_the_first_step_moves_only_the_zero_convolutions(studio, eight):
    """Move the zero convolutions at once, and all that lies behind them a step later.

    ∂y/∂w = x ≠ 0, but ∂y/∂x = w = 0.
    """
    trainer = studio.trainer(studio.create(), eight)
    states = [{key: value.detach().clone() for key, value in trainer.net.named_parameters()}]
    for _ in range(2):
        trainer.advance()
        states.append(
            {key: value.detach().clone() for key, value in trainer.net.named_parameters()}
        )
    trainer.close()
    outputs = {key for key in states[0] if zero(key)}
    assert len(outputs) == 26
    assert all(not states[1][key].equal(states[0][key]) for key in outputs)
    behind = states[0].keys() - outputs
    assert all(states[1][key].equal(states[0][key]) for key in behind)
    moved = {key for key in behind if not states[2][key].equal(states[1][key])}
    # The hint block's own zero convolution is behind the others: it moves now, and lets the rest
    # move next.
    hint = {key for key in behind if key.startswith("input_hint_block")}
    last = {"input_hint_block.14.weight", "input_hint_block.14.bias"}
    assert moved & hint == last
    # With one head and tokens alike, the key's and query's part of attention may rest; nothing else
    # does.
    assert behind - moved - hint <= {key for key in behind if ".to_q." in key or ".to_k." in key}
    assert any(value > 0 for value in trainer.history.norms[0])


def test_the_base_stays_locked(studio, eight):
    from pack.training import nets

    before = hashed(studio.model.model.diffusion_model)
    trainer = studio.trainer(studio.create(), eight)
    twin = hashed(trainer.base)
    trainer.loss(*trainer.read(0)).backward()
    assert all(
        value.grad is None and not value.requires_grad for value in trainer.base.parameters()
    )
    for _ in range(3):
        trainer.advance()
    trainer.close()
    assert hashed(trainer.base) == twin
    assert hashed(studio.model.model.diffusion_model) == before
    assert nets.copy_weights(
        studio.create(), studio.model
    )  # and another net can still be made of it


def test_what_is_trained_is_a_copy(studio):
    net = studio.create()
    before = hashed(net.control_model)
    trained = studio.train(net, studio.dataset(*discs(2)))[0]
    assert hashed(net.control_model) == before
    assert hashed(trained.control_model) != before


class Targets:
    """The target as the field's papers define it, for each kind of model."""

    @staticmethod
    def eps(latents, noise, sigma):
        return noise

    @staticmethod
    def v(latents, noise, sigma):
        alpha = 1 / (sigma**2 + 1).sqrt()
        return alpha * noise - alpha * sigma * latents

    @staticmethod
    def flow(latents, noise, sigma):
        return noise - latents


@pytest.mark.parametrize(
    ("kind", "name", "atol"),
    [("eps", "EPS", 2e-4), ("v", "V_PREDICTION", 2e-4), ("flow", "FLOW", 2e-3)],
)
def test_the_target_is_what_the_model_predicts(studio, kind, name, atol):
    import comfy.model_base

    from pack.training import objective

    sampling = comfy.model_base.model_sampling(
        studio.model.model.model_config, comfy.model_base.ModelType[name]
    )
    latents, noise = torch.randn(5, 4, 8, 8), torch.randn(5, 4, 8, 8)
    sigmas = sampling.sigmas[torch.tensor([5, 100, 400, 800, 999])].float()
    x = objective.add_noise(sampling, latents, noise, sigmas)
    right = getattr(Targets, kind)(latents, noise, sigmas.view(-1, 1, 1, 1))
    assert torch.allclose(objective.target(sampling, latents, x, sigmas), right, atol=atol)
