"""Test that training learns, stops, resumes and fails without loss, and what each setting does."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from .conftest import OLDER, checkpoint, discs, one_thread, same, steps_in

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick


def loss_with(trainer, hints):
    """Return the mean loss over eight noise levels of the upper half, with fixed noise.

    The latents say least there.
    """
    from pack.training.objective import Draw

    losses = []
    with torch.no_grad():
        for k in range(8):
            noise = torch.randn((8, 4, 8, 8), generator=torch.Generator().manual_seed(100 + k))
            draw = Draw(list(range(8)), [False] * 8, torch.full((8,), 500 + 60 * k), noise)
            losses.append(float(trainer.loss(draw, hints)))
    return sum(losses) / len(losses)


@pytest.mark.skipif(
    OLDER,
    reason="the loop is the same on all hosts, and forward is compared with each: once is enough",
)
def test_it_learns(studio, eight):
    """Train eight pairs for 200 steps of 8 rows: the loss halves, and the hint is read."""
    trainer = studio.trainer(
        studio.create(), eight, steps=200, batch_size=8, learning_rate=3e-3, prompt_dropping=0.5
    )
    right = eight.hints(range(8))
    shuffled = right.roll(1, 0)
    first = loss_with(trainer, right)
    assert first == loss_with(trainer, shuffled)  # a new net does not see its hint
    began = (
        time.process_time()
    )  # what one core does: no less than the time on two idle ones, whatever else they do
    with one_thread():
        for _ in range(200):
            trainer.advance()
    assert time.process_time() - began < 180
    trainer.close()
    learned, misled = loss_with(trainer, right), loss_with(trainer, shuffled)
    assert learned < 0.5 * first
    assert misled > 1.04 * learned, (
        f"loss {learned:.4f} with the right hints, {misled:.4f} with shuffled ones"
    )
    norms = torch.tensor(trainer.history.norms)
    assert bool((norms[-1] > norms[9]).all())  # the zero convolutions grow


@pytest.mark.quick
def test_node_gives_net_model_curves_and_picture(studio):
    net, model, curves, validation = studio.train(
        studio.create(), studio.dataset(*discs(3)), steps=2, validate_every=1
    )
    assert len(studio.residuals(net)) == 13
    assert all(residual.abs().max() > 0 for residual in studio.residuals(net))
    assert model is studio.model
    assert curves.shape == (1, 640, 960, 3)
    assert validation.shape == (1, 64, 192, 3)  # hint, target, and what the net makes of it
    assert validation[0, :, 64:128].equal((discs(3)[0][0] * 255).round() / 255)
    assert validation[0, :, 128:].std() > 0.01


def test_training_does_not_depend_on_inference_mode(studio, eight):
    """Train on copies outside inference mode, whose tensors autograd refuses."""
    assert next(studio.model.model.diffusion_model.parameters()).is_inference()
    trainer = studio.trainer(studio.create(), eight)
    shared = {value.data_ptr() for value in studio.model.model.diffusion_model.parameters()}
    assert all(
        value.data_ptr() in shared for value in trainer.base.parameters()
    )  # no second base in memory
    assert not any(value.is_inference() for value in trainer.base.parameters())
    trainer.close()


def rows_of(batch, rows):
    draw, hints = batch
    part = dataclasses.replace(
        draw,
        rows=draw.rows[rows],
        drops=draw.drops[rows],
        levels=draw.levels[rows],
        noise=draw.noise[rows],
    )
    return part, hints[rows]


def test_accumulation_equals_a_larger_batch(studio, eight, monkeypatch):
    """Take the same step with one batch of four or two of two."""
    whole = studio.trainer(studio.create(), eight, batch_size=4)
    parted = studio.trainer(studio.create(), eight, batch_size=2, accumulation=2)
    batch = whole.read(0)
    monkeypatch.setattr(
        parted, "batch", lambda index: rows_of(batch, slice(2 * index, 2 * index + 2))
    )
    assert parted.advance() == pytest.approx(whole.advance(), rel=1e-5)
    moments = [
        torch.cat([t.optimizer.state[v]["exp_avg"].flatten() for v in t.named.values()])
        for t in (whole, parted)
    ]
    assert torch.allclose(*moments, rtol=1e-3, atol=1e-7)
    assert moments[0].abs().max() > 1e-4
    whole.close()
    parted.close()


def test_prompts_are_dropped_and_pairs_come_in_turn():
    from pack.training.objective import draw_batch

    draws = [draw_batch(7, first, 4, 8, 1000, (4, 2, 2), 0.5) for first in range(0, 4000, 4)]
    drops = [drop for draw in draws for drop in draw.drops]
    assert abs(sum(drops) / len(drops) - 0.5) < 0.03
    rows = [row for draw in draws for row in draw.rows]
    assert all(sorted(rows[i : i + 8]) == list(range(8)) for i in range(0, len(rows), 8))
    assert rows[:8] != rows[8:16]
    levels = torch.cat([draw.levels for draw in draws]).float()
    assert abs(levels.mean() - 499.5) < 15
    assert levels.max() > 990
    noise = torch.cat([draw.noise.flatten() for draw in draws])
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    again = draw_batch(7, 400, 4, 8, 1000, (4, 2, 2), 0.5)
    assert again.noise.equal(draws[100].noise)
    assert not draw_batch(8, 400, 4, 8, 1000, (4, 2, 2), 0.5).noise.equal(again.noise)
    assert not any(draw_batch(7, first, 4, 8, 1000, (1,), 0.0).drops[0] for first in range(40))


def test_bf16_keeps_float32_weights(studio, eight):
    trainer = studio.trainer(studio.create(), eight, precision="bf16", gradient_checkpointing=True)
    losses = [trainer.advance() for _ in range(2)]
    exact = studio.trainer(studio.create(), eight)
    assert losses[0] == pytest.approx(exact.advance(), rel=0.02)
    assert {value.dtype for value in trainer.net.parameters()} == {torch.float32}
    assert trainer.base.output_blocks[0][0].in_layers[2].weight.dtype == torch.bfloat16
    assert all(
        value.abs().max() > 0
        for key, value in trainer.net.named_parameters()
        if key.startswith("zero_convs")
    )
    trainer.close()
    exact.close()


def test_decoder_is_trained_where_that_is_chosen(studio):
    before = {
        key: value.clone() for key, value in studio.model.model.diffusion_model.state_dict().items()
    }
    net, model, *_ = studio.train(studio.create(), studio.dataset(*discs(2)), train_decoder=True)
    assert model is not studio.model
    after = studio.model.model.diffusion_model.state_dict()
    assert all(after[key].equal(value) for key, value in before.items())
    from pack.training.nets import effective_weight

    cpu = torch.device("cpu")
    changed = {
        key for key, value in before.items() if not effective_weight(model, key, cpu).equal(value)
    }
    assert changed
    assert all(key.startswith(("output_blocks", "out.")) for key in changed)
    assert len(studio.residuals(net)) == 13


@pytest.mark.parametrize("decoder", [False, True], ids=["locked", "decoder too"])
def test_a_resumed_training_equals_an_uninterrupted_one(studio, eight, tmp_path, decoder):
    """Resume from the file in a fresh trainer: weights, moments, history are equal to the bit."""
    from pack.training import checkpoint_files

    whole = studio.trainer(studio.create(), eight, train_decoder=decoder, weight_decay=0.01)
    for _ in range(4):
        whole.advance()
    first = studio.trainer(studio.create(), eight, train_decoder=decoder, weight_decay=0.01)
    for _ in range(2):
        first.advance()
    checkpoint_files.save(first.state(), tmp_path / "half.safetensors", {})
    second = studio.trainer(studio.create(), eight, train_decoder=decoder, weight_decay=0.01)
    second.restore(checkpoint_files.read(tmp_path / "half.safetensors")[0])
    for _ in range(2):
        second.advance()
    assert same(whole.state(), second.state())
    assert whole.state().keys() == second.state().keys()
    for trainer in (whole, first, second):
        trainer.close()


def test_an_interrupted_step_changes_nothing(studio, eight):
    """Interrupt the second pass of a step: done again from its start, it is equal to the bit."""
    import comfy.model_management as mm

    whole = studio.trainer(studio.create(), eight, accumulation=2)
    broken = studio.trainer(studio.create(), eight, accumulation=2)
    passes = []

    def stop_in_the_second(module, *_):
        passes.append(module)
        if len(passes) == 4:  # two a step
            raise mm.InterruptProcessingException

    handle = broken.base.output_blocks[5][0].register_forward_pre_hook(stop_in_the_second)
    losses = [whole.advance(), whole.advance()]
    assert broken.advance() == losses[0]
    with pytest.raises(mm.InterruptProcessingException):
        broken.advance()
    handle.remove()
    assert broken.step == 1
    assert broken.advance() == losses[1]
    assert same(whole.state(), broken.state())
    whole.close()
    broken.close()


def stop_at(monkeypatch, step):
    """Press ComfyUI's cancel button when a step is done."""
    import comfy.model_management as mm

    from pack.training.loop import Trainer

    real = Trainer.advance

    def advance(self):
        loss = real(self)
        if self.step == step:
            mm.interrupt_current_processing(True)
        return loss

    monkeypatch.setattr(Trainer, "advance", advance)


