"""Decode picture files of unknown origin: the size is checked first, damage is one kind of error.

Needs Pillow and NumPy only. ComfyUI's folders hold whatever was uploaded, and data sets come from
anywhere; both are read here, with their own limits and their own way to lay transparency.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error)
"""What Pillow's decoders raise for files that are cut short or damaged."""

SMALL_PX, MOST_PX_PER_BYTE = 4_000_000, 10_000
"""More than the densest PNG or lossy WebP holds; a file that claims more would only take memory."""


class PictureError(ValueError):
    """A picture that cannot be used: `kind` names the fault in words that can be counted."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind, self.detail = kind, detail


@dataclass(frozen=True)
class Rules:
    """What a caller accepts and how it wants pixels.

    `formats` are Pillow's names. `flatten` removes transparency and `to_rgb` converts the upright
    picture to (H,W,3) float32 in [0,1].
    """

    formats: tuple[str, ...]
    max_pixels: int
    flatten: Callable[[Image.Image], Image.Image]
    to_rgb: Callable[[Image.Image], NDArray[np.float32]]


def decode(source: Path | bytes, rules: Rules, name: str = "the picture") -> NDArray[np.float32]:
    """Return (H,W,3) float32 in [0,1], turned upright by EXIF; the first frame of an animation.

    Raises PictureError of kind "too large" before anything is decoded, "unreadable" for a file that
    is not a picture of these formats, "damaged" for one that breaks off or is corrupt.
    """
    with _opened(source, rules, name) as picture:
        try:
            return rules.to_rgb(rules.flatten(ImageOps.exif_transpose(picture)))
        except Image.DecompressionBombError as error:  # a frame larger than its file's header says
            raise PictureError("too large", f"{name} ({error})") from error
        except _DAMAGE as error:
            raise PictureError("damaged", name) from error


def _opened(source: Path | bytes, rules: Rules, name: str) -> Image.Image:
    """Read the header only. Raises PictureError as `decode`."""
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        picture = Image.open(file, formats=rules.formats)
    except Image.DecompressionBombError as error:
        raise PictureError("too large", f"{name} ({error})") from error
    except (UnidentifiedImageError, *_DAMAGE) as error:
        raise PictureError("unreadable", name) from error
    pixels, size = picture.width * picture.height, f"{picture.width}×{picture.height}"
    if pixels > rules.max_pixels:
        picture.close()
        raise PictureError("too large", f"{name} is {size}")
    length, is_bounded = _length(source)
    if is_bounded and pixels > max(SMALL_PX, length * MOST_PX_PER_BYTE):
        picture.close()
        raise PictureError("damaged", f"{name} claims {size} pixels in {length:,} bytes")
    return picture


def _length(source: Path | bytes) -> tuple[int, bool]:
    """Return a file's bytes, and whether they bound its pixels.

    In lossless WebP a picture of one colour takes a few bytes, whatever its size.
    """
    if isinstance(source, bytes):
        length, head = len(source), source[:16]
    else:
        length = source.stat().st_size
        with source.open("rb") as file:
            head = file.read(16)
    return length, head[:4] != b"RIFF" or head[12:] == b"VP8 "


# -- transparency ----------------------------------------------------------------------------------


def ignore_transparency(picture: Image.Image) -> Image.Image:
    """Keep the colours under transparent pixels, as ComfyUI's LoadImage does."""
    return picture


def over_white(picture: Image.Image) -> Image.Image:
    """Lay a picture with transparency over white."""
    if picture.mode not in ("RGBA", "LA", "PA") and "transparency" not in picture.info:
        return picture
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


# -- pixels ----------------------------------------------------------------------------------------


def rgb_like_comfyui(picture: Image.Image) -> NDArray[np.float32]:
    """Convert as ComfyUI's LoadImage does, which scales 32-bit greys by 1/255."""
    if picture.mode == "I":
        picture = picture.point(lambda level: level * (1 / 255))
    return _rgb(picture)


def rgb_full_range(picture: Image.Image) -> NDArray[np.float32]:
    """Convert so that 16-bit greys keep all their levels: 65535 is white."""
    if not picture.mode.startswith(("I", "F")):
        return _rgb(picture)
    white = 65535 if picture.mode.startswith("I") else 1
    grey = np.asarray(picture, np.float32) / white
    return np.repeat(grey.clip(0, 1)[..., None], 3, axis=2)


def _rgb(picture: Image.Image) -> NDArray[np.float32]:
    levels = np.array(picture.convert("RGB"), np.float32)
    levels /= 255
    return levels
