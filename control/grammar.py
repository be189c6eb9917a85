"""The small texts that people type, and the error that names what does not parse.

The grammar is the same in Python and in the frontend's JavaScript (`js/lib/grammar.js`): numbers
without a sign, or with `%` for hundredths; `,` or `;` between items; space, tab and line break as
white space. The full-width characters of Chinese and Japanese keyboards count as the plain ones.
`tests/fixtures/grammar.json` holds both to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

WHITE = " \t\r\n"
ITEMS = re.compile("[,;]")
WORDS = re.compile(f"[{WHITE}]*[,;][{WHITE}]*|[{WHITE}]+")
EXAMPLES = {
    "schedule": "0:1, 0.6:0",
    "layers": "soft 0.825",
    "frame_strength": "0:1, 8:0.5",
    "union_type": "canny, depth:0.5",
}
"""A text that parses, for each field."""

_NUMBER = re.compile(r"(([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?)([ \t\r\n]*%)?")
_FULL_WIDTH = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_PLAIN = {**_FULL_WIDTH, 0x3000: " ", 0x3001: ",", 0x3002: "."}


class TextError(ValueError):
    """A text that does not parse: names what was expected, what stands where, and an example."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence

    def __init__(self, field: str, text: str, position: int, expected: str) -> None:
        actual = text[position : position + 12].strip() or "the end of the text"
        super().__init__(
            f"{field}: expected {expected} at character {position + 1} of"
            f" {_around(text, position)}, found {actual!r}. Write for example {EXAMPLES[field]!r}."
        )
        self.position = position


def _around(text: str, position: int) -> str:
    """Quote a text, or of a long one what stands around the position."""
    if len(text) <= 120:
        return repr(text)
    first, last = max(0, position - 40), position + 40
    before, after = "…" if first else "", "…" if last < len(text) else ""
    return f"{len(text)}, {before + text[first:last] + after!r}"


def plain(text: str) -> str:
    """Replace full-width characters by the plain ones; every character stays in its place."""
    return text.translate(_PLAIN)


def indent(text: str) -> int:
    """Count the white space that a text begins with."""
    return len(text) - len(text.lstrip(WHITE))


def split(
    text: str, separator: re.Pattern[str] = ITEMS, offset: int = 0
) -> Iterator[tuple[str, int]]:
    """Yield the stripped parts of `text`, each with its position in the whole text.

    `offset` is the position of `text` itself.
    """
    start = 0
    for end, following in [*(match.span() for match in separator.finditer(text)), (len(text),) * 2]:
        part = text[start:end]
        yield part.strip(WHITE), offset + start + indent(part)
        start = following


def is_number(word: str) -> bool:
    """Tell whether a word is a number, of whatever size."""
    return bool(_NUMBER.fullmatch(word.strip(WHITE)))


def number(field: str, word: str, text: str, position: int, lowest: float, highest: float) -> float:
    """Read a number in [lowest, highest]; `50%` is 0.5."""
    match = _NUMBER.fullmatch(word.strip(WHITE))
    value = float(match[1]) / (100.0 if match[4] else 1.0) if match else -1.0
    if not lowest <= value <= highest:
        raise TextError(field, text, position, f"a number from {lowest:g} to {highest:g}")
    return value


def whole_number(field: str, word: str, text: str, position: int, highest: int) -> int:
    """Read a whole number in [0, highest]."""
    word = word.strip(WHITE)
    if not re.fullmatch(r"[0-9]{1,9}", word) or int(word) > highest:
        raise TextError(field, text, position, f"a whole number from 0 to {highest}")
    return int(word)


def show(value: float) -> str:
    """Write the shortest decimal without exponent that reads back as the same number."""
    return repr(int(value)) if value == int(value) else format(Decimal(repr(value)), "f")


def one_of(words: Iterable[str]) -> str:
    """List the words that may stand in a place: "'a', 'b' or 'c'"."""
    *others, last = (f"'{word}'" for word in words)
    return f"{', '.join(others)} or {last}" if others else last
