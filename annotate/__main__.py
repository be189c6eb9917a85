"""`python3 annotate IN OUT --method canny`: hints for a whole data set, without ComfyUI."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDED = {"torch": "torch", "numpy": "numpy", "PIL": "pillow", "cv2": "opencv-python-headless"}


def main() -> int:
    """Load the pack by its path, whatever its folder is called, and run the command."""
    if missing := [package for module, package in NEEDED.items() if find_spec(module) is None]:
        print(
            f"error: this Python lacks packages: run `{sys.executable} -m pip install"
            f" {' '.join(missing)}`",
            file=sys.stderr,
        )
        return 1
    sys.path.pop(0)  # this folder: its modules are those of the pack
    spec = spec_from_file_location(
        "controlstack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    sys.modules["controlstack"] = module_from_spec(spec)
    if sys.argv[1:] == [(crew := import_module("controlstack.annotate.crew")).WORKER]:
        crew.as_worker()
        return 0
    return import_module("controlstack.annotate.command").main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
