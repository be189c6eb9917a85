"""Give templates names that can stand in links to ComfyUI's page, and their models files.

The page opens `?template=NAME&source=PACK` only for letters, digits and `_.-`, and the names of our
templates are titles with spaces. So a pack of its own offers a copy under such a name.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

PACK = "controlstack_links"
TINY = {
    "controlnet": "control_v11p_sd15_canny_fp16.safetensors",
    "checkpoints": "v1-5-pruned-emaonly-fp16.safetensors",
}
"""The tiny model that stands for all of its folder."""


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


@contextlib.contextmanager
def named_models(models: Path, templates: Iterable[Mapping[str, Any]]) -> Iterator[None]:
    """Link every model that a template names to a tiny one below `models`, while this lasts."""
    named = {
        (model["directory"], model["name"])
        for template in templates
        for node in template["nodes"]
        for model in node["properties"].get("models", [])
    }
    given = []
    for directory, name in sorted(named):
        if not (file := models / directory / name).exists():
            os.link(models / directory / TINY[directory], file)
            given.append(file)
    try:
        yield
    finally:
        for file in given:
            file.unlink()
