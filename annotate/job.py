"""State what is to be done: methods with their parameters, input, output. Plain values, as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..preprocessors import CATALOGUE, Preprocessor, catalogue
from ..preprocessors.spec import Param, Value, Weights

ROOT = Path(__file__).resolve().parents[1]


class StopError(Exception):
    """What ends the whole run, as one sentence: nothing that follows could go better."""


@dataclass(frozen=True)
class Method:
    """A row of the catalogue and all of its parameters."""

    key: str
    params: Mapping[str, Value]

    @property
    def row(self) -> Preprocessor:
        """The row."""
        return catalogue(self.key)

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The files that its engine needs, none for an engine without a network."""
        first = self.row.weights.get(str(self.params.get("engine", "")))
        return (first, *first.beside) if first else ()


@dataclass(frozen=True)
class Job:
    """Everything that decides what is written; paths are absolute."""

    source: str
    to: str
    methods: tuple[Method, ...]
    resolution: int = 0
    form: str = "webdataset"
    per_shard: int = 1000
    columns: Mapping[str, str] | None = None
    """Of a parquet file: names for `picture`, `caption` and `key`; others are guessed."""
    weights: str = ""
    """A folder with files of weights; empty: the usual ones."""
    device: str = ""
    """Of networks; empty: a card where there is one."""

    @property
    def folder(self) -> Path:
        """Where shards are written."""
        return Path(self.to)

    def text(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def of_text(text: str) -> Job:
        """Return the job that `text` wrote."""
        values = json.loads(text)
        values["methods"] = tuple(Method(**method) for method in values["methods"])
        return Job(**values)


def version() -> str:
    """Return the pack's version, as pyproject.toml states it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    match = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    return match[1] if match else "unknown"


def usable() -> list[Preprocessor]:
    """List the rows that need nothing but a picture."""
    return [row for row in CATALOGUE if not any(port.is_required for port in row.inputs)]


def method(key: str, texts: Sequence[str]) -> Method:
    """Build a method from its key and texts such as `low_threshold=50`.

    Raises ValueError for a key, a parameter or a value that does not exist, and for a method that
    needs more than a picture.
    """
    row = catalogue(key)
    if row not in usable():
        ports = ", ".join(port.name for port in row.inputs if port.is_required)
        raise ValueError(
            f"{key} needs {ports} for each picture, which a data set does not have: choose one of"
            f" {', '.join(other.key for other in usable())}"
        )
    params = {param.name: param for param in row.params}
    values = {name: param.default for name, param in params.items()}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in params:
            raise ValueError(
                f"--params {text!r}: expected NAME=VALUE for {key}, NAME one of"
                f" {', '.join(params) or 'none, as it has none'}"
            )
        values[name] = params[name].checked(_value(params[name], value))
    return Method(key, values)


def _value(param: Param, text: str) -> Value:
    """Read a text as the parameter's type; what cannot be read stays text, and is refused."""
    if isinstance(param.default, bool):
        return {"true": True, "on": True, "false": False, "off": False}.get(text.lower(), text)
    if isinstance(param.default, int | float):
        try:
            return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        except ValueError:
            return text
    return text


def refuse_twice(methods: Sequence[Method]) -> None:
    """Raise ValueError where a method is named twice: its hints would have one name."""
    keys = [each.key for each in methods]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise ValueError(
            f"--method {min(twice)} is named twice, and its hints would have one name: annotate"
            " once more into another folder"
        )


def described(job: Job) -> dict[str, Any]:
    """Return what the manifest compares: everything that decides what a shard contains."""
    return {
        "version": version(),
        "methods": {each.key: dict(each.params) for each in job.methods},
        "resolution": job.resolution,
        "form": job.form,
        "per_shard": job.per_shard,
        "columns": dict(job.columns or {}),
    }
