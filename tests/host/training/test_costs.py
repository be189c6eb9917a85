"""Compare the costs of training with a plain torch loop over ComfyUI's own modules."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from workbench import inprocess, plain_loop

from .conftest import one_thread

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def large():
    """Return one pair at 256 pixels: activations outweigh weights, as at full size with a batch."""
    from pack.training.cache import Encoded, Text

    generator = torch.Generator().manual_seed(2)
    latents, hints = (
        torch.randn(1, 4, 32, 32, generator=generator),
        torch.rand(1, 256, 256, 3, generator=generator),
    )
    text = Text(torch.randn(1, 77, 64, generator=generator))
    return Encoded(latents, (text,), (0,), text, lambda row: hints[row])


@pytest.fixture
def rivals(studio):
    """Return makers of our loop and the plain one, on the same net, batches and settings."""
    from pack.training import nets
    from workbench import tiny

    model = tiny.model_patcher()  # the plain loop needs weights that are not inference tensors
    net = nets.as_control(nets.create_weights(model), model, "new")
    own_studio = type(studio)(model, studio.clip, studio.vae)
    trainers = []

    def ours(data, batch, **options):
        settings = {"batch_size": batch, "weight_decay": 0.01, "learning_rate": 1e-4, **options}
        trainers.append(own_studio.trainer(net, data, **settings))
        return trainers[-1]

    yield (
        ours,
        lambda data, batch: plain_loop.PlainLoop(
            model, nets.create_weights(model), ours(data, batch)
        ),
    )
    for trainer in trainers:
        trainer.close()


def test_the_plain_loop_learns_the_same(rivals, eight):
    """Compare losses step by step: both loops do the same work."""
    ours, plain = (make(eight, 2) for make in rivals)
    for _ in range(3):
        assert ours.advance() == pytest.approx(plain.advance(), rel=1e-4)


@pytest.mark.alone
@pytest.mark.slow
def test_memory_beside_a_plain_loop(rivals, large):
    """Take at most 1.1 times the memory."""
    if not plain_loop.STATUS.exists():
        pytest.skip("memory is measured with Linux's /proc")
    ours, plain = rivals
    _, theirs, mine = (
        plain_loop.peak_mb(partial(make, large, 1)) for make in (plain, plain, ours)
    )  # one warms up
    assert mine < 1.1 * theirs, f"{mine:.0f} MB, a plain loop {theirs:.0f} MB"


def remembered_mb(trainer):
    """Return what one forward pass keeps for the backward one, without the weights."""
    weights = {value.untyped_storage().data_ptr() for value in trainer.named.values()}
    saved = {}

    def save(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        loss = trainer.loss(*trainer.read(0))
    del loss
    return (
        sum(value.untyped_storage().nbytes() for key, value in saved.items() if key not in weights)
        / 2**20
    )


@pytest.mark.quick
def test_gradient_checkpointing_remembers_less(rivals, large):
    mine, saving = (
        remembered_mb(rivals[0](large, 1, gradient_checkpointing=on)) for on in (False, True)
    )
    assert saving < 0.3 * mine, (
        f"{saving:.1f} MB with gradient checkpointing, {mine:.1f} MB without"
    )


@pytest.mark.alone
@pytest.mark.slow
def test_time_beside_a_plain_loop(rivals, eight):
    """Guard against blunders alone, as other work may load the cores.

    `python3 benchmarks training` measures the ratio. The best of three rounds on one thread counts:
    threads that wait for a busy core say nothing about the loop.
    """
    inprocess.load_package(ROOT / "benchmarks", "benchmarks")
    from benchmarks.timing import paired

    mine, theirs = (make(eight, 4) for make in rivals)
    rounds = []
    with one_thread():
        for _ in range(3):
            rounds.append(paired(mine.advance, theirs.advance, repeats=9).ratio)
            if rounds[-1].median < 1.4:
                return
    pytest.fail(f"{', '.join(map(str, rounds))} times the time of a plain loop")
