"""Read the text of Control Stack Panel as frozen rows, or say in a sentence what is wrong with it.

`{"v": 1, "rows": [{"id": "a1", "net": "canny.safetensors", "image": 0, "method": "canny"}]}`: every
key but `net` is optional. `tests/fixtures/panel.json` holds this file and the page to it. Texts of
`schedule`, `layers` and `union_type` have their own grammars; methods and files are known above.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast

from .fits import FITS
from .grammar import one_of
from .stack import MODES

VERSION = 1
EMPTY = '{"v":1,"rows":[]}'
NONE, AUTO = "none", "auto"
MOST_ROWS, MOST_CHARS, MOST_WORD = 100, 1_000_000, 4096
MOST_SIDE_PX = 8192
MOST_SOCKETS = 16
MOST_SOCKET = MOST_SOCKETS - 1
ALSO = {
    "control_net": "net",
    "control_net_name": "net",
    "enabled": "on",
    "preprocessor": "method",
    "weight": "strength",
    "start_percent": "start",
    "end_percent": "end",
    "mask": "effect_mask",
}
"""Names that other nodes and packs have for a key."""

Reader = Callable[[Any], Any]
"""A value as JSON gives it → the value of a row; raises ValueError saying what to give."""


class PanelError(ValueError):
    """A panel's text that cannot be used: names the row, what was found, and what to give."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence


@dataclass(frozen=True)
class Row:
    """A row of a panel: numbers of sockets, names of files and methods, settings of Add ControlNet.

    `number` counts from 1. `start` and `end` are fractions of sampling; `resolution` in pixels.
    """

    number: int
    id: str
    net: str
    on: bool = True
    image: int = 0
    method: str = NONE
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    resolution: int = 0
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: str = "balanced"
    fit: str = "crop"
    union_type: str = AUTO
    schedule: str = ""
    layers: str = ""
    effect_mask: int | None = None
    inpaint_mask: int | None = None

    def says(self, sentence: object) -> str:
        """Put the row's number and net before a sentence."""
        return in_row(self.number, self.net, sentence)


def in_row(number: int, net: object, sentence: object) -> str:
    """Put a row's number and net, however long or odd that is, before a sentence."""
    if not isinstance(net, str) or not net:
        return f"row {number}: {sentence}"
    shown = net if len(net) <= 100 and net.isprintable() else f"{net!r:.100}"
    return f"row {number} ({shown}): {sentence}"


def read_panel(text: Any) -> tuple[Row, ...]:
    """Read a panel's text; empty text has no rows.

    Raises PanelError for what is not JSON of the known version, and for the first row that has a
    value of another type or out of bounds, a misspelled key, or the id of another row.
    """
    if not isinstance(text, str):
        raise PanelError(
            f"rows: expected the text of a panel, found {type(text).__name__}. Connect a node that"
            " gives a STRING."
        )
    if not text.strip():
        return ()
    panel = _json(text)
    _refuse_version(panel)
    rows = panel.get("rows")
    if not isinstance(rows, list):
        raise PanelError(f"rows: expected a list under 'rows', found {rows!r:.60}. Write {EMPTY}.")
    entries = cast("list[Any]", rows)
    if len(entries) > MOST_ROWS:
        raise PanelError(
            f"rows: a panel has at most {MOST_ROWS} rows, found {len(entries)}. Use several panels."
        )
    read = tuple(_row(number, entry) for number, entry in enumerate(entries, 1))
    _refuse_twins(read)
    return read


def _json(text: str) -> Mapping[str, Any]:
    if len(text) > MOST_CHARS:
        raise PanelError(
            f"rows: a panel's text has at most {MOST_CHARS} characters, found {len(text)}"
        )
    try:
        panel = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise PanelError(
            f"rows: expected JSON, but it breaks off at character {error.pos + 1} ({error.msg})."
            f" Write for example {EMPTY}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise PanelError(
            f"rows: expected JSON such as {EMPTY}, found NaN, Infinity, or too many digits or"
            " brackets"
        ) from error
    if not isinstance(panel, dict):
        raise PanelError(f"rows: expected JSON such as {EMPTY}, found {panel!r:.60}")
    return cast("Mapping[str, Any]", panel)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # Python reads NaN and Infinity, which are not JSON


