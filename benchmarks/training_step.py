"""Time training steps: our loop against a plain torch loop over ComfyUI's own modules.

Both train the same net on the same batches. Without gradient checkpointing both do the same work;
with it, ours trades time for memory. Memory is the peak of two steps beyond what the process used
before the loop was built.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from workbench import plain_loop

from . import timing

CASES = {  # size of the model, side in px, batch, repeats
    "tiny family, 64 px, batch 8": ("tiny", 64, 8, 15),
    "tiny family, 256 px, batch 2": ("tiny", 256, 2, 7),
    "SD1.5 shapes, 128 px, batch 1": ("full", 128, 1, 3),
}
HEAD = (
    "model, pictures",
    "plain ms/step",
    "ours ms/step",
    "ratio",
    "plain MB",
    "ours MB",
    "checkpointed ms",
    "MB",
)


def run(args: argparse.Namespace) -> None:
    """Print the table; `args.quick` leaves out the full size and most repetitions."""
    if args.device != "cpu":
        print("This section runs on the CPU only: leave out --device cuda.")
        return
    rows = []
    for name, (size, side, batch, repeats) in CASES.items():
        if args.quick and size == "full":
            continue
        print(f"... {name}", file=sys.stderr, flush=True)
        rows.append((name, *_row(Rivals(size, side, batch), 3 if args.quick else repeats)))
        gc.collect()
    print(timing.table(HEAD, rows), flush=True)


class Rivals:
    """Both loops of one case, on the same weights and data."""

    def __init__(self, size: str, side: int, batch: int) -> None:
        from pack.training import nets
        from pack.training.cache import Encoded, Text
        from workbench import tiny

        self.model = {"tiny": tiny.model_patcher, "full": tiny.full_model_patcher}[size]()
        self.weights, self.batch = nets.create_weights(self.model), batch
        generator = torch.Generator().manual_seed(2)
        latents = torch.randn(batch, 4, side // 8, side // 8, generator=generator)
        hints = torch.rand(batch, side, side, 3, generator=generator)
        text = Text(torch.randn(1, 77, tiny.CONTEXT[size], generator=generator))
        self.data = Encoded(latents, (text,), (0,) * batch, text, lambda row: hints[row])

    def ours(self, *, checkpointing: bool = False) -> Any:
        from pack.training import loop, nets

        settings = loop.Settings(
            batch_size=self.batch, precision="fp32", gradient_checkpointing=checkpointing
        )
        device = torch.device("cpu")
        base = nets.frozen_base(self.model, device, torch.float32)
        net = nets.trainable_net(self.weights, self.model, device)
        return loop.Trainer(
            base, net, self.model.get_model_object("model_sampling"), self.data, settings, device
        )

    def plain(self) -> Any:
        return plain_loop.PlainLoop(self.model, self.weights, self.ours())


def _row(rivals: Rivals, repeats: int) -> tuple[str, ...]:
    checkpointed = partial(rivals.ours, checkpointing=True)
    makers = (rivals.plain, rivals.ours, checkpointed)
    _peak_mb(rivals.plain)  # warm-up: the first step of a process allocates more
    plain_mb, ours_mb, saved_mb = (_peak_mb(make) for make in makers)
    plain, ours = rivals.plain(), rivals.ours()
    took = timing.paired(ours.advance, plain.advance, repeats, warm_up=1)
    del plain
    saving = checkpointed()
    beside = timing.paired(saving.advance, ours.advance, max(2, repeats // 2), warm_up=1)
    milliseconds = f"{took.reference_ms.median:.0f}", f"{took.ours_ms.median:.0f}"
    return (
        *milliseconds,
        str(took.ratio),
        plain_mb,
        ours_mb,
        f"{beside.ours_ms.median:.0f}",
        saved_mb,
    )


def _peak_mb(make: Callable[[], Any]) -> str:
    return f"{plain_loop.peak_mb(make):.0f}" if plain_loop.STATUS.exists() else "?"
