"""Fuzzers of Control Stack Panel: its text, and the graph that its rows become in ComfyUI."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

from pack.control import panel_rows

from .frame import Fuzzer, damaged, name, odd

NET = "case_panel_canny.safetensors"
RIGHT: dict[str, tuple[Any, ...]] = {
    "id": ("a1", "b", "row-2_x"),
    "on": (True, True, True, False),
    "net": (NET, NET, NET, "model_patches/x.safetensors", "gone.pth", ""),
    "image": (0, 0, 1, 15),
    "method": ("none", "auto", "canny", "tile", "depth", "segmentation"),
    "params": ({}, {"low_threshold": 5}, {"engine": "none"}, {"paint": "sky"}),
    "resolution": (0, 512, 8192),
    "strength": (0, 0.5, 10),
    "start": (0, 0.2),
    "end": (1, 0.5),
    "mode": ("balanced", "prompt", "control", "cond_only"),
    "fit": ("crop", "stretch", "pad", "region"),
    "union_type": ("auto", "canny", "depth:0.5, canny"),
    "schedule": ("", "0:1, 0.6:0", "6s:0.5 | step"),
    "layers": ("", "soft 0.825", "1,1,0.5"),
    "effect_mask": (None, 0, 3),
    "inpaint_mask": (None, 1),
}
OTHER_KEYS = (
    "strenght",
    "Image",
    "start_percent",
    "note",
    "",
    "__proto__",
    "v",
    "\ud800",
    "n" * 99,
)
MARKUP = (
    "<img src=x onerror=alert(1)>",
    "</script>",
    "{0}",
    "%s",
    "${x}",
    "../../etc/passwd",
    "\0",
)


def _row(rng: random.Random) -> Any:
    """Make a row: right, with an odd value, or nothing of the kind."""
    if rng.random() < 0.03:
        return odd(rng)
    keys = [key for key in RIGHT if key == "net" or rng.random() < 0.5]
    row: dict[str, Any] = {key: rng.choice(RIGHT[key]) for key in keys}
    if rng.random() < 0.4:
        key = rng.choice(tuple(RIGHT))
        row[key] = rng.choice((odd(rng), rng.choice(MARKUP), name(rng), float("nan"), "x" * 5000))
    if rng.random() < 0.1:
        row["params"] = {rng.choice((*OTHER_KEYS, "low_threshold", "engine")): odd(rng)}
    if rng.random() < 0.15:
        row[rng.choice(OTHER_KEYS)] = odd(rng)
    if rng.random() < 0.03:
        del row["net"]
    return row


def text_case(rng: random.Random, _base: Path) -> Any:
    """Make a panel's text, whole or damaged; now and then another value."""
    count = rng.choice((0, 1, 1, 2, 3, 8)) if rng.random() < 0.98 else rng.choice((100, 101, 5000))
    panel: Any = {"v": 1, "rows": [_row(rng) for _ in range(count)]}
    if rng.random() < 0.08:
        panel[rng.choice(("v", "rows", "more"))] = odd(rng)
    if rng.random() < 0.02:
        panel = odd(rng)
    text = json.dumps(panel)
    kind = rng.random()
    if kind < 0.1:
        return damaged(rng, text.encode()).decode(
            "utf-8", rng.choice(("replace", "surrogateescape"))
        )
    if kind < 0.12:
        return rng.choice(("[", '{"v":')) * rng.choice((10, 100_000))
    if kind < 0.13:
        return '{"v":1,"rows":' + "9" * rng.choice((10, 5000, 1_000_001)) + "}"
    return odd(rng) if kind < 0.14 else text


def read(text: Any) -> None:
    """Read a panel as the node does; what was read is named and within its bounds."""
    rows = panel_rows.read_panel(text)
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        assert 0 <= row.strength <= 10
        assert 0 <= row.image < panel_rows.MOST_SOCKETS


def host_case(rng: random.Random, base: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Make a text, and what is connected to the panel."""
    file = base / "models" / "controlnet" / NET
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(struct.pack("<Q", 2) + b"{}")
    images = {f"image{i}": ["9", i] for i in range(rng.randrange(3))}
    return text_case(rng, base), images, {f"mask{i}": ["8", i] for i in range(rng.randrange(3))}


def expand(case: tuple[Any, dict[str, Any], dict[str, Any]]) -> None:
    """Check and expand a panel as the node does: its graph has our nodes and listed files alone."""
    import folder_paths

    from pack.host import panel_graph

    text, images, masks = case
    refusal = panel_graph.refusal(text, images, masks)
    others = {"positive": ["7", 0]}
    sockets = panel_graph.Sockets.of(images, masks, others)
    graph, outputs = panel_graph.expand(panel_rows.read_panel(text), sockets)
    assert not refusal, "what was refused before the run was expanded"
    assert len(outputs) == 3
    files = {
        *folder_paths.get_filename_list("controlnet"),
        *folder_paths.get_filename_list("model_patches"),
    }
    for node in graph.values():
        assert node["class_type"].startswith("ControlStack")
        file = node["inputs"].get("control_net_name", NET)
        assert file.removeprefix("model_patches/") in files
        for value in node["inputs"].values():
            assert not isinstance(value, list) or value[0] in {*graph, "7", "8", "9"}


ROWS = (
    Fuzzer("panel texts", text_case, read, (panel_rows.PanelError,)),
    Fuzzer("panels", host_case, expand, (panel_rows.PanelError,), needs_host=True),
)