def test_cancelling_keeps_what_was_learned_and_the_next_run_resumes(studio, monkeypatch):
    """End early with the net as it is; queued again, end with the net of an unstopped run."""
    from pack.nodes.train import Train

    net, data = studio.create(), studio.dataset(*discs(3))
    whole = studio.train(net, data, steps=4)[0]
    assert Train.fingerprint_inputs(steps=4, checkpoint="stopped") == ""
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        stopped = studio.train(net, data, steps=4, checkpoint="stopped")[0]
    assert stopped.controlstack_training["controlstack.steps"] == "2"
    assert Train.fingerprint_inputs(steps=4, checkpoint="stopped") == "2"
    half = studio.train(net, data, steps=2)[0]
    assert same(half.control_model.state_dict(), stopped.control_model.state_dict())
    resumed = studio.train(net, data, steps=4, checkpoint="stopped")[0]
    assert same(whole.control_model.state_dict(), resumed.control_model.state_dict())
    assert Train.fingerprint_inputs(steps=4, checkpoint="stopped") == ""


@pytest.mark.parametrize("fault", ["stop", "memory"])
def test_the_last_picture_may_fail(studio, monkeypatch, fault):
    """Cancel, or run out of memory, in the last validation picture: the net is not lost."""
    import comfy.model_management as mm

    from pack.training import validation

    faults = {
        "stop": mm.InterruptProcessingException(),
        "memory": torch.OutOfMemoryError("CUDA out of memory"),
    }

    def picture(*_):
        raise faults[fault]

    monkeypatch.setattr(validation, "picture", picture)
    net, *_ = studio.train(studio.create(), studio.dataset(*discs(2)), steps=1, validate_every=5)
    assert net.controlstack_training["controlstack.steps"] == "1"


