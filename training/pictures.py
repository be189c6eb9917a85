"""Pictures of unknown origin, read so that none can harm: size first, one decoder, nothing outside
the folder.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 8192 * 8192
MAX_BYTES = 512 * 2**20


class PictureError(ValueError):
    """A picture that cannot be used; `kind` is the fault in words that can be counted."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


class Picture(Protocol):
    def read(self) -> Tensor:
        """(H,W,3) float32 in [0,1]."""
        ...


@dataclass(frozen=True)
class FilePicture:
    """A file, read each time: a data set may be larger than memory."""

    path: Path

    def read(self) -> Tensor:
        return decoded(contents(self.path))


@dataclass(frozen=True)
class KeptPicture:
    """8-bit levels, packed: hints that a method made are mostly black."""

    packed: bytes
    height: int
    width: int

    @classmethod
    def of(cls, image: Tensor) -> KeptPicture:
        """(H,W,3) in [0,1], rounded to 8 bits as a hint in a file is."""
        levels = (image.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()
        return cls(zlib.compress(levels.tobytes(), 1), *image.shape[:2])

    def read(self) -> Tensor:
        levels = np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(
            self.height, self.width, 3
        )
        return torch.from_numpy(levels.astype(np.float32) / 255)


@dataclass(frozen=True)
class TensorPicture:
    """A picture of the graph, exactly as it came: (H,W,3) float32."""

    image: Tensor

    def read(self) -> Tensor:
        return self.image


def within(folder: Path, name: str) -> Path:
    """`folder/name`, links followed. Raises PictureError where it is missing or leads out of
    `folder`.
    """
    path = (folder / name.replace("\\", "/")).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise PictureError("outside the data set's folder", name)
    if not path.is_file():
        raise PictureError("missing", name)
    return path


def contents(path: Path) -> bytes:
    """A file's bytes. Raises PictureError where it is too large to be a picture, or cannot be read."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PictureError(
                "too large", f"{path.name} has {path.stat().st_size / 2**20:,.0f} MB"
            )
        return path.read_bytes()
    except OSError as error:
        raise PictureError("unreadable", f"{path.name} ({error.strerror})") from error


def decoded(data: bytes, name: str = "") -> Tensor:
    """(H,W,3) float32 in [0,1], upright, transparency over white. The size is judged before
    anything is decoded.

    Raises PictureError for a picture beyond MAX_PIXELS, or one that is damaged, cut short or none
    at all.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise PictureError("too large", f"{name} is {picture.width}×{picture.height}")
            return _pixels(picture)
    except Image.DecompressionBombError as error:
        raise PictureError("too large", f"{name} ({error})") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError("unreadable", name) from error


def _pixels(picture: Image.Image) -> Tensor:
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if upright.mode.startswith(("I", "F")):  # 16-bit greys keep their range
        grey = np.asarray(upright, np.float32) / (65535 if upright.mode.startswith("I") else 1)
        return torch.from_numpy(np.repeat(grey.clip(0, 1)[..., None], 3, axis=2))
    return torch.from_numpy(np.asarray(upright.convert("RGB"), np.float32) / 255)


def fitted(image: Tensor, width: int, height: int) -> Tensor:
    """(H,W,3) → (height,width,3): scaled to cover, the middle kept. A picture of that size comes
    back unchanged.
    """
    if image.shape[:2] == (height, width):
        return image
    scale = max(width / image.shape[1], height / image.shape[0])
    size = (max(height, round(image.shape[0] * scale)), max(width, round(image.shape[1] * scale)))
    grown = F.interpolate(
        image.movedim(-1, 0)[None], size, mode="bilinear", antialias=True, align_corners=False
    )[0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return grown[:, top : top + height, left : left + width].clamp(0, 1).movedim(0, -1).contiguous()
