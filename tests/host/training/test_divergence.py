"""Test that a training which diverges, or cannot be written, costs nothing that was learned."""

from __future__ import annotations

import pytest
import torch

from .conftest import OLDER, checkpoint, discs, same, steps_in

pytestmark = [
    pytest.mark.slow,  # --quick runs only the cases marked quick
    pytest.mark.skipif(OLDER, reason="the loop and its files are the same on all hosts"),
]


def test_a_loss_that_is_not_finite_ends_the_training(studio, monkeypatch):
    """Leave the last checkpoint as it was: what led to the loss is not what was learned."""
    from pack.training.loop import Trainer

    real = Trainer.loss

    def loss(self, *batch):
        return real(self, *batch) * (float("nan") if self.step == 3 else 1)

    def train(**settings):
        data = studio.dataset(*discs(2))
        studio.train(studio.create(), data, steps=5, checkpoint="burst", **settings)

    monkeypatch.setattr(Trainer, "loss", loss)
    with pytest.raises(
        ValueError,
        match=r"loss is nan at step 4. Lower learning_rate \(now 0.001\).*"
        r"burst.safetensors is as it was after step 2: queue again to continue",
    ) as raised:
        train(checkpoint_every=2)
    assert "fp32" not in str(raised.value)  # it is chosen already
    assert steps_in("burst") == 2
    before = checkpoint("burst").read_bytes()
    monkeypatch.setattr(Trainer, "loss", lambda self, *batch: real(self, *batch) * float("inf"))
    with pytest.raises(ValueError, match=r"loss is inf at step 3.*burst.safetensors itself"):
        train()
    assert checkpoint("burst").read_bytes() == before
    monkeypatch.undo()
    train()
    assert steps_in("burst") == 5


def test_a_diverging_training_never_costs_its_checkpoint(studio):
    """Choose a rate that explodes: the file stays one that a smaller rate continues."""
    data, net = studio.dataset(*discs(2)), studio.create()
    name, options = "explodes", {"max_grad_norm": 0.0, "checkpoint": "explodes"}
    studio.train(net, data, steps=2, **options)
    with pytest.raises(ValueError, match=r"(loss|gradient) is (nan|inf)") as raised:
        studio.train(net, data, steps=60, learning_rate=1.0, weight_decay=1.0, **options)
    assert "set max_grad_norm to 1" in str(raised.value)
    assert steps_in(name) == 2
    studio.train(net, data, steps=3, learning_rate=1e-4, checkpoint=name)
    assert steps_in(name) == 3


def test_weights_that_are_not_finite_replace_no_checkpoint(studio, monkeypatch, caplog):
    from pack.training.loop import Trainer

    real = Trainer.advance

    def advance(self):
        loss = real(self)
        if self.step == 3:
            next(iter(self.named.values())).data.fill_(float("nan"))
        return loss

    monkeypatch.setattr(Trainer, "advance", advance)
    studio.train(
        studio.create(), studio.dataset(*discs(2)), steps=3, checkpoint="torn", checkpoint_every=2
    )
    assert "is not finite after step 3" in caplog.text
    assert steps_in("torn") == 2


def test_the_checkpoint_before_the_last_is_there(studio):
    """Keep one older state, from which training continues under the checkpoint's name."""
    from pack.training.checkpoint_files import read

    data, net = studio.dataset(*discs(2)), studio.create()
    studio.train(net, data, steps=4, checkpoint="two", checkpoint_every=2)
    assert (steps_in("two"), steps_in("two.old")) == (4, 2)
    last = read(checkpoint("two"))[0]
    checkpoint("two.old").replace(checkpoint("two"))
    studio.train(net, data, steps=4, checkpoint="two")
    assert same(last, read(checkpoint("two"))[0])


def test_gradients_are_clipped_as_torch_does(studio, eight):
    """Compare with clip_grad_norm_ on the same gradients; 0 leaves them alone."""
    for limit in (1e-3, 0.0):
        trainer = studio.trainer(studio.create(), eight, max_grad_norm=limit)
        trainer.loss(*trainer.batch(0)).backward()
        values = [value for value in trainer.named.values() if value.grad is not None]
        expected = [value.grad.clone() for value in values]
        norm = torch.cat([gradient.flatten() for gradient in expected]).norm()
        assert trainer._clip() == pytest.approx(float(norm), rel=1e-5)
        scale = limit / float(norm) if limit else 1.0
        assert scale <= 1
        for value, gradient in zip(values, expected, strict=True):
            assert torch.allclose(value.grad, gradient * scale, rtol=1e-5, atol=0)
        trainer.close()


@pytest.mark.quick
def test_the_rate_rises_over_the_warm_up(studio, eight):
    """Five steps of warm-up: a fifth of the rate first, all of it from the fifth on."""
    trainer = studio.trainer(studio.create(), eight, warmup_steps=5, learning_rate=1e-3)
    rates = []
    for _ in range(6):
        trainer.advance()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    trainer.close()
    assert rates == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3, 1e-3])


def test_the_validation_picture_has_the_guidance_that_was_chosen(studio):
    """At guidance 1 the empty prompt does not count: the picture is another one than at 7."""
    data, net = studio.dataset(*discs(2)), studio.create()
    shown = [
        studio.train(net, data, steps=1, validate_every=1, guidance=guidance)[3]
        for guidance in (7.0, 7.0, 1.0)
    ]
    assert shown[0].equal(shown[1])
    assert not shown[0].equal(shown[2])


def test_a_checkpoint_with_more_steps_than_asked_for_is_said(studio, caplog):
    import logging

    data, net = studio.dataset(*discs(2)), studio.create()
    studio.train(net, data, steps=3, checkpoint="ahead")
    with caplog.at_level(logging.INFO):
        result = studio.train(net, data, steps=2, checkpoint="ahead")[0]
    assert result.controlstack_training["controlstack.steps"] == "3"
    assert "ahead.safetensors has 3 steps already, more than the 2 asked for" in caplog.text


def test_a_disk_without_room_for_a_checkpoint_is_refused_before_the_first_step(studio, monkeypatch):
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    data, net = studio.dataset(*discs(2)), studio.create()
    with pytest.raises(OSError, match=r"roomy.safetensors needs \d+ MB, 10 MB are free"):
        studio.train(net, data, steps=1, checkpoint="roomy")
    studio.train(net, data, steps=1)  # without a checkpoint there is nothing to write


@pytest.mark.parametrize(
    ("part", "sentence"),
    [("vae", r"vae: expected finite latents.*for picture 1"), ("clip", r"clip: .*prompt 'a disc'")],
)
def test_encoders_that_overflow_are_named(studio, part, sentence):
    """Do not blame the learning rate for a VAE or a text encoder that gives NaN."""

    class Overflowing:
        def __init__(self, real):
            self.real = real

        def __getattr__(self, name):
            return getattr(self.real, name)

        def encode(self, pictures):
            latents = self.real.encode(pictures)
            latents[1, 0, 0, 0] = float("nan")
            return latents

        def encode_from_tokens_scheduled(self, tokens):
            (context, extras), *_ = self.real.encode_from_tokens_scheduled(tokens)
            broken = context.clone()
            if len({token for token, _ in tokens["l"][0]}) > 2:  # not the empty prompt
                broken[0, 3] = float("inf")
            return [(broken, extras)]

    broken = {**vars(studio), part: Overflowing(getattr(studio, part))}
    with pytest.raises(ValueError, match=sentence):
        type(studio)(**broken).train(studio.create(), studio.dataset(*discs(3)), steps=1)