def test_a_full_disk_does_not_end_the_training(studio, monkeypatch, caplog):
    from pack.training import checkpoint_files

    def full(*_):
        raise OSError("x.safetensors: the disk is full")

    monkeypatch.setattr(checkpoint_files, "save", full)
    settings = {"steps": 2, "checkpoint": "x", "checkpoint_every": 1}
    net, *_ = studio.train(studio.create(), studio.dataset(*discs(2)), **settings)
    assert net.controlstack_training["controlstack.steps"] == "2"
    assert "the disk is full" in caplog.text
    assert steps_in("x") == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn], ids=["fp16", "fp8"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bases_in_fp16_and_fp8_can_be_trained(studio, eight, dtype, precision):
    """Copy weights that ComfyUI casts on use at their value, and train on them."""
    from pack.training import nets
    from workbench import tiny

    model = tiny.model_patcher()
    whole = {
        key: value.to(dtype) for key, value in model.model.diffusion_model.state_dict().items()
    }
    for key, value in model.model.diffusion_model.named_parameters():
        value.data = whole[key]
    weights = nets.create_weights(model)
    assert all(weights[key].equal(value.float()) for key, value in whole.items() if key in weights)
    settings = {"precision": precision, "gradient_checkpointing": True}
    trainer = type(studio)(model, None, None).trainer(
        nets.as_control(weights, model, "new"), eight, **settings
    )
    trainer.advance()
    trainer.close()
    assert min(trainer.history.norms[0]) > 0
    assert all(
        value.float().equal(whole[key].float())
        for key, value in model.model.diffusion_model.state_dict().items()
    )


def test_a_checkpoint_of_another_training_is_refused(studio):
    data = studio.dataset(*discs(2))
    studio.train(studio.create(), data, steps=1, checkpoint="mine")
    with pytest.raises(
        ValueError, match=r"mine.safetensors comes from another data set.*Choose another name"
    ):
        studio.train(studio.create(), studio.dataset(*discs(3)), steps=2, checkpoint="mine")
    from workbench import tiny

    with pytest.raises(ValueError, match="another net to begin with"):
        studio.train(tiny.control_net(), data, steps=2, checkpoint="mine")
    checkpoint("mine").write_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match=r"mine.safetensors does not read.*Remove it"):
        studio.train(studio.create(), data, steps=2, checkpoint="mine")


