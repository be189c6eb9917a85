"""Draw pictures with their hints and latents into files, and read them for training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

from pack.preprocessors import edges, scribble
from workbench.world import codec, drawn_hints, plain_shapes, scenery


def draw_shard(file: Path, name: str, count: int, size: int, encoder: codec.Codec) -> None:
    """Draw `count` pictures of one size and write what training reads of them."""
    draw = plain_shapes.shape if "shapes" in name else scenery.landscape
    scenes = [draw(f"{name} {file.stem} {i}", size) for i in range(count)]
    pictures = torch.from_numpy(np.stack([scene.picture for scene in scenes])).float() / 255
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rows = pictures.movedim(-1, 1).contiguous(memory_format=torch.channels_last)
        latents = torch.cat([encoder.encode(part).float() for part in rows.split(16)])
    arrays = {
        "latents": latents.to(torch.float16).contiguous().numpy(),
        "edges": _packed(edges.canny(pictures)),
        "scribble": _packed(scribble.xdog(pictures)),
        "segmentation": np.stack([scene.classes for scene in scenes]),
        "depth": np.stack([(scene.depth * 255).round().astype(np.uint8) for scene in scenes]),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    prompts = json.dumps([scene.prompt for scene in scenes])
    save_file(arrays, part, metadata={"prompts": prompts, "size": str(size)})
    part.replace(file)


def _packed(hints: Tensor) -> NDArray[np.uint8]:
    """Pack hints (B,H,W,3) in {0,1} to bits."""
    return np.packbits(hints[..., 0].numpy() > 0.5, axis=-1)


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size, as training reads them."""

    latents: Tensor
    """(N,4,h,w) float32"""
    prompts: Sequence[str]
    kind: str
    """Which hints were read; empty for none."""
    hints: NDArray[np.uint8] | None

    def hint(self, row: int) -> Tensor:
        """Return a hint (H,W,3) in [0,1], as the preprocessor gives it."""
        assert self.hints is not None
        return hint_of(self.kind, self.hints[row])


def hint_of(kind: str, stored: NDArray[np.uint8]) -> Tensor:
    """Return a stored hint as (H,W,3) in [0,1]."""
    if kind in ("edges", "scribble"):
        grey = torch.from_numpy(np.unpackbits(stored, axis=-1)).float()
    elif kind == "depth":
        grey = torch.from_numpy(stored).float() / 255
    else:
        return drawn_hints.segmentation_hint(stored)
    return grey[..., None].expand(-1, -1, 3)


def read(folder: Path, hint: str = "") -> Pictures:
    """Read every file of a drawing stage."""
    latents, prompts, hints = [], list[str](), []
    if not folder.is_dir():
        raise SystemExit(
            f"{folder.name} was not run yet: leave --only out, or name it before this."
        )
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "np") as shard:
            latents.append(torch.from_numpy(shard.get_tensor("latents")).float())
            prompts += json.loads(shard.metadata()["prompts"])
            if hint:
                hints.append(shard.get_tensor(hint))
    return Pictures(torch.cat(latents), prompts, hint, np.concatenate(hints) if hint else None)