def _refuse_version(panel: Mapping[str, Any]) -> None:
    version = panel.get("v", VERSION)
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise PanelError(
            f"rows: this panel was saved by a newer ControlStack (version {version!r:.20} of its"
            f" text, this one reads {VERSION}). Update ControlStack."
        )
    if isinstance(version, bool) or version != VERSION:
        raise PanelError(f"rows: expected version {VERSION} under 'v', found {version!r:.60}")


def _refuse_twins(rows: tuple[Row, ...]) -> None:
    first: dict[str, Row] = {}
    for row in rows:
        if (twin := first.setdefault(row.id, row)) is not row:
            raise PanelError(row.says(_twin(row.id, twin.number)))


def _twin(row_id: str, number: int) -> str:
    return (
        f"its id {row_id!r} is that of row {number} too. Give each row an id of its own, or none."
    )


def _row(number: int, entry: Any) -> Row:
    """Read a row. Raises PanelError that names it."""
    net = cast("Mapping[str, Any]", entry).get("net") if isinstance(entry, dict) else None
    try:
        values: dict[str, Any] = {"id": f"row{number}", **_values(entry)}
        return Row(number=number, **values)
    except ValueError as error:
        raise PanelError(in_row(number, net, error)) from error


def _values(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError(f"expected a row's settings by their names, found {entry!r:.60}")
    given = cast("dict[str, Any]", entry)
    if misspelled := next((key for key in given if _meant(key, given)), None):
        meant = _meant(misspelled, given)
        raise ValueError(f"a row has no {misspelled!r:.60}: write {meant!r}")
    if "net" not in given:
        raise ValueError("it has no 'net': give the name of a ControlNet's file")
    values: dict[str, Any] = {}
    for key, read in KEYS.items():
        if key in given:
            try:
                values[key] = read(given[key])
            except ValueError as error:
                raise ValueError(f"{key} is {given[key]!r:.60}: {error}") from error
    return values


def _meant(key: str, given: Mapping[str, Any]) -> str:
    """Return the known key that an unknown one is a misspelling of, "" for a key of the page's."""
    if key in KEYS:
        return ""
    missing = [name for name in KEYS if name not in given]
    near = get_close_matches(key[:40].lower(), missing, 1, 0.8)
    meant = near[0] if near else ALSO.get(key, "")
    return meant if meant in missing else ""


# -- one reader for each key -----------------------------------------------------------------------


def _id(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        return value
    raise ValueError("give up to 64 letters, digits, - and _")


def _word(value: Any) -> str:
    if isinstance(value, str) and len(value) <= MOST_WORD:
        return value
    raise ValueError(f"give a text of at most {MOST_WORD} characters")


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("give true or false")


def _settings(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise ValueError("give the method's settings by their names")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(lowest: float, highest: float) -> Reader:
    def read(value: Any) -> float:
        # NaN is outside of every range
        if _is_number(value) and lowest <= value <= highest:
            return float(value)
        raise ValueError(f"give a number from {lowest:g} to {highest:g}")

    return read


def _whole(highest: int) -> Reader:
    def read(value: Any) -> int:
        if _is_number(value) and 0 <= value <= highest and not value % 1:
            return int(value)
        raise ValueError(f"give a whole number from 0 to {highest}")

    return read


def _socket(value: Any) -> int | None:
    return None if value is None else _whole(MOST_SOCKET)(value)


def _choice(choices: Mapping[str, Any]) -> Reader:
    def read(value: Any) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise ValueError(f"choose {one_of(choices)}")

    return read


KEYS: Mapping[str, Reader] = {
    "id": _id,
    "on": _flag,
    "net": _word,
    "image": _whole(MOST_SOCKET),
    "method": _word,
    "params": _settings,
    "resolution": _whole(MOST_SIDE_PX),
    "strength": _number(0, 10),
    "start": _number(0, 1),
    "end": _number(0, 1),
    "mode": _choice(MODES),
    "fit": _choice(FITS),
    "union_type": _word,
    "schedule": _word,
    "layers": _word,
    "effect_mask": _socket,
    "inpaint_mask": _socket,
}
"""How each key of a row is read; every one is a field of Row."""
