"""Strength over depth: one weight for each residual, from the first input block to the middle
block.

`soft 0.825` is the weighting of ControlNet's guess mode: base^(12-i) for residual i of 13. SDXL has
ten residuals and uses the first ten of those weights, as A1111 does, so its middle block gets
0.825^3 = 0.5615. A T2I-Adapter has four features, for which A1111 has four numbers of its own.
`linear 1..0` goes evenly from the first block's weight to the middle's. `blocks 1, 1, 0.5` gives
the weights themselves; where a net has another number of residuals they are stretched over its
depth linearly. `resolution` is the ControlNet paper's w = 64/h: the height of the first block's
residual over that of this one. An empty text weighs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from .grammar import WHITE, TextError, number, show, split

SOFT_BASE = 0.825
SOFT_DEPTH = 13
SOFT_FEATURES = (0.25, 0.62, 0.825, 1.0)  # A1111's for T2I-Adapters, shallow to deep
KINDS = ("soft", "linear", "blocks", "resolution")
BLOCKS_A_LEVEL = 3  # a UNet of SD or SDXL halves its resolution after every third skip connection
EXPECTED = "'soft', 'linear', 'blocks' or 'resolution'"


@dataclass(frozen=True)
class Layers:
    """`kind` is "" (no weighting) or one of KINDS; `values`: soft's base, linear's ends, or the
    weights of blocks.
    """

    kind: str = ""
    values: tuple[float, ...] = ()

    def weights(self, count: int, heights: Sequence[int] = ()) -> tuple[float, ...]:
        """One weight for each of `count` residuals, input to middle.

        `heights` are the residuals' own; without them those of SD and SDXL at a size that all
        levels divide.
        """
        if self.kind == "soft":
            deepest = max(SOFT_DEPTH, count) - 1
            return tuple(self.values[0] ** (deepest - i) for i in range(count))
        if self.kind == "resolution":
            if heights:
                return tuple(heights[0] / height for height in heights)
            return tuple(2.0 ** (min(i, max(count - 2, 0)) // BLOCKS_A_LEVEL) for i in range(count))
        return self._spread(count)

    def feature_weights(self, count: int, heights: Sequence[int] = ()) -> tuple[float, ...]:
        """The same for a T2I-Adapter's features, shallow to deep."""
        if self.kind == "soft" and count == len(SOFT_FEATURES):
            # Another base bends all four numbers as it bends the weights of a ControlNet; 0^0 is 1
            # here too.
            return tuple(
                self.values[0] ** (log(weight) / log(SOFT_BASE)) for weight in SOFT_FEATURES
            )
        return self.weights(count, heights)

    def _spread(self, count: int) -> tuple[float, ...]:
        if self.kind in ("linear", "blocks"):
            return tuple(_stretched(self.values, i, count) for i in range(count))
        return (1.0,) * count

    @property
    def is_zero(self) -> bool:
        return self.kind in ("linear", "blocks") and not any(self.values)


def parse(text: str) -> Layers:
    """Read a layers text. Raises TextError naming the position of what does not parse."""
    start = len(text) - len(text.lstrip(WHITE))
    words = text[start:].replace("\t", " ").replace("\r", " ").replace("\n", " ")
    kind, _, rest = words.partition(" ")
    if not kind:
        return Layers()
    if kind not in KINDS:
        raise TextError("layers", text, start, EXPECTED)
    at = start + len(kind) + 1
    return Layers(kind, _READERS[kind](rest, text, at))


def form(layers: Layers) -> str:
    """The text of a layers profile; `parse(form(l)) == l`."""
    between = ".." if layers.kind == "linear" else ", "
    return f"{layers.kind} {between.join(show(value) for value in layers.values)}".strip()


def _read_soft(rest: str, text: str, at: int) -> tuple[float, ...]:
    if not rest.strip(WHITE):
        return (SOFT_BASE,)
    return (number("layers", rest, text, at + len(rest) - len(rest.lstrip(WHITE)), 0.0, 1.0),)


def _read_linear(rest: str, text: str, at: int) -> tuple[float, ...]:
    ends = list(split(rest, "..", at))
    if len(ends) != 2:
        raise TextError(
            "layers", text, ends[0][1], "two weights 'a..b', for the first block and the middle"
        )
    return tuple(number("layers", word, text, p, 0.0, 10.0) for word, p in ends)


def _read_blocks(rest: str, text: str, at: int) -> tuple[float, ...]:
    return tuple(number("layers", word, text, p, 0.0, 10.0) for word, p in split(rest, ",", at))


def _read_nothing(rest: str, text: str, at: int) -> tuple[float, ...]:
    if rest.strip(WHITE):
        raise TextError(
            "layers", text, at + len(rest) - len(rest.lstrip(WHITE)), "nothing after 'resolution'"
        )
    return ()


_READERS = {
    "soft": _read_soft,
    "linear": _read_linear,
    "blocks": _read_blocks,
    "resolution": _read_nothing,
}


def _stretched(values: tuple[float, ...], i: int, count: int) -> float:
    """Value at depth i of `count` when `values` are spread evenly from input to middle."""
    depth = i * (len(values) - 1) / (count - 1) if count > 1 else 0.0
    low = min(int(depth), len(values) - 1)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (depth - low)
