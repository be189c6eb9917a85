"""Make the hints of drawn scenes: by the pack's own preprocessors, or from the drawing's own maps.

The pack is imported as `pack` first (`inprocess.load_package`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pack.preprocessors import edges, palettes, scribble, segmentation

from .canvas import CLASSES, Drawing

NETS = ("edges", "scribble", "segmentation", "depth")
"""The world's nets, by what their hints are."""
LABELS = tuple(palettes.ADE20K.index_of(name) for name in CLASSES)
"""ADE20K's label of each class."""


def pictures(scenes: Sequence[Drawing]) -> Tensor:
    """Return the pictures of scenes as (B,H,W,3) in [0,1]."""
    return torch.from_numpy(np.stack([scene.picture for scene in scenes])).float() / 255


def hints(net: str, scenes: Sequence[Drawing]) -> Tensor:
    """Return what a net of the world reads for each scene: (B,H,W,3) in [0,1]."""
    if net == "segmentation":
        return torch.stack([segmentation_hint(scene.classes) for scene in scenes])
    if net == "depth":
        depth = torch.from_numpy(np.stack([scene.depth for scene in scenes]))
        return depth[..., None].expand(-1, -1, -1, 3)
    return STROKES[net](pictures(scenes))


STROKES = {"edges": edges.canny, "scribble": scribble.xdog}
"""The preprocessor of each net whose hints are white lines on black."""


def segmentation_hint(classes: NDArray[np.uint8]) -> Tensor:
    """Colour classes (H,W) by the pack's own preprocessor: (H,W,3)."""
    labels = torch.from_numpy(np.asarray(LABELS, np.float32)[classes])[None] / 255
    blank = torch.zeros(*labels.shape, 3)
    hint: Any = segmentation.segmentation(blank, engine="blank", palette="ade20k", label_map=labels)
    return (hint[0] if isinstance(hint, tuple) else hint)[0]
