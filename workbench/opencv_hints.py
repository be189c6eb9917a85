"""Write the hints of every engine without weights to a file: what one build of OpenCV draws.

A script for `tests/unit/test_opencv_builds.py`, which runs it with several builds.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def hints() -> dict[str, np.ndarray]:
    """Draw two small pictures, one of them grey, with every row that needs no network."""
    import torch

    preprocessors = importlib.import_module("pack.preprocessors")
    y, x = np.mgrid[0:96, 0:128]
    rings = 0.5 + 0.5 * np.sin(np.hypot(x - 50, y - 40) / 4)
    blocks = ((x // 16 + y // 12) % 2) * 0.8 + 0.1
    colours = np.stack([rings, blocks, (x + y) / 224], -1)
    picture = torch.from_numpy(colours[None].astype(np.float32))
    drawn: dict[str, np.ndarray] = {}
    for row in preprocessors.CATALOGUE:
        engines = next((param.choices for param in row.params if param.name == "engine"), ("",))
        for engine in engines:
            if engine in row.weights or row.key == "pose":
                continue
            ports = {"depth": picture, "mask": picture[..., 0]}
            params = {port.name: ports[port.name] for port in row.inputs if port.name in ports}
            params |= {"engine": engine} if engine else {}
            for size in (0, 64):
                hint = row(picture, resolution=size, **params)
                drawn[f"{row.key} {engine} {size}"] = hint.numpy()
    return drawn


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this script
    spec = importlib.util.spec_from_file_location(
        "pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["pack"])
    np.savez(sys.argv[1], **hints())
    import cv2

    print(cv2.__version__, np.__version__)
