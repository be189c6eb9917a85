"""The public surface of our nodes as plain data, from what the host tells its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What is left of an input's options: the host adds keys with its versions, and tooltips may
# improve.
KEPT = ("default", "min", "max", "step", "multiline", "forceInput")
FILES = "the files of a folder"
LISTS_FILES = {("ControlStackLoad", "control_net_name"), ("ControlStackLoadPose", "file")}


def surface(object_info: Mapping[str, Any]) -> dict[str, Any]:
    """Ids, inputs in order and outputs of every node of ours."""
    return {
        name: _node(name, known)
        for name, known in sorted(object_info.items())
        if name.startswith("ControlStack")
    }


def _node(name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    outputs = [list(pair) for pair in zip(known["output_name"], known["output"], strict=True)]
    return {
        "shown_as": known["display_name"],
        "inputs": _inputs(name, known["input"]),
        "outputs": outputs,
    }


def _inputs(node: str, groups: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "needed": group == "required", **_declared(node, name, declared)}
        for group in ("required", "optional")
        for name, declared in groups.get(group, {}).items()
    ]


def _declared(node: str, name: str, declared: Any) -> dict[str, Any]:
    kind, options = declared[0], declared[1] if len(declared) > 1 else {}
    kept = {key: options[key] for key in KEPT if options.get(key) is not None}
    choices = kind if isinstance(kind, list) else options.get("options")
    if isinstance(kind, list):
        kind = "COMBO"
    if isinstance(kind, str):
        kind = kind.removesuffix(
            ",CURVE"
        )  # hosts that have this type let its wires into a schedule too
    if (node, name) in LISTS_FILES:
        return {"type": kind, "choices": FILES}
    if choices and isinstance(
        choices[0], dict
    ):  # a dynamic combo: each choice brings inputs of its own
        choices = [
            {"choice": choice["key"], "inputs": _inputs(node, choice["inputs"])}
            for choice in choices
        ]
    return {"type": kind, **kept, **({"choices": choices} if choices else {})}
