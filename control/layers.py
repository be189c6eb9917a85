"""Strength over depth: one weight for each residual, from the first input block to the middle block.

`soft 0.825` is the weighting of ControlNet's guess mode: base^(12-i) for residual i of 13. SDXL has ten residuals and
uses the first ten of those weights, as A1111 does, so its middle block gets 0.825^3 = 0.5615.
`blocks 1, 1, 0.5` gives the weights themselves; where a net has another number of residuals they are stretched over
its depth linearly. An empty text weighs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from .text import TextError, number, show, split

SOFT_BASE = 0.825
SOFT_DEPTH = 13
NOT_BUILT = ("linear", "resolution")


@dataclass(frozen=True)
class Layers:
    """`kind` is "" (no weighting), "soft" (`values`: the base) or "blocks" (`values`: a weight for each residual)."""

    kind: str = ""
    values: tuple[float, ...] = ()

    def weights(self, count: int) -> tuple[float, ...]:
        """One weight for each of `count` residuals, input to middle."""
        if self.kind == "soft":
            deepest = max(SOFT_DEPTH, count) - 1
            return tuple(self.values[0] ** (deepest - i) for i in range(count))
        if self.kind == "blocks":
            return tuple(_stretched(self.values, i, count) for i in range(count))
        return (1.0,) * count

    @property
    def is_zero(self) -> bool:
        return self.kind == "blocks" and not any(self.values)


def parse(text: str) -> Layers:
    """Read a layers text. Raises TextError naming the position of what does not parse."""
    start = len(text) - len(text.lstrip())
    kind, _, rest = text[start:].partition(" ")
    if not kind:
        return Layers()
    if kind in NOT_BUILT:
        raise TextError("layers", text, start, f"'soft' or 'blocks' ({kind!r} is not built yet)")
    if kind not in ("soft", "blocks"):
        raise TextError("layers", text, start, "'soft' or 'blocks'")
    at = start + len(kind) + 1
    if kind == "soft":
        base = rest.strip()
        position = at + len(rest) - len(rest.lstrip())
        return Layers("soft", (number("layers", base, text, position, 0.0, 1.0) if base else SOFT_BASE,))
    return Layers("blocks", tuple(number("layers", word, text, p, 0.0, 10.0) for word, p in split(rest, ",", at)))


def form(layers: Layers) -> str:
    """The text of a layers profile; `parse(form(l)) == l`."""
    return f"{layers.kind} {', '.join(show(value) for value in layers.values)}".strip()


def _stretched(values: tuple[float, ...], i: int, count: int) -> float:
    """Value at depth i of `count` when `values` are spread evenly from input to middle."""
    depth = i * (len(values) - 1) / (count - 1) if count > 1 else 0.0
    low = min(int(depth), len(values) - 1)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (depth - low)
