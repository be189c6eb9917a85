"""Time sampler steps: our stack against ComfyUI's chain of ControlNetApplyAdvanced nodes.

Both have the same nets, prompts and hints. Mode balanced gives ComfyUI's own image. Mode cond_only
is compared with two chains: the balanced one, which most workflows use, and control on the positive
prompt alone, which gives the same image. Counts are of one run.
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from . import timing

NETS = (1, 2, 3, 5)
DISTINCT_NETS = 3
"""Nets in memory; a chain's fourth and fifth are the first two again, with other hints."""
STEPS = {"tiny": 8, "full": 2}
REPEATS = {"tiny": 15, "full": 3}
LATENT = {"tiny": (16, 16), "full": (16, 16)}
NAMES = {"tiny": "tiny family", "full": "SD1.5 shapes"}
_PEAK_KB = re.compile(r"VmHWM:\s+(\d+)")
POSITIVE_ONLY = "cond_only / positive only"
HEAD = (
    "model, nets, mode",
    "ComfyUI ms/step",
    "ours ms/step",
    "ratio",
    "largest difference",
    "hints",
    "unet",
    "memory MB",
)


@dataclass(frozen=True)
class Bench:
    """One model with its nets and prompts, and how a chain on them is sampled."""

    size: str
    model: Any
    nets: list[Any]
    positive: list[Any]
    negative: list[Any]

    def units(self, nets: int) -> list[tuple[Any, torch.Tensor]]:
        """Return a net and a hint, (1,H,W,3), for each member of a chain."""
        height, width = (8 * side for side in LATENT[self.size])
        seeds = [torch.Generator().manual_seed(i) for i in range(nets)]
        hints = [torch.rand(1, height, width, 3, generator=seed) for seed in seeds]
        return [(self.nets[i % len(self.nets)], hint) for i, hint in enumerate(hints)]

    def host_chain(self, nets: int, *, positive_only: bool = False) -> tuple[list[Any], list[Any]]:
        import nodes

        positive, negative = self.positive, [] if positive_only else self.negative
        for net, hint in self.units(nets):
            apply = nodes.ControlNetApplyAdvanced().apply_controlnet
            positive, negative = apply(positive, negative, net, hint, 0.8, 0.0, 1.0)
        return positive, self.negative if positive_only else negative

    def our_chain(self, nets: int, mode: str) -> tuple[list[Any], list[Any]]:
        from pack.nodes.apply import Add, Apply

        stack = None
        for net, hint in self.units(nets):
            stack = Add.execute(net, hint, stack, strength=0.8, mode=mode)[0]
        out = Apply.execute(self.positive, stack, self.negative)
        return out[0], out[1]

    def sample(self, chain: tuple[list[Any], list[Any]]) -> torch.Tensor:
        import nodes

        latent = {"samples": torch.zeros(1, 4, *LATENT[self.size])}
        settings = (7, STEPS[self.size], 7.0, "euler", "normal")
        (result,) = nodes.common_ksampler(self.model, *settings, *chain, latent)
        return result["samples"]


def run(args: argparse.Namespace) -> None:
    """Print the tables; `args.quick` leaves out the full size and most repetitions."""
    import comfy.utils

    comfy.utils.PROGRESS_BAR_ENABLED = False
    for size in ("tiny",) if args.quick else ("tiny", "full"):
        bench, rows = bench_of(size), []
        for nets in NETS:
            print(f"... {NAMES[size]}, {nets} of {NETS[-1]} nets", file=sys.stderr, flush=True)
            rows += _rows(bench, nets, 5 if args.quick else REPEATS[size], args.device)
        print(timing.table(HEAD, rows), flush=True)
        del bench
        gc.collect()


def bench_of(size: str) -> Bench:
    from workbench import tiny

    patcher, net = {
        "tiny": (tiny.model_patcher, tiny.control_net),
        "full": (tiny.full_model_patcher, tiny.full_control_net),
    }[size]
    prompts = [tiny.conditioning(seed, size=size) for seed in (1, 2)]
    return Bench(size, patcher(), [net(10 + i) for i in range(DISTINCT_NETS)], *prompts)


def _rows(bench: Bench, nets: int, repeats: int, device: str) -> list[tuple[Any, ...]]:
    """Measure balanced and cond_only against ComfyUI's balanced chain.

    The tiny family also measures cond_only against the chain that gives the same image.
    """
    host, alone = bench.host_chain(nets), bench.host_chain(nets, positive_only=True)
    balanced, cond_only = (bench.our_chain(nets, mode) for mode in ("balanced", "cond_only"))
    rivals = {
        "balanced": (balanced, host, host),
        "cond_only": (cond_only, host, alone),
        POSITIVE_ONLY: (cond_only, alone, alone),
    }
    if bench.size == "full":
        del rivals[POSITIVE_ONLY]  # takes a minute each
    return [
        _row(bench, f"{NAMES[bench.size]}, {nets}, {name}", *chains, repeats, device)
        for name, chains in rivals.items()
    ]


def _row(
    bench: Bench, name: str, ours: Any, theirs: Any, same_image: Any, repeats: int, device: str
) -> tuple[Any, ...]:
    """Measure one chain of ours against `theirs`.

    `same_image` is ComfyUI's chain that should give the same image; the row has the largest
    difference from it.
    """
    took = timing.paired(
        partial(bench.sample, ours), partial(bench.sample, theirs), repeats, warm_up=1
    )
    steps = STEPS[bench.size]
    mine, host = (_counted(bench, chain, device) for chain in (ours, theirs))
    difference = (bench.sample(ours) - bench.sample(same_image)).abs().max().item()
    return (
        name,
        f"{took.reference_ms.median / steps:.1f}",
        f"{took.ours_ms.median / steps:.1f}",
        took.ratio,
        f"{difference:.1g}",
        *(f"{a}/{b}" for a, b in zip(mine, host, strict=True)),
    )


def _counted(bench: Bench, chain: Any, device: str) -> tuple[int, int, str]:
    """Count hint encodings and UNet calls of one run, and measure its peak memory in MB."""
    calls = {"hint": 0, "unet": 0}

    def count(kind: str, *_: Any) -> None:
        calls[kind] += 1

    encoders = [net.control_model.input_hint_block[0] for net in bench.nets]
    hooks = [encoder.register_forward_pre_hook(partial(count, "hint")) for encoder in encoders]
    hooks.append(
        bench.model.model.diffusion_model.register_forward_pre_hook(partial(count, "unet"))
    )
    with peak_memory_mb(device) as peak:
        bench.sample(chain)
    for hook in hooks:
        hook.remove()
    return calls["hint"], calls["unet"], peak()


@contextmanager
def peak_memory_mb(device: str):
    """Measure peak memory; yields a function that returns the peak since entry, as text.

    It is the peak of the GPU's allocator or, on the CPU under Linux, of the whole process;
    elsewhere it is "?".
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield lambda: f"{torch.cuda.max_memory_allocated() / 2**20:.0f}"
        return
    reset: Callable[[], object] = partial(Path("/proc/self/clear_refs").write_text, "5")
    try:
        reset()
    except OSError:
        yield lambda: "?"
        return
    yield lambda: f"{int(_PEAK_KB.findall(Path('/proc/self/status').read_text())[0]) / 1024:.0f}"