@pytest.mark.parametrize("error", ["RuntimeError", "OutOfMemoryError"])
def test_out_of_memory_names_the_knobs(studio, monkeypatch, error):
    from pack.training.loop import Trainer

    real = Trainer.advance

    def advance(self):
        if self.step == 1:
            kinds = {"RuntimeError": RuntimeError, "OutOfMemoryError": torch.OutOfMemoryError}
            raise kinds[error](
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"
            )
        return real(self)

    monkeypatch.setattr(Trainer, "advance", advance)
    with pytest.raises(RuntimeError, match="out of memory") as raised:
        studio.train(
            studio.create(), studio.dataset(*discs(2)), steps=3, checkpoint=f"full {error}"
        )
    message = str(raised.value)
    for knob in (
        "batch_size (now 2)",
        "gradient_checkpointing on",
        "precision bf16",
        "smaller (now 64×64)",
    ):
        assert knob in message
    assert "train_decoder" not in message  # it is off already
    assert "1 steps are saved in the checkpoint" in message
    assert steps_in(f"full {error}") == 1


def test_nets_of_comfyuis_loader_are_trained_further(studio):
    """Train on a net of ComfyUI's loader, in either of the ldm layouts."""
    import nodes
    from workbench.tiny_family import family

    for name in list(family.CONTROLNETS)[:2]:  # the first has prefixed keys, the second bare ones
        with torch.inference_mode():
            loaded = nodes.ControlNetLoader().load_controlnet(name)[0]
        started = studio.create(loaded)
        assert same(loaded.control_model.state_dict(), started.control_model.state_dict())
        assert started.control_model is not loaded.control_model
        trained = studio.train(loaded, studio.dataset(*discs(2)), steps=1, learning_rate=1e-4)[0]
        moved = [
            (value - loaded.control_model.state_dict()[key]).abs().max()
            for key, value in trained.control_model.state_dict().items()
        ]
        assert 0 < max(moved) < 2e-4


def test_nets_that_do_not_fit_are_refused(studio):
    from types import SimpleNamespace

    from pack.training import nets

    with pytest.raises(
        ValueError, match=r"expected a ControlNet of SD1.5, SD2 or SDXL, found SimpleNamespace"
    ):
        nets.copy_weights(SimpleNamespace(control_model=torch.nn.Linear(1, 1)), studio.model)
    other = studio.create()
    other.control_model.zero_convs[0] = torch.nn.Sequential(torch.nn.Conv2d(16, 16, 1))
    with pytest.raises(ValueError, match=r"weights do not fit, such as zero_convs.0.0"):
        nets.copy_weights(other, studio.model)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"in_channels": 9}, "inpainting"), ({"context_dim": None}, "not a text-conditioned UNet")],
)
def test_bases_that_cannot_be_trained_are_refused(studio, change, sentence):
    from types import SimpleNamespace

    from pack.training import nets

    config = SimpleNamespace(unet_config={**studio.model.model.model_config.unet_config, **change})
    with pytest.raises(ValueError, match=sentence):
        nets.create_weights(SimpleNamespace(model=SimpleNamespace(model_config=config)))


