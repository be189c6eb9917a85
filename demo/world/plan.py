"""List the stages of training the drawn world, with what each costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """A part of the training. `seconds` is the measured time of a step on one thread."""

    name: str
    kind: str
    steps: int
    seconds: float
    rate: float = 0.0
    """Learning rate; it rises over `warm_up` steps and falls to zero over the last `fall`."""
    batches: Mapping[int, int] = field(default_factory=dict[int, int])
    """Rows of a batch for each size in pixels; several sizes take turns."""
    begins_with: str = ""
    """The stage whose weights this one begins with."""
    data: Sequence[str] = ()
    """The stages that drew its pictures."""
    hint: str = ""
    warm_up: int = 100
    fall: float = 0.3


PER_SHARD = 128
"""Pictures in a file; a drawing stage counts files as its steps."""


def _net(hint: str, size: int, steps: int, seconds: float, rate: float, begins: str) -> Stage:
    batches = {64: {64: 32}, 128: {128: 16}, 256: {128: 16, 256: 8}}[size]
    drawn = tuple(f"draw-{px}" for px in batches)
    common = {"begins_with": begins, "data": drawn, "hint": hint, "warm_up": 50}
    return Stage(f"{hint}-{size}", "net", steps, seconds, rate, batches, **common)


STAGES = (
    Stage("codec-small", "codec", 3000, 0.08, 2e-3, {32: 16}, fall=0.1),
    Stage("codec", "codec", 7000, 0.2, 3e-3, {64: 16}, "codec-small"),
    Stage("reader", "reader", 1200, 0.16, 2e-3, {128: 4}),
    Stage("draw-shapes", "draw", 24, 0.3, batches={64: PER_SHARD}),
    Stage("draw-64", "draw", 80, 0.4, batches={64: PER_SHARD}),
    Stage("draw-128", "draw", 192, 0.9, batches={128: PER_SHARD}),
    Stage("draw-256", "draw", 48, 3.0, batches={256: PER_SHARD}),
    Stage("base-shapes", "base", 200, 0.28, 1.5e-3, {64: 32}, data=("draw-shapes",), fall=0.0),
    Stage("base-64", "base", 1200, 0.28, 1.5e-3, {64: 32}, "base-shapes", ("draw-64",), fall=0.0),
    Stage("base-128", "base", 6000, 0.57, 1e-3, {128: 32}, "base-64", ("draw-128",), fall=0.1),
    Stage(
        "base-256",
        "base",
        1200,
        0.42,
        7e-4,
        {128: 16, 256: 8},
        "base-128",
        ("draw-128", "draw-256"),
    ),
    _net("edges", 64, 600, 0.32, 1e-3, ""),
    Stage("look-64", "look", 1, 30.0, batches={64: 12}),
    _net("edges", 128, 1600, 0.5, 1e-3, "edges-64"),
    Stage("look-128", "look", 1, 40.0, batches={128: 8}),
    _net("edges", 256, 400, 0.6, 5e-4, "edges-128"),
    _net("scribble", 128, 2400, 0.5, 1e-3, "edges-128"),
    _net("scribble", 256, 600, 0.6, 5e-4, "scribble-128"),
    _net("segmentation", 128, 2400, 0.5, 1e-3, "edges-128"),
    _net("segmentation", 256, 600, 0.6, 5e-4, "segmentation-128"),
    _net("depth", 128, 600, 0.5, 1e-3, "edges-128"),
    _net("depth", 256, 300, 0.6, 5e-4, "depth-128"),
    Stage("store", "store", 1, 10.0),
    Stage("look", "look", 1, 300.0, batches={128: 8, 256: 4}),
)


def chosen(names: Sequence[str] | None) -> list[Stage]:
    """Return the stages of these names, or all. Exits with a sentence for a name without one."""
    if names is None:
        return list(STAGES)
    listed = {stage.name: stage for stage in STAGES}
    if unlisted := [name for name in names if name not in listed]:
        raise SystemExit(
            f"--only: expected names of stages, found {', '.join(unlisted)}. There are"
            f" {', '.join(listed)}."
        )
    return [listed[name] for name in names]


def steps_of(stage: Stage, scale: float) -> int:
    """Return how many steps a stage takes at a scale."""
    return max(1, round(stage.steps * scale))


def table(stages: Sequence[Stage], scale: float) -> str:
    """Write the plan: a line for each stage, and the sum of its minutes."""
    lines = [f"{'stage':18} {'steps':>6} {'s a step':>9} {'minutes':>8}"]
    total = 0.0
    for stage in stages:
        minutes = steps_of(stage, scale) * stage.seconds / 60
        total += minutes
        lines.append(
            f"{stage.name:18} {steps_of(stage, scale):6} {stage.seconds:9.2f} {minutes:8.1f}"
        )
    return "\n".join([*lines, f"{'in all':18} {'':6} {'':9} {total:8.1f}"])
