"""Use ComfyUI's own modules in this process, without a server, on the CPU or another device.

Host tests and benchmarks do.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from . import second_device
from .hosts import Host

ROOT = Path(__file__).resolve().parents[1]


def load_package(folder: Path, name: str) -> ModuleType:
    """Import the package in `folder` as `name`, as ComfyUI loads a pack: not through sys.path."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def open_host(host: Host, *, device: str = "cpu", base: Path | None = None) -> None:
    """Make `import comfy`, `import nodes`, `import folder_paths` mean this host.

    Call it once per process, before any of them is imported. `device`: "cpu", "cuda" for what
    ComfyUI chooses, or "second" for the device of `second_device`.
    """
    sys.path[:] = [
        p for p in sys.path if Path(p or ".").resolve() != ROOT
    ]  # our nodes/ would shadow the host's nodes
    sys.path.insert(0, str(host.path))
    import comfy.options

    comfy.options.enable_args_parsing(False)
    import comfy.cli_args

    comfy.cli_args.args.cpu = device == "cpu"
    comfy.cli_args.args.use_pytorch_cross_attention = True
    if base is not None:
        comfy.cli_args.args.base_directory = str(base)
    if device == second_device.NAME:
        sys.modules["torch_directml"] = second_device.as_directml()
        comfy.cli_args.args.directml = -1
