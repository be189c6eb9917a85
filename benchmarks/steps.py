"""Time sampler steps: our stack against ComfyUI's chain of ControlNetApplyAdvanced nodes.

Both have the same nets, prompts and hints. Speed exact gives ComfyUI's own image, fast differs by
rounding, approximate more. Mode cond_only is compared with two chains: the balanced one, which most
workflows use, and control on the positive prompt alone, which gives the same image. Counts are of
one run. A run is whole, its first steps included, in which nothing is reused or run together. Then
one net each on a base shaped as Flux, Qwen-Image and Z-Image, in their real widths with few blocks.
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from . import timing, transformer_bases

NETS = {"tiny": (1, 2, 3, 5), "full": (1, 2, 3)}
DISTINCT_NETS = 3
"""Nets in memory; a chain's fourth and fifth are the first two again, with other hints."""
STEPS = 20
"""What people sample: of fewer, the first fifth and the last step would be too large a part."""
REPEATS = {"tiny": 9, "full": 2}
LATENT = {"tiny": (16, 16), "full": (16, 16)}
NAMES = {"tiny": "tiny family", "full": "SD1.5 shapes"}
_PEAK_KB = re.compile(r"VmHWM:\s+(\d+)")
POSITIVE_ONLY = "cond_only / positive only"
RIVALS: dict[str, dict[str, Any]] = {
    "exact": {},
    "fast": {"speed": "fast"},
    "approximate 2": {"speed": "approximate"},
    "approximate 3": {"speed": "approximate", "reuse": 3},
    "approximate 2 shared": {"speed": "approximate", "share_prompts": True},
    "cond_only": {"mode": "cond_only"},
}
"""Ways to apply a stack: settings of Apply, and the mode of each unit."""
LIMITS = {
    "exact": 1.0,
    "fast": 0.95,
    "approximate 2": 0.8,
    "approximate 3": 0.7,
    "approximate 2 shared": 0.66,
    "cond_only": 0.75,
    "fast, one net": 0.8,
}
"""The ratio that a way should reach with three nets, or with one net for three hints."""
HEAD = (
    "model, nets, way",
    "ComfyUI ms/step",
    "ours ms/step",
    "ratio",
    "limit",
    "largest difference",
    "hints",
    "unet",
    "memory MB",
)
TRANSFORMER_HEAD = (
    "model, nets, mode",
    *HEAD[1:4],
    "largest difference",
    "encoded",
    "net rows",
    HEAD[-1],
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

    def our_chain(
        self, nets: int, mode: str = "balanced", **apply: Any
    ) -> tuple[list[Any], list[Any]]:
        from pack.nodes.apply import Add, Apply

        stack = None
        for net, hint in self.units(nets):
            stack = Add.execute(net, hint, stack, strength=0.8, mode=mode)[0]
        out = Apply.execute(self.positive, stack, self.negative, **apply)
        return out[0], out[1]

    def sample(self, chain: tuple[list[Any], list[Any]], steps: int = 0) -> torch.Tensor:
        import nodes

        latent = {"samples": torch.zeros(1, 4, *LATENT[self.size])}
        settings = (7, steps or STEPS, 7.0, "euler", "normal")
        (result,) = nodes.common_ksampler(self.model, *settings, *chain, latent)
        return result["samples"]


def run(args: argparse.Namespace) -> None:
    """Print the tables; `args.quick` leaves out the full size and most repetitions."""
    import comfy.utils

    comfy.utils.PROGRESS_BAR_ENABLED = False
    for size in args.shapes or (("tiny",) if args.quick else ("tiny", "full")):
        bench = bench_of(size)
        for count in args.nets or NETS[size]:
            print(f"... {NAMES[size]}, {count} nets", file=sys.stderr, flush=True)
            repeats = args.repeats or (3 if args.quick else REPEATS[size])
            print(timing.table(HEAD, _rows(bench, count, repeats, args.device)), flush=True)
        del bench
        gc.collect()
    if args.shapes:
        return
    rows = []
    for name in transformer_bases.BUILDERS:
        print(f"... {name}", file=sys.stderr, flush=True)
        rows += _transformer_rows(name, is_small=args.quick, device=args.device)
        gc.collect()
    print(timing.table(TRANSFORMER_HEAD, rows), flush=True)


def _transformer_rows(name: str, *, is_small: bool, device: str) -> list[tuple[Any, ...]]:
    """Measure one net on a transformer in both modes against ComfyUI's node.

    Of cond_only, which ComfyUI's nodes do not have, the difference says how much it changes.
    """
    bench = transformer_bases.bench_of(name, is_small=is_small)
    theirs, rows = bench.host_chain(), list[tuple[Any, ...]]()
    for mode in ("balanced", "cond_only"):
        ours = bench.our_chain(mode)
        rivals = (partial(bench.sample, chain) for chain in (ours, theirs))
        took = timing.paired(*rivals, 5 if is_small else 3, warm_up=1)
        counts = [_counted_transformer(bench, chain, device) for chain in (ours, theirs)]
        difference = (bench.sample(ours) - bench.sample(theirs)).abs().max().item()
        rows.append(
            (
                f"{name}{' (tiny)' if is_small else '-shaped'}, 1, {mode}",
                f"{took.reference_ms.median / transformer_bases.STEPS:.1f}",
                f"{took.ours_ms.median / transformer_bases.STEPS:.1f}",
                took.ratio,
                f"{difference:.1g}",
                *(f"{mine}/{host}" for mine, host in zip(*counts, strict=True)),
            )
        )
    return rows


def _counted_transformer(
    bench: transformer_bases.TransformerBench, chain: Any, device: str
) -> tuple[int, int, str]:
    """Count hints that the VAE encodes and rows of the net in one run, and its peak memory."""
    rows = [0]

    def count(_module: Any, args: Any, kwargs: Any) -> None:
        tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)]
        rows[0] += max(each.shape[0] for each in tensors if each.ndim == 3)

    hook = bench.first.register_forward_pre_hook(count, with_kwargs=True)
    bench.base.vae.encodes = 0
    with peak_memory_mb(device) as peak:
        bench.sample(chain)
    hook.remove()
    return bench.base.vae.encodes, rows[0], peak()


