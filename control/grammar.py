"""Small texts that people type, and the sentence they get when one does not parse.

Their grammar is the same in Python and in the page's JavaScript: ASCII numbers without a sign,
space, tab and line break as white space. `tests/fixtures/grammar.json` holds both to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

WHITE = " \t\r\n"
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class TextError(ValueError):
    """A text that does not parse: says what was expected, where, and what stands there."""

    def __init__(self, field: str, text: str, position: int, expected: str) -> None:
        found = text[position : position + 12].strip() or "the end of the text"
        super().__init__(
            f"{field}: expected {expected} at character {position + 1} of {text!r}, found {found!r}"
        )
        self.position = position


def split(text: str, separator: str, offset: int = 0) -> Iterator[tuple[str, int]]:
    """Parts of `text` between separators, each with the position where it starts in the whole text
    (from `offset`).
    """
    for part in text.split(separator):
        yield part.strip(WHITE), offset + len(part) - len(part.lstrip(WHITE))
        offset += len(part) + len(separator)


def number(field: str, word: str, text: str, position: int, lowest: float, highest: float) -> float:
    """A number in [lowest, highest]."""
    word = word.strip(WHITE)
    if not _NUMBER.fullmatch(word) or not lowest <= float(word) <= highest:
        raise TextError(field, text, position, f"a number from {lowest:g} to {highest:g}")
    return float(word)


def whole(field: str, word: str, text: str, position: int, highest: int) -> int:
    """A whole number in [0, highest]."""
    word = word.strip(WHITE)
    if not re.fullmatch(r"[0-9]{1,9}", word) or int(word) > highest:
        raise TextError(field, text, position, f"a whole number from 0 to {highest}")
    return int(word)


def show(value: float) -> str:
    """The shortest decimal without exponent that reads back as the same number."""
    return repr(int(value)) if value == int(value) else format(Decimal(repr(value)), "f")
