"""Reduce what ComfyUI tells its frontend to the nodes' public surface, as plain data.

Saved workflows rely on it: values are stored by position, and choices by name. So it changes by
appending alone; `broken` says what does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What is compared of an input's options: ComfyUI adds keys with its versions, and tooltips may
# improve.
OPTIONS = ("default", "min", "max", "step", "multiline", "forceInput")
FILES = "the files of a folder"
LISTS_FILES = {("ControlStackLoad", "control_net_name"), ("ControlStackLoadPose", "file")}


def surface(object_info: Mapping[str, Any]) -> dict[str, Any]:
    """Return ids, inputs in order and outputs of every node of ours."""
    return {
        name: _node(name, declared)
        for name, declared in sorted(object_info.items())
        if name.startswith("ControlStack")
    }


def broken(pinned: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what breaks saved workflows: everything that is not a node or an input appended."""
    removed = [f"{node} is gone" for node in pinned if node not in now]
    changed = (
        f"{node}: {sentence}"
        for node in pinned
        if node in now
        for sentence in _broken_node(pinned[node], now[node])
    )
    return [*removed, *changed]


def _broken_node(pinned: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if pinned["shown_as"] != now["shown_as"]:
        yield f"it was shown as {pinned['shown_as']!r}"
    if now["outputs"][: len(pinned["outputs"])] != pinned["outputs"]:
        yield "an output was removed, moved, renamed or retyped"
    yield from _broken_inputs(pinned["inputs"], now["inputs"])


def _broken_inputs(pinned: list[dict[str, Any]], now: list[dict[str, Any]]) -> Iterator[str]:
    names = [declared["name"] for declared in pinned]
    if [declared["name"] for declared in now[: len(pinned)]] != names:
        yield f"its inputs must begin with {', '.join(names)}, in this order"
        return
    for before, after in zip(pinned, now, strict=False):
        yield from _broken_input(before, after)
    for added in now[len(pinned) :]:
        if added["needed"]:
            yield f"the new input {added['name']} must be optional"


def _broken_input(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    name = before["name"]
    for key in (*dict.fromkeys((*before, *after)),):
        if key != "choices" and before.get(key) != after.get(key):
            yield f"{name}: its {key} was {before.get(key)!r} and is {after.get(key)!r}"
    old, new = before.get("choices"), after.get("choices")
    if not isinstance(old, list) or not isinstance(new, list):
        if old != new:
            yield f"{name}: its choices were {old!r}"
        return
    if isinstance(old[0], dict):
        choices = {choice["choice"]: choice["inputs"] for choice in new}
        for choice in (choice for choice in old if choice["choice"] in choices):
            for sentence in _broken_inputs(choice["inputs"], choices[choice["choice"]]):
                yield f"{name} {choice['choice']}: {sentence}"
        old, new = [choice["choice"] for choice in old], [*choices]
    # The first is what a new node begins with; the others are stored by name.
    if new[0] != old[0] or [choice for choice in new if choice in old] != old:
        yield f"{name}: a choice was removed, renamed or moved; they were {', '.join(old)}"


def _node(name: str, declared: Mapping[str, Any]) -> dict[str, Any]:
    outputs = zip(declared["output_name"], declared["output"], strict=True)
    return {
        "shown_as": declared["display_name"],
        "inputs": _inputs(name, declared["input"]),
        "outputs": [list(output) for output in outputs],
    }


def _inputs(node: str, groups: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "needed": group == "required", **_declared(node, name, declared)}
        for group in ("required", "optional")
        for name, declared in groups.get(group, {}).items()
    ]


def _declared(node: str, name: str, declared: Any) -> dict[str, Any]:
    kind, options = declared[0], declared[1] if len(declared) > 1 else {}
    compared = {key: options[key] for key in OPTIONS if options.get(key) is not None}
    choices = kind if isinstance(kind, list) else options.get("options")
    if isinstance(kind, list):
        kind = "COMBO"
    if isinstance(kind, str):
        # versions of ComfyUI that have this type let its links into a schedule too
        kind = kind.removesuffix(",CURVE")
    if (node, name) in LISTS_FILES:
        return {"type": kind, "choices": FILES}
    if choices and isinstance(choices[0], dict):  # a dynamic combo: a choice brings inputs
        choices = [
            {"choice": choice["key"], "inputs": _inputs(node, choice["inputs"])}
            for choice in choices
        ]
    return {"type": kind, **compared, **({"choices": choices} if choices else {})}
