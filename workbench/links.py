"""Give templates names that can stand in links to ComfyUI's page, and their models files.

The page opens `?template=NAME&source=PACK` only for letters, digits and `_.-`, and the names of our
templates are titles with spaces. So a pack of its own offers a copy under such a name.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

PACK = "controlstack_links"
TINY = {
    "controlnet": "control_v11p_sd15_canny_fp16.safetensors",
    "checkpoints": "v1-5-pruned-emaonly-fp16.safetensors",
}
"""The tiny model that stands for all of its folder, and runs."""
BLOCK = "controlnet_blocks.0.weight"
HEADERS: Mapping[str, Mapping[str, list[int]]] = {
    "Z-Image-Turbo-Fun-Controlnet-Union-2.1-2602-8steps.safetensors": {
        "control_all_x_embedder.2-1.weight": [1],
    },
    "Qwen-Image-InstantX-ControlNet-Union.safetensors": {
        **{BLOCK: [1, 1], "controlnet_x_embedder.weight": [1, 64]},
        "transformer_blocks.0.img_mlp.net.0.proj.weight": [1, 1],
    },
    "diffusion_pytorch_model.safetensors": {
        **{BLOCK: [1, 1], "pos_embed_input.weight": [1, 64]},
        "controlnet_mode_embedder.weight": [10, 1],
    },
}
"""Nets for other bases: keys by which the page recognises the file that stands for them."""


def pack_of(template: Path, folder: Path) -> Path:
    """Write a pack without nodes into `folder` that offers the template, and return the folder."""
    (folder / "example_workflows").mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n", encoding="utf-8")
    shutil.copy(template, folder / "example_workflows" / f"{name_of(template)}.json")
    return folder


def name_of(template: Path) -> str:
    """Return the template's name in a link: its own, with underscores for all other characters."""
    return re.sub(r"[^\w.-]", "_", template.stem, flags=re.ASCII)


def query(template: Path) -> str:
    """Return what follows the address of ComfyUI's page to open the template there."""
    return f"/?template={name_of(template)}&source={PACK}"


def can_run(template: Mapping[str, Any]) -> bool:
    """Return whether tiny models stand for all that a template names; the page opens it anyway."""
    named = (model for node in template["nodes"] for model in node["properties"].get("models", []))
    return all(model["directory"] in TINY and model["name"] not in HEADERS for model in named)


def write_header(file: Path, shapes: Mapping[str, list[int]]) -> None:
    """Make a file whose header tells what it is, as far as one can tell; it is never loaded."""
    header, end = dict[str, Any](), 0
    for key, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


@contextlib.contextmanager
def named_models(models: Path, templates: Iterable[Mapping[str, Any]]) -> Iterator[None]:
    """Let a tiny model below `models` stand for each that a template names, while this lasts.

    Models in folders without tiny ones, and nets for other bases, are headers alone.
    """
    named = {
        (model["directory"], model["name"])
        for template in templates
        for node in template["nodes"]
        for model in node["properties"].get("models", [])
    }
    given = []
    for directory, name in sorted(named):
        if not (file := models / directory / name).exists():
            if name in HEADERS or directory not in TINY:
                write_header(file, HEADERS.get(name, {}))
            else:
                os.link(models / directory / TINY[directory], file)
            given.append(file)
    try:
        yield
    finally:
        for file in given:
            file.unlink()
