"""Load the pack as ComfyUI does: by path, under an alias, with the repository off sys.path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]


def _load(name: str, folder: Path):
    if name not in sys.modules:
        init = folder / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            name, init, submodule_search_locations=[str(folder)]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


_load("pack", ROOT)
_load("workbench", ROOT / "workbench")
_load("fuzz", ROOT / "tests" / "fuzz")


@pytest.fixture(autouse=True)
def _seeded():
    import torch

    torch.manual_seed(0)
