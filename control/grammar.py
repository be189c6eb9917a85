"""The small texts that people type, and the error that names what does not parse.

The grammar is the same in Python and in the frontend's JavaScript (`js/lib/grammar.js`): ASCII
numbers without a sign; space, tab and line break as white space. `tests/fixtures/grammar.json`
holds both to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

WHITE = " \t\r\n"
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class TextError(ValueError):
    """A text that does not parse: names what was expected, where, and what stands there."""

    def __init__(self, field: str, text: str, position: int, expected: str) -> None:
        actual = text[position : position + 12].strip() or "the end of the text"
        super().__init__(
            f"{field}: expected {expected} at character {position + 1} of {text!r}, "
            f"found {actual!r}"
        )
        self.position = position


def indent(text: str) -> int:
    """Count the white space that a text begins with."""
    return len(text) - len(text.lstrip(WHITE))


def split(text: str, separator: str, offset: int = 0) -> Iterator[tuple[str, int]]:
    """Yield the stripped parts of `text`, each with its position in the whole text.

    `offset` is the position of `text` itself.
    """
    for part in text.split(separator):
        yield part.strip(WHITE), offset + indent(part)
        offset += len(part) + len(separator)


def number(field: str, word: str, text: str, position: int, lowest: float, highest: float) -> float:
    """Read a number in [lowest, highest]."""
    word = word.strip(WHITE)
    if not _NUMBER.fullmatch(word) or not lowest <= float(word) <= highest:
        raise TextError(field, text, position, f"a number from {lowest:g} to {highest:g}")
    return float(word)


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
