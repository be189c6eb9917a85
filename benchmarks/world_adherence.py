"""Measure whether control acts: how closely pictures of the drawn world follow hints and words.

Everything runs on the stored weights of `demo/weights`, through ComfyUI's loaders and sampler and
this pack's Add and Apply, on held-out scenes. "Shuffled" compares the same pictures with other
pictures' hints; at strength 0 nothing controls. Lines are compared by F1 within 2 px, classes by
the share of equal pixels, depth by Spearman's correlation; beyond the layout that all landscapes
share, classes by their mean recall and depth by its deviations from the mean.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.world import drawn_hints, judge, model_files, sampling
from workbench.world.drawn_hints import NETS
from workbench.world.sampling import STRENGTHS, Unit

from . import timing, world_page

COUNTS = {128: (64, 24), 256: (24, 8)}
"""Held-out pictures of each size: of the table of strengths, and of all other tables."""
QUICK_COUNTS = {128: (8, 4), 256: (4, 2)}
SECONDS = {128: 0.7, 256: 3.2}
"""Of a controlled picture on one free thread."""
BAND_PX = 8
"""On each side of a mask's edge, which one latent pixel blurs: it is not judged."""
HALF_STRENGTH = 0.5
"""Of the tables of modes and layers: at full strength the measures are near their ceiling."""
MORE_GUIDANCE = 5.0
COMPARED = 8
SPEEDS: dict[str, dict[str, Any]] = {
    "exact": {},
    "fast": {"speed": "fast"},
    "approximate, reuse 2": {"speed": "approximate"},
    "approximate, reuse 3": {"speed": "approximate", "reuse": 3},
    "approximate, reuse 2, share_prompts": {"speed": "approximate", "share_prompts": True},
}


def run(args: argparse.Namespace) -> None:
    """Print the tables; with `args.write` write them and pictures into docs/."""
    weights = args.weights or model_files.STORED
    if not (weights / model_files.SUMS).exists():
        print(f"{weights} has no stored models: train them with python3 demo/world first.")
        return
    torch.set_num_threads(1)
    with torch.inference_mode():
        models = sampling.load(weights)
        reader = judge.Judge(model_files.grow(model_files.load(weights / "reader.safetensors")))
        for size in args.sizes or COUNTS:
            exam = Exam(models, reader, size, *(QUICK_COUNTS if args.quick else COUNTS)[size])
            _examine(exam, write=args.write)


def _examine(exam: Exam, *, write: bool) -> None:
    chosen = [theme for theme in THEMES if exam.size in theme.sizes]
    pictures = sum(theme.samplings * exam.count_of(theme) for theme in chosen)
    minutes = pictures * SECONDS[exam.size] / 60
    print(f"\n{exam.size} px: {pictures} pictures, about {minutes:.0f} minutes on one thread")
    blocks = []
    for theme in chosen:
        began = time.monotonic()
        rows = list(theme.rows(exam, exam.count_of(theme)))
        print(f"\n{theme.title}  ({time.monotonic() - began:.0f} s)", flush=True)
        print(timing.table(theme.head, rows), flush=True)
        blocks.append((f"{theme.title}, {exam.size} px", theme.head, rows))
    if write:
        pictures = world_page.write_pictures(exam.size, exam.scenes, exam.sampled, exam.shown)
        world_page.write(f"{exam.size} px", blocks, _caption(exam), pictures)


def _caption(exam: Exam) -> str:
    return (
        f"{exam.count} held-out pictures of {exam.size} × {exam.size} in the first table,"
        f" {exam.few} in the others."
    )


