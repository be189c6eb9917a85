"""Derive what `locales/LANGUAGE/nodeDefs.json` may hold from what ComfyUI tells its frontend.

English comes from the nodes themselves. The one exception is the settings that a method brings in
Preprocessor (any) and Training Data Set: over their labels, the frontend shows the text of a key or
nothing. That key is `method_NAME` whatever the method, so a setting whose methods have different
texts has none there, in any language. (`js/tooltips.js` shows over each value the text of its
method.) `python3 tests --accept` writes the English file and removes stale keys from the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Texts = dict[str, Any]


def translatable(object_info: Mapping[str, Any]) -> Texts:
    """Return the English texts of every node of ours that a language may translate."""
    return {
        name: _node(declared)
        for name, declared in sorted(object_info.items())
        if name.startswith("ControlStack")
    }


def needed_english(object_info: Mapping[str, Any]) -> Texts:
    """Return the texts that the frontend lacks without the English file."""
    needed: Texts = {}
    for node, declared in translatable(object_info).items():
        own = _own_inputs(object_info[node])
        for key, named in declared["inputs"].items():
            if key not in own and "tooltip" in named:
                inputs = needed.setdefault(node, {"inputs": {}})["inputs"]
                inputs[key] = {"tooltip": named["tooltip"]}
    return needed


def without_stale(translated: Texts, source: Texts) -> Texts:
    """Drop the texts of `translated` that `source` does not have."""
    return {
        key: without_stale(value, source[key]) if isinstance(value, dict) else value
        for key, value in translated.items()
        if key in source
    }


def texts(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """List the texts of a tree with their paths."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from texts(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def read(folder: Path, language: str, name: str = "nodeDefs") -> Texts:
    """Read a language's file."""
    return json.loads((folder / language / f"{name}.json").read_text(encoding="utf-8"))


def accept(folder: Path, object_info: Mapping[str, Any]) -> None:
    """Write the English file, and remove stale texts from the other languages."""
    _write(folder / "en", needed_english(object_info))
    for language in sorted(folder.iterdir()):
        if language.name != "en":
            translated = read(folder, language.name)
            _write(language, without_stale(translated, translatable(object_info)))


def _write(language: Path, tree: Texts) -> None:
    text = json.dumps(tree, indent=1, ensure_ascii=False) + "\n"
    (language / "nodeDefs.json").write_text(text, encoding="utf-8")


def _own_inputs(declared: Mapping[str, Any]) -> set[str]:
    return {name for group in declared["input"].values() for name in group}


def _node(declared: Mapping[str, Any]) -> Texts:
    inputs: dict[str, dict[str, str]] = {}
    differing: set[str] = set()
    for key, named in _inputs(declared["input"]):
        if inputs.setdefault(key, named) != named:
            differing.add(key)
    for key in differing:
        del inputs[key]["tooltip"]
    tips = declared.get("output_tooltips") or [None] * len(declared["output"])
    outputs = {
        str(index): _named(name, tip)
        for index, (name, tip) in enumerate(zip(declared["output_name"], tips, strict=True))
    }
    titles = {"display_name": declared["display_name"], "description": declared["description"]}
    return {**titles, "inputs": inputs, "outputs": outputs}


def _inputs(groups: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """List every input by its key, also those that a choice brings.

    The frontend writes an underscore for the dot of a name.
    """
    for group in ("required", "optional"):
        for name, (_, *rest) in groups.get(group, {}).items():
            options = rest[0] if rest else {}
            yield f"{prefix}{name}", _named(name, options.get("tooltip"))
            for choice in options.get("options") or []:
                if isinstance(choice, dict):
                    yield from _inputs(choice["inputs"], f"{prefix}{name}_")


def _named(name: str, tooltip: str | None) -> dict[str, str]:
    return {"name": name, **({"tooltip": tooltip} if tooltip else {})}