def bench_of(size: str) -> Bench:
    from workbench import tiny

    patcher, net = {
        "tiny": (tiny.model_patcher, tiny.control_net),
        "full": (tiny.full_model_patcher, tiny.full_control_net),
    }[size]
    prompts = [tiny.conditioning(seed, size=size) for seed in (1, 2)]
    return Bench(size, patcher(), [net(10 + i) for i in range(DISTINCT_NETS)], *prompts)


def _rows(bench: Bench, nets: int, repeats: int, device: str) -> list[tuple[Any, ...]]:
    """Measure every way against ComfyUI's balanced chain, in turn.

    With three nets also one net with three hints. The tiny family also measures cond_only against
    the chain that gives the same image.
    """
    host, alone = bench.host_chain(nets), bench.host_chain(nets, positive_only=True)
    rivals = {name: bench.our_chain(nets, **settings) for name, settings in RIVALS.items()}
    same_image = {"cond_only": alone} if bench.size == "tiny" else {}
    rows = _table(bench, nets, rivals, host, repeats, device, same_image)
    if nets == DISTINCT_NETS:
        one = replace(bench, nets=bench.nets[:1])
        rivals = {"fast, one net": one.our_chain(nets, speed="fast")}
        rows += _table(one, nets, rivals, one.host_chain(nets), repeats, device, {})
    if bench.size == "tiny":
        rivals = {POSITIVE_ONLY: bench.our_chain(nets, "cond_only")}
        rows += _table(bench, nets, rivals, alone, repeats, device, {})
    return rows


def _table(
    bench: Bench,
    nets: int,
    rivals: dict[str, Any],
    host: Any,
    repeats: int,
    device: str,
    same_image: dict[str, Any],
) -> list[tuple[Any, ...]]:
    """Measure chains of ours against the `host`'s.

    `same_image`: other chains of ComfyUI's that should give the same image as a rival; the rows
    have the largest difference from it, over the largest value.
    """
    seen: dict[str, tuple[Any, ...]] = {}

    def watched(name: str, chain: Any) -> None:
        began = time.perf_counter()
        seen[name] = _counted(bench, chain, device)
        if bench.size == "full":  # a row takes long: whoever stops it has these
            took_s = time.perf_counter() - began
            print(f"    {name or 'ComfyUI'}: {took_s:.1f} s", file=sys.stderr, flush=True)

    works = {name: partial(watched, name, chain) for name, chain in rivals.items()}
    warm_up = 1 if bench.size == "tiny" else 0  # a run of the full size takes a minute
    took = timing.in_turn(works, partial(watched, "", host), repeats, warm_up=warm_up)
    *theirs, host_image = seen[""]
    images = {name: bench.sample(chain) for name, chain in same_image.items()}
    rows: list[tuple[Any, ...]] = []
    for name in rivals:
        *counts, ours = seen[name]
        image = images.get(name, host_image)
        difference = (ours - image).abs().max() / image.abs().max()
        limit = LIMITS.get(name) if nets == DISTINCT_NETS else None
        reached = "met" if limit and took[name].ratio.median <= limit else "MISSED"
        rows.append(
            (
                f"{NAMES[bench.size]}, {nets}, {name}",
                f"{took[name].reference_ms.median / STEPS:.1f}",
                f"{took[name].ours_ms.median / STEPS:.1f}",
                took[name].ratio,
                f"{limit:.2f} {reached}" if limit else "",
                f"{difference.item():.1g}",
                *(f"{a}/{b}" for a, b in zip(counts, theirs, strict=True)),
            )
        )
    return rows


def _counted(bench: Bench, chain: Any, device: str) -> tuple[int, int, str, torch.Tensor]:
    """Count hint encodings and UNet calls of one run, and measure its peak memory in MB.

    The last is the latent.
    """
    calls = {"hint": 0, "unet": 0}

    def count(kind: str, *_: Any) -> None:
        calls[kind] += 1

    encoders = [net.control_model.input_hint_block[0] for net in bench.nets]
    hooks = [encoder.register_forward_pre_hook(partial(count, "hint")) for encoder in encoders]
    hooks.append(
        bench.model.model.diffusion_model.register_forward_pre_hook(partial(count, "unet"))
    )
    with peak_memory_mb(device) as peak:
        image = bench.sample(chain)
    for hook in hooks:
        hook.remove()
    return calls["hint"], calls["unet"], peak(), image


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
