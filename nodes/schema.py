"""What every node declares the same way, on every host version."""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io

CATEGORY = "ControlStack"
_KNOWN_FIELDS = {field.name for field in dataclasses.fields(io.Schema)}

ControlStack = io.Custom("CONTROL_STACK")


def schema(node_id: str, *, category: str = "", **declared: Any) -> io.Schema:
    """An `io.Schema` in our category; what this host does not know yet (`search_aliases` before
    0.11) is left out.
    """
    declared = {"is_experimental": True, **declared}
    known = {name: value for name, value in declared.items() if name in _KNOWN_FIELDS}
    return io.Schema(
        node_id=node_id, category=f"{CATEGORY}/{category}" if category else CATEGORY, **known
    )
