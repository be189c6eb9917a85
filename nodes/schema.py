"""Declare what every node has in common, on every version of ComfyUI."""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io

CATEGORY = "ControlStack"
_SCHEMA_FIELDS = {field.name for field in dataclasses.fields(io.Schema)}

ControlStack = io.Custom("CONTROL_STACK")


def schema(node_id: str, *, category: str = "", **declared: Any) -> io.Schema:
    """Make an `io.Schema` in our category, without the fields that this ComfyUI does not have yet.

    An example is `search_aliases`, which came with 0.11.
    """
    declared = {"is_experimental": True, **declared}
    supported = {name: value for name, value in declared.items() if name in _SCHEMA_FIELDS}
    return io.Schema(
        node_id=node_id, category=f"{CATEGORY}/{category}" if category else CATEGORY, **supported
    )