@dataclass
class Exam:
    """The models, the held-out scenes of one size, and what was sampled of them."""

    models: sampling.Models
    judge: judge.Judge
    size: int
    count: int
    few: int
    sampled: dict[tuple[str, float], Tensor] = field(default_factory=dict[Any, Tensor])
    """By net and strength; net "" without control."""
    shown: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Pictures for the page, by name."""

    def __post_init__(self) -> None:
        self.scenes = sampling.held_out(self.count, self.size)
        self.prompts = [scene.prompt for scene in self.scenes]
        self.hints = {net: drawn_hints.hints(net, self.scenes) for net in NETS}
        self.wanted = {net: self.judge.wanted(net, self.scenes) for net in NETS}

    def count_of(self, theme: Theme) -> int:
        """Return how many pictures a table is about."""
        return self.count if theme.of_all else min(self.few, self.count)

    def unit(self, net: str, count: int, **settings: Any) -> Unit:
        """Return a net with the hints of the first scenes."""
        return Unit(net, self.hints[net][:count], settings)

    def sample(self, units: Sequence[Unit], prompts: Sequence[str], **apply: Any) -> Tensor:
        """Sample a picture for each prompt."""
        return self.models.sample(prompts, self.size, units, **apply)

    def at(self, net: str, strength: float) -> Tensor:
        """Sample every scene with one net at a strength, once."""
        key = (net if strength else "", strength)
        if key not in self.sampled:
            units = [self.unit(net, self.count, strength=strength)] if strength else []
            self.sampled[key] = self.sample(units, self.prompts)
        return self.sampled[key]

    def adherence(self, net: str, pictures: Tensor, area: judge.Area = None) -> float:
        """Measure how closely pictures of the first scenes follow their own hints."""
        wanted = self.wanted[net][: len(pictures)]
        return judge.adherence(net, wanted, self.judge.given(net, pictures), area)


@dataclass(frozen=True)
class Theme:
    """A table of the exam: its columns, what gives its rows, and how often that samples."""

    title: str
    head: tuple[str, ...]
    rows: Callable[[Exam, int], Iterator[tuple[str, ...]]]
    samplings: int
    of_all: bool = False
    sizes: tuple[int, ...] = (128,)


def _strengths(exam: Exam, _count: int) -> Iterator[tuple[str, ...]]:
    for net in NETS:
        for strength in STRENGTHS:
            pictures = exam.at(net, strength)
            given = exam.judge.given(net, pictures)
            own, others = exam.wanted[net], np.roll(exam.wanted[net], 1, 0)
            colours = judge.colours_right(exam.scenes, pictures)
            yield (
                f"{net} {strength:g}",
                *(_figure(judge.adherence(net, of, given)) for of in (own, others)),
                *(_figure(judge.beyond_layout(net, of, given, own)) for of in (own, others)),
                _density(net, exam.wanted[net], given),
                *(_figure(share, 2) for share in colours.values()),
            )


def _density(net: str, wanted: Any, given: Any) -> str:
    """Write which share of the pixels are lines, in the picture and in its hint."""
    if net not in drawn_hints.STROKES:
        return ""
    return f"{given.mean():.3f} / {wanted.mean():.3f}"


def _ceilings(exam: Exam, _count: int) -> Iterator[tuple[str, ...]]:
    """Judge the drawn pictures themselves, and as the autoencoder gives them back."""
    drawn = drawn_hints.pictures(exam.scenes)
    vae = exam.models.vae
    again = torch.cat([vae.decode(vae.encode(part)).clamp(0, 1) for part in drawn.split(8)])
    for net in NETS:
        yield net, _figure(exam.adherence(net, drawn)), _figure(exam.adherence(net, again))


def _modes(exam: Exam, count: int) -> Iterator[tuple[str, ...]]:
    """Sample each mode with the scene's own words, and with those of another scene.

    Guidance multiplies what acts on the positive prompt only, so edges have a row at more of it.
    """
    from pack.control.stack import MODES

    for net in NETS:
        for mode in MODES:
            yield _mode(exam, count, net, mode)
    guidance, exam.models.guidance = exam.models.guidance, MORE_GUIDANCE
    for mode in MODES:
        name, *figures = _mode(exam, count, "edges", mode)
        yield (f"{name}, cfg {MORE_GUIDANCE:g}", *figures)
    exam.models.guidance = guidance


def _mode(exam: Exam, count: int, net: str, mode: str) -> tuple[str, ...]:
    scenes = exam.scenes[:count]
    others = [*scenes[1:], scenes[0]]
    units = [exam.unit(net, count, mode=mode, strength=HALF_STRENGTH)]
    own = exam.sample(units, exam.prompts[:count])
    other = exam.sample(units, [scene.prompt for scene in others])
    exam.shown.setdefault(f"{net} {mode}", own[:4])
    return (
        f"{net} {mode}",
        _figure(exam.adherence(net, own)),
        _figure(exam.adherence(net, other)),
        _figure(judge.things_obeyed(exam.judge, others, scenes, other), 2),
    )


SHAPES: dict[str, dict[str, Any]] = {
    "plain, strength 1": {},
    f"plain, strength {HALF_STRENGTH}": {"strength": HALF_STRENGTH},
    f"layers soft 0.825, strength {HALF_STRENGTH}": {
        "layers": "soft 0.825",
        "strength": HALF_STRENGTH,
    },
    "layers soft 0.825": {"layers": "soft 0.825"},
    "layers linear 1..0": {"layers": "linear 1..0"},
    "schedule 0:1, 0.5:0": {"schedule": "0:1, 0.5:0"},
    "schedule 0:0, 0.5:1": {"schedule": "0:0, 0.5:1"},
    "end_percent 0.3": {"end_percent": 0.3},
    "start_percent 0.7": {"start_percent": 0.7},
}


def _shapes(exam: Exam, count: int) -> Iterator[tuple[str, ...]]:
    """Sample edges over time and depth."""
    none = exam.at("edges", 0.0)[:count]
    yield "no control", _figure(exam.adherence("edges", none))
    for name, settings in SHAPES.items():
        pictures = exam.sample([exam.unit("edges", count, **settings)], exam.prompts[:count])
        yield name, _figure(exam.adherence("edges", pictures))


def _speeds(exam: Exam, count: int) -> Iterator[tuple[str, ...]]:
    """Sample edges at every speed: how they follow, and how far the pictures are from exact."""
    exact = None
    for name, settings in SPEEDS.items():
        units = [exam.unit("edges", count)]
        pictures = exam.sample(units, exam.prompts[:count], **settings)
        exam.shown[f"speed {name}"] = pictures
        exact = pictures if exact is None else exact
        off = (pictures - exact).abs()
        followed = exam.adherence("edges", pictures)
        yield name, _figure(followed), f"{255 * off.mean():.2g}", f"{255 * off.max():.2g}"


def _halves(size: int) -> tuple[judge.Area, judge.Area]:
    """Return the left and right half without the band between them, (H,W) each."""
    column = np.broadcast_to(np.arange(size), (size, size))
    return column < size // 2 - BAND_PX, column >= size // 2 + BAND_PX


def _mask(size: int, side: int) -> Tensor:
    """Return an effect mask, white in the left half (side 0) or the right one: (1,H,W)."""
    mask = torch.zeros(1, size, size)
    mask[..., side * size // 2 : (side + 1) * size // 2] = 1
    return mask


def _masks(exam: Exam, count: int) -> Iterator[tuple[str, ...]]:
    """Control the left half only: adherence there as without a mask, elsewhere as without a net."""
    left, right = _halves(exam.size)
    mask = _mask(exam.size, 0)
    for net in NETS:
        units = [exam.unit(net, count, effect_mask=mask)]
        masked = exam.sample(units, exam.prompts[:count])
        whole, none = exam.at(net, 1.0)[:count], exam.at(net, 0.0)[:count]
        exam.shown[f"{net} left half"] = masked[:4]
        inside = [exam.adherence(net, pictures, left) for pictures in (masked, whole, none)]
        outside = [exam.adherence(net, pictures, right) for pictures in (masked, none, whole)]
        yield (net, *map(_figure, inside), *map(_figure, outside))


def _stacks(exam: Exam, count: int) -> Iterator[tuple[str, ...]]:
    """Give edges of one picture the left half, and classes of another the right half."""
    left, right = _halves(exam.size)
    hints = exam.hints["segmentation"][:count].roll(-1, 0)
    wanted = np.roll(exam.wanted["segmentation"][:count], -1, 0)
    first = exam.unit("edges", count, effect_mask=_mask(exam.size, 0))
    second = Unit("segmentation", hints, {"effect_mask": _mask(exam.size, 1)})
    pairs = {"edges left": [first], "classes right": [second], "both": [first, second]}
    for name, units in {"no control": [], **pairs}.items():
        pictures = exam.sample(units, exam.prompts[:count])
        exam.shown[f"halves: {name}"] = pictures[:4]
        classes = exam.judge.given("segmentation", pictures)
        yield (
            name,
            _figure(exam.adherence("edges", pictures, left)),
            _figure(judge.adherence("segmentation", wanted, classes, right)),
        )


def _same(exam: Exam, _count: int) -> Iterator[tuple[str, ...]]:
    """Compare our Apply with a chain of ComfyUI's own nodes, picture by picture."""
    import nodes

    count = min(COMPARED, exam.count)
    prompts = exam.prompts[:count]
    for names in (*((net,) for net in NETS), ("edges", "segmentation")):
        positive, negative = exam.models.words(prompts), exam.models.words([""] * count)
        ours = exam.sample([exam.unit(net, count, strength=0.8) for net in names], prompts)
        for net in names:
            apply = nodes.ControlNetApplyAdvanced().apply_controlnet
            row = (exam.models.nets[net], exam.hints[net][:count], 0.8, 0.0, 1.0)
            positive, negative = apply(positive, negative, *row)
        host = exam.models.decoded(positive, negative, count, exam.size, sampling.SEED)
        yield " and ".join(names), f"{float((ours - host).abs().max()):g}"


