"""Small texts that people type, and the sentence they get when one does not parse."""

from __future__ import annotations

import math
from collections.abc import Iterator


class TextError(ValueError):
    """A text that does not parse: says what was expected, where, and what stands there."""

    def __init__(self, field: str, text: str, position: int, expected: str) -> None:
        found = text[position : position + 12].strip() or "the end of the text"
        super().__init__(f"{field}: expected {expected} at character {position + 1} of {text!r}, found {found!r}")
        self.position = position


def split(text: str, separator: str, offset: int = 0) -> Iterator[tuple[str, int]]:
    """Parts of `text` between separators, each with the position where it starts in the whole text (from `offset`)."""
    for part in text.split(separator):
        yield part.strip(), offset + len(part) - len(part.lstrip())
        offset += len(part) + len(separator)


def number(field: str, word: str, text: str, position: int, lowest: float, highest: float) -> float:
    """A finite number in [lowest, highest]."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not lowest <= value <= highest:
        raise TextError(field, text, position, f"a number from {lowest:g} to {highest:g}")
    return value


def show(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(int(value)) if value == int(value) else repr(value)
