"""What training costs beside a plain torch loop over the host's own modules, in this process."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import pytest
import torch

from workbench import inprocess

ROOT = Path(__file__).resolve().parents[3]
PEAK, NOW = (re.compile(rf"{word}:\s+(\d+)") for word in ("VmHWM", "VmRSS"))
STATUS = Path("/proc/self/status")


@pytest.fixture
def large(studio):
    """Two pairs at 256 pixels: activations weigh more than weights, as at full size with a batch."""
    from pack.training.cache import Encoded, Text

    generator = torch.Generator().manual_seed(2)
    latents, hints = torch.randn(2, 4, 32, 32, generator=generator), torch.rand(2, 256, 256, 3, generator=generator)
    text = Text(torch.randn(1, 77, 64, generator=generator))
    return Encoded(latents, (text,), (0, 0), text, lambda row: hints[row])


@pytest.fixture
def rivals(studio, large):
    """Makers of our loop and the plain one, on the same net, batches and settings."""
    from pack.training import nets
    from workbench import tiny
    from workbench.plain_loop import PlainLoop

    model = tiny.model_patcher()  # the textbook loop wants weights that are no inference tensors
    net = nets.as_control(nets.created(model), model, "new")
    used = type(studio)(model, studio.clip, studio.vae)
    settings = {"batch_size": 2, "weight_decay": 0.01, "learning_rate": 1e-4}
    made = []

    def ours(**more):
        made.append(used.trainer(net, large, **{**settings, **more}))
        return made[-1]

    yield ours, lambda: PlainLoop(model, nets.created(model), ours())
    for trainer in made:
        trainer.close()


def test_the_plain_loop_learns_the_same(rivals):
    """The loops are rivals at the same work: their losses agree from step to step."""
    ours, plain = rivals[0](), rivals[1]()
    for _ in range(3):
        assert ours.advance() == pytest.approx(plain.advance(), rel=1e-4)


def peak_mb(make):
    """Megabytes that three steps take at most, beyond what the process had before the loop was made."""
    gc.collect()
    before = int(NOW.findall(STATUS.read_text())[0])
    loop = make()
    loop.advance()
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(2):
        loop.advance()
    peak = int(PEAK.findall(STATUS.read_text())[0])
    del loop
    return (peak - before) / 1024


@pytest.mark.slow
def test_time_and_memory_beside_a_plain_loop(rivals):
    """At most 1.1 times the memory. Time is guarded against blunders alone; the benchmark of that name measures it."""
    inprocess.load_package(ROOT / "benchmarks", "benchmarks")
    from benchmarks.timing import paired

    ours, plain = rivals
    if not STATUS.exists():
        pytest.skip("memory is told by Linux's /proc")
    for make in (plain, ours):
        peak_mb(make)  # the allocator keeps what it once had: both find it warm
    memory = peak_mb(ours) / peak_mb(plain)
    assert memory < 1.1, f"{memory:.2f} times the memory of a plain loop"
    mine, theirs = ours(), plain()
    took = paired(mine.advance, theirs.advance, repeats=7)
    assert took.ratio.median < 1.5, f"{took.ratio} times the time of a plain loop"
    saving = peak_mb(lambda: ours(gradient_checkpointing=True)) / peak_mb(ours)
    assert saving < 1