def test_sdxl_bases_can_be_trained(host):
    """Create for SDXL's topology at 32 channels, with its pooled prompt and size, and train."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    from pack.training import cache, loop, nets, objective
    from workbench.tiny_family import family

    shape = {
        **family.TINY,
        "num_res_blocks": [2, 2, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth": [0, 0, 2, 2, 3, 3],
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 3, 3, 3],
        "transformer_depth_middle": 3,
        "use_linear_in_transformer": True,
        "num_classes": "sequential",
        "adm_in_channels": 64 + 6 * 256,
        "num_heads": -1,
        "num_head_channels": 32,
    }
    config = comfy.supported_models.SDXL(
        {**shape, "use_temporal_resblock": False, "use_temporal_attention": False}
    )
    config.unet_config |= {"dtype": torch.float32, "num_heads": -1, "num_head_channels": 32}
    base = comfy.model_base.SDXL(config, device=torch.device("cpu"))
    family.fill(base.diffusion_model, 1)
    cpu = torch.device("cpu")
    model = comfy.model_patcher.ModelPatcher(base, cpu, cpu)
    clip = Words()
    rows = [cache._text(prompt, model, clip, Size) for prompt in ("", "a disc")]
    assert rows[1].y.shape == (1, 64 + 6 * 256)
    latents, hint = torch.randn(2, 4, 8, 8), torch.rand(64, 64, 3)
    data = cache.Encoded(latents, (rows[1],), (0, 0), rows[0], lambda _: hint)
    settings = loop.Settings(steps=2, batch_size=2, precision="fp32", learning_rate=1e-3)
    net = nets.trainable_net(nets.create_weights(model), model, cpu)
    trainer = loop.Trainer(
        nets.frozen_base(model, cpu, torch.float32), net, base.model_sampling, data, settings, cpu
    )
    draw, hints = trainer.read(0)
    text = data.prompts(draw.rows, draw.drops)
    x = objective.add_noise(base.model_sampling, latents, draw.noise, trainer.sigmas[draw.levels])
    sigmas = trainer.sigmas[draw.levels]
    with torch.no_grad():
        output = trainer.predict(x, sigmas, hints, text.context, text.y)
        scaled = base.model_sampling.calculate_input(sigmas, x)
        timesteps = base.model_sampling.timestep(sigmas).float()
        expected = base.diffusion_model(scaled, timesteps, context=text.context, y=text.y)
        assert output.equal(expected)
    for _ in range(2):
        trainer.advance()
    trainer.close()
    assert len(trainer.history.norms[0]) == 10  # nine skips and the middle
    assert all(value > 0 for value in trainer.history.norms[0])


class Size:
    width, height = 64, 64


class Words:
    """A CLIP with random features, as SDXL's: one for the tokens, one for the whole prompt."""

    def tokenize(self, prompt):
        return prompt

    def encode_from_tokens_scheduled(self, tokens):
        generator = torch.Generator().manual_seed(len(tokens))
        return [
            [
                torch.randn(1, 77, 64, generator=generator),
                {"pooled_output": torch.randn(1, 64, generator=generator)},
            ]
        ]


def test_prompts_of_several_lengths_share_a_batch(eight):
    from pack.training.cache import Text, batch_texts

    short, long = Text(torch.randn(1, 77, 8)), Text(torch.randn(1, 154, 8))
    both = batch_texts([short, long]).context
    assert both.shape == (2, 154, 8)
    assert both[0, :77].equal(both[0, 77:])
    assert both[1].equal(long.context[0])


def test_a_killed_training_is_resumed(host, tmp_path):
    """Kill a process after its third checkpoint; the next resumes it to the same weights."""
    from . import killed

    script = str(Path(killed.__file__))
    ended = subprocess.run(
        [sys.executable, script, str(tmp_path / "run.safetensors"), "3"],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ended.returncode == -9, ended.stderr
    for name, steps in (("run", 3), ("whole", 0)):
        resumed = killed.train(tmp_path / f"{name}.safetensors", steps=5)
        assert resumed == steps
    from pack.training.checkpoint_files import read

    first, second = (read(tmp_path / f"{name}.safetensors")[0] for name in ("whole", "run"))
    assert first.keys() == second.keys()
    assert same(first, second)


def test_float32_needs_no_autocast(host):
    """DirectML's device, which torch calls privateuseone, refuses autocast even where it is off."""
    from pack.training import loop

    with pytest.raises((AssertionError, RuntimeError)), torch.autocast("privateuseone"):
        pass
    with loop.precision("privateuseone", torch.float32):
        assert not torch.is_autocast_enabled("cpu")
    with loop.precision("cpu", torch.bfloat16):
        assert torch.is_autocast_enabled("cpu")
