"""Give a template a name that can stand in a link to ComfyUI's page.

The page opens `?template=NAME&source=PACK` only for letters, digits and `_.-`, and the names of our
templates are titles with spaces. So a pack of its own offers a copy under such a name.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

PACK = "controlstack_links"


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
