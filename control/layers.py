"""Strength over depth: one weight for each residual, from the first input block to the middle one.

Every kind of profile is a row of `PROFILES`, and has a twin in `js/lib/layers.js` that draws it;
the cases of `tests/fixtures/grammar.json` hold both to the same texts and weights.

`soft 0.825` is the weighting of ControlNet's guess mode: base^(12-i) for residual i of 13. SDXL has
ten residuals and uses the first ten of those weights, as A1111 does, so its middle block gets
0.825^3 = 0.5615. A T2I-Adapter has four features, for which A1111 has four numbers of its own. A
net for a transformer has any number of blocks: the same exponents, 12 to 0, are spread evenly over
them, so that nets of 5 and of 19 blocks bend alike. The last block has weight 1, as has a single.
`linear 1..0` goes evenly from the first block's weight to the last block's. `blocks 1, 1, 0.5`
gives the weights themselves; where a net has another number of residuals they are stretched over
its depth linearly. `resolution` is the ControlNet paper's w = 64/h: the height of the first block's
residual over that of this one. An empty text gives every residual the weight 1. Without a kind,
`0.825` is soft, `1..0` linear, and `1, 1, 0.5` or `1 1 0.5` are blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log

from .grammar import (
    WHITE,
    WORDS,
    TextError,
    indent,
    is_number,
    number,
    one_of,
    plain,
    show,
    split,
)

SOFT_BASE = 0.825
SOFT_DEPTH = 13
SOFT_FEATURES = (0.25, 0.62, 0.825, 1.0)  # A1111's for T2I-Adapters, shallow to deep
BLOCKS_PER_LEVEL = 3  # a UNet of SD or SDXL halves its resolution after every third skip connection
HIGHEST = 10.0
ENDS = re.compile(r"\.\.")
DIGITS = frozenset("0123456789.")

Values = tuple[float, ...]
Weights = Callable[[Values, int, Sequence[int]], Values]


@dataclass(frozen=True)
class Profile:
    """One kind of weighting over depth.

    `example` stands in help texts. `parse` takes what follows the kind, the whole text and the
    position there, and gives the profile's values, which `to_text` writes again. `weights` takes
    values, the number of residuals and their heights (empty: those of SD and SDXL), and gives a
    weight for each, input to middle; `feature_weights` likewise for a T2I-Adapter's features,
    `spread_weights` for a net with any number of blocks, shallow to deep.
    """

    kind: str
    example: str
    parse: Callable[[str, str, int], Values]
    weights: Weights
    to_text: Callable[[Values], str]
    feature_weights: Weights | None = None
    spread_weights: Weights | None = None


@dataclass(frozen=True)
class Layers:
    """A profile's kind ("" for no weighting) and its values, as its row of PROFILES reads them."""

    kind: str = ""
    values: Values = ()

    def weights(self, count: int, heights: Sequence[int] = ()) -> Values:
        """Compute a weight for each of `count` residuals, input to middle.

        `heights` are the residuals' own; without them those of SD and SDXL at a size that all
        levels divide.
        """
        if not self.kind:
            return (1.0,) * count
        return PROFILES[self.kind].weights(self.values, count, heights)

    def feature_weights(self, count: int, heights: Sequence[int] = ()) -> Values:
        """Compute a weight for each of a T2I-Adapter's features, shallow to deep."""
        special = PROFILES[self.kind].feature_weights if self.kind else None
        return special(self.values, count, heights) if special else self.weights(count, heights)

    def spread_weights(self, count: int, heights: Sequence[int] = ()) -> Values:
        """Compute a weight for each block of a net with any number of them, shallow to deep."""
        special = PROFILES[self.kind].spread_weights if self.kind else None
        return special(self.values, count, heights) if special else self.weights(count, heights)

    @property
    def is_zero(self) -> bool:
        """Whether nothing acts at any depth."""
        return not any(self.weights(max(SOFT_DEPTH, len(self.values))))


def parse(text: str) -> Layers:
    """Read a layers text. Raises TextError naming the position of what does not parse."""
    text = plain(text)
    start = indent(text)
    words = text[start:].replace("\t", " ").replace("\r", " ").replace("\n", " ")
    kind, _, rest = words.partition(" ")
    if not kind:
        return Layers()
    if words[0] in DIGITS:
        kind = _kind_of_numbers(words.strip(WHITE))
        return Layers(kind, PROFILES[kind].parse(words, text, start))
    if kind not in PROFILES:
        raise TextError("layers", text, start, one_of(PROFILES))
    return Layers(kind, PROFILES[kind].parse(rest, text, start + len(kind) + 1))


