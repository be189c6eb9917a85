"""What of our nodes people read, as the host's page wants it translated:
`locales/LANGUAGE/nodeDefs.json`.

`python -m pytest tests/http/test_locales.py --write-locales` writes English from the nodes
themselves, and into every other language what it lacks, as empty texts to be filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def english(object_info: Mapping[str, Any]) -> dict[str, Any]:
    """Titles, descriptions, names and tooltips of inputs and outputs of every node of ours."""
    return {
        name: _node(known)
        for name, known in sorted(object_info.items())
        if name.startswith("ControlStack")
    }


def completed(translated: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """`source`'s shape with the texts of `translated`; empty where it has none."""
    return {
        key: completed(translated.get(key, {}), value)
        if isinstance(value, dict)
        else translated.get(key, "")
        for key, value in source.items()
    }


def texts(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from texts(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _node(known: Mapping[str, Any]) -> dict[str, Any]:
    inputs = {
        key: said
        for group in ("required", "optional")
        for key, said in _inputs(known["input"].get(group, {}))
    }
    tips = known.get("output_tooltips") or [None] * len(known["output"])
    outputs = {
        str(index): _named(name, tip)
        for index, (name, tip) in enumerate(zip(known["output_name"], tips, strict=True))
    }
    said = {"display_name": known["display_name"], "description": known["description"]}
    return {**said, "inputs": inputs, "outputs": outputs}


def _inputs(declared: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """Every input, also those that a choice brings; the page writes an underscore where a name has
    a dot.
    """
    for name, (_, *rest) in declared.items():
        options = rest[0] if rest else {}
        yield f"{prefix}{name}", _named(name, options.get("tooltip"))
        for choice in options.get("options") or []:
            if isinstance(choice, dict):
                for group in ("required", "optional"):
                    yield from _inputs(choice["inputs"].get(group, {}), f"{prefix}{name}_")


def _named(name: str, tooltip: str | None) -> dict[str, str]:
    return {"name": name, **({"tooltip": tooltip} if tooltip else {})}