def _figure(value: float, digits: int = 3) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


STRENGTH_HEAD = (
    "net, strength",
    "adherence",
    "shuffled",
    "beyond layout",
    "shuffled so",
    "lines: picture / hint",
    "house colour",
    "tree",
)
THEMES = (
    Theme("Strengths", STRENGTH_HEAD, _strengths, 1 + 4 * 4, of_all=True, sizes=(128, 256)),
    Theme(
        "Ceilings",
        ("net", "drawn pictures", "through the autoencoder"),
        _ceilings,
        0,
        sizes=(128, 256),
    ),
    Theme(
        f"Modes at strength {HALF_STRENGTH}",
        ("net, mode", "own words", "other words", "things of the other words seen"),
        _modes,
        4 * 4 * 2 + 4 * 2,
    ),
    Theme("Time and depth", ("edges", "adherence"), _shapes, len(SHAPES)),
    Theme(
        "Speeds",
        ("edges, speed", "adherence", "mean difference to exact, of 255", "largest"),
        _speeds,
        5,
    ),
    Theme(
        "Left half masked",
        (
            "net",
            "inside",
            "unmasked",
            "no control",
            "outside",
            "no control there",
            "unmasked there",
        ),
        _masks,
        4,
        sizes=(128, 256),
    ),
    Theme(
        "Two nets, a half each",
        ("control", "edges, left half", "classes, right half"),
        _stacks,
        4,
        sizes=(128, 256),
    ),
    Theme("Largest difference to ComfyUI's own Apply nodes", ("nets", "difference"), _same, 4),
)