def to_text(layers: Layers) -> str:
    """Write a layers profile; `parse(to_text(layers)) == layers`."""
    if not layers.kind:
        return ""
    return f"{layers.kind} {PROFILES[layers.kind].to_text(layers.values)}".strip()


# -- reading and writing ---------------------------------------------------------------------------


def _kind_of_numbers(words: str) -> str:
    """Tell which kind numbers without one are."""
    if ENDS.search(words):
        return "linear"
    return "soft" if is_number(words) else "blocks"


def _read_base(rest: str, text: str, at: int) -> Values:
    if not rest.strip(WHITE):
        return (SOFT_BASE,)
    return (number("layers", rest, text, at + indent(rest), 0.0, 1.0),)


def _read_ends(rest: str, text: str, at: int) -> Values:
    ends = list(split(rest, ENDS, at))
    if len(ends) != 2:
        raise TextError(
            "layers", text, ends[0][1], "two weights 'a..b', for the first block and the middle"
        )
    return tuple(number("layers", word, text, p, 0.0, HIGHEST) for word, p in ends)


def _read_blocks(rest: str, text: str, at: int) -> Values:
    items = split(rest.strip(WHITE), WORDS, at + indent(rest))
    return tuple(number("layers", word, text, p, 0.0, HIGHEST) for word, p in items)


def _read_nothing(rest: str, text: str, at: int) -> Values:
    if rest.strip(WHITE):
        raise TextError("layers", text, at + indent(rest), "nothing after 'resolution'")
    return ()


def _joined(separator: str) -> Callable[[Values], str]:
    return lambda values: separator.join(show(value) for value in values)


# -- weights ---------------------------------------------------------------------------------------


def _soft(values: Values, count: int, _heights: Sequence[int]) -> Values:
    deepest = max(SOFT_DEPTH, count) - 1
    return tuple(values[0] ** (deepest - i) for i in range(count))


def _soft_features(values: Values, count: int, heights: Sequence[int]) -> Values:
    """Bend A1111's four numbers for another base as a ControlNet's weights are bent.

    0^0 is 1 here too.
    """
    if count != len(SOFT_FEATURES):
        return _soft(values, count, heights)
    return tuple(values[0] ** (log(weight) / log(SOFT_BASE)) for weight in SOFT_FEATURES)


def _soft_spread(values: Values, count: int, _heights: Sequence[int]) -> Values:
    """Spread the exponents evenly, from 12 for the first block to 0 for the last."""
    if count == 1:
        return (1.0,)
    return tuple(values[0] ** ((SOFT_DEPTH - 1) * (1.0 - i / (count - 1))) for i in range(count))


def _stretched(values: Values, count: int, _heights: Sequence[int]) -> Values:
    """Spread the values evenly from input to middle and interpolate linearly between them."""
    return tuple(_value_at(values, i, count) for i in range(count))


def _value_at(values: Values, i: int, count: int) -> float:
    depth = i * (len(values) - 1) / (count - 1) if count > 1 else 0.0
    low = min(int(depth), len(values) - 1)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (depth - low)


def _by_resolution(_values: Values, count: int, heights: Sequence[int]) -> Values:
    if heights:
        return tuple(heights[0] / height for height in heights)
    last_level = max(count - 2, 0)  # the middle block has the size of the last skip connection
    return tuple(2.0 ** (min(i, last_level) // BLOCKS_PER_LEVEL) for i in range(count))


def _by_own_height(_values: Values, count: int, heights: Sequence[int]) -> Values:
    """Weigh by the blocks' own heights; a transformer's are alike."""
    return tuple(heights[0] / height for height in heights) or (1.0,) * count


PROFILES: dict[str, Profile] = {
    profile.kind: profile
    for profile in (
        Profile(
            "soft", "soft 0.825", _read_base, _soft, _joined(", "), _soft_features, _soft_spread
        ),
        Profile("linear", "linear 1..0", _read_ends, _stretched, _joined("..")),
        Profile("blocks", "blocks 1, 1, 0.5, ...", _read_blocks, _stretched, _joined(", ")),
        Profile(
            "resolution",
            "resolution",
            _read_nothing,
            _by_resolution,
            _joined(", "),
            spread_weights=_by_own_height,
        ),
    )
}
EXAMPLES = one_of(profile.example for profile in PROFILES.values())
