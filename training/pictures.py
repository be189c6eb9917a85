"""Pictures of a data set: found inside its folder, read from files, or held in memory."""

from __future__ import annotations

import codecs
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..host.folders import FileNameError, inside
from ..host.picture_files import PictureError, Rules, decode, over_white, rgb_full_range

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 8192 * 8192
MAX_BYTES = 512 * 2**20
OUTSIDE = "outside the data set's folder"


RULES = Rules(FORMATS, MAX_PIXELS, over_white, rgb_full_range)


class Picture(Protocol):
    """A picture that can be read, from wherever it is stored."""

    def read(self) -> Tensor:
        """Return (H,W,3) float32 in [0,1]."""
        ...


@dataclass(frozen=True)
class FilePicture:
    """A file, read each time: a data set may be larger than memory."""

    path: Path

    def read(self) -> Tensor:
        """Decode the file."""
        return decoded(contents(self.path))


@dataclass(frozen=True)
class KeptPicture:
    """8-bit levels, packed: hints that a method made are mostly black."""

    packed: bytes
    height: int
    width: int

    @classmethod
    def of(cls, image: Tensor) -> KeptPicture:
        """Pack (H,W,3) in [0,1], rounded to 8 bits as a hint in a file is."""
        levels = (image.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()
        return cls(zlib.compress(levels.tobytes(), 1), *image.shape[:2])

    def read(self) -> Tensor:
        """Unpack the levels."""
        levels = np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(
            self.height, self.width, 3
        )
        return torch.from_numpy(levels.astype(np.float32) / 255)


@dataclass(frozen=True)
class TensorPicture:
    """A picture of the graph, exactly as it came: (H,W,3) float32."""

    image: Tensor

    def read(self) -> Tensor:
        """Return the picture itself."""
        return self.image


def within(folder: Path, name: str) -> Path:
    """Return the file `folder`/`name`, links followed.

    Raises PictureError where it is missing or leads out of `folder`.
    """
    try:
        path = inside(folder, name.replace("\\", "/"), detours=True)
    except FileNameError as error:
        is_outside = error.fault in ("path", "outside")
        raise PictureError(OUTSIDE if is_outside else "missing", name) from error
    if not path.is_file():
        raise PictureError("missing", name)
    return path


def contents(path: Path) -> bytes:
    """Return a file's bytes.

    Raises PictureError where it is too large to be a picture, or cannot be read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PictureError(
                "too large", f"{path.name} has {path.stat().st_size / 2**20:,.0f} MB"
            )
        return path.read_bytes()
    except OSError as error:
        raise PictureError("unreadable", f"{path.name} ({error.strerror})") from error


def decoded(data: bytes, name: str = "") -> Tensor:
    """Return (H,W,3) float32 in [0,1], upright, transparency over white.

    Raises PictureError for a picture beyond MAX_PIXELS, or one that is damaged, cut short or not a
    picture.
    """
    try:
        return torch.from_numpy(decode(data, RULES, name))
    except PictureError as error:
        if error.kind != "damaged":
            raise
        raise PictureError("unreadable", name) from error


def fitted(image: Tensor, width: int, height: int, like: tuple[int, int] | None = None) -> Tensor:
    """Scale (H,W,3) to cover (height,width,3) and crop to its middle.

    A picture of that size comes back unchanged. `like` is the width and height of the picture that
    a hint belongs to: the hint is scaled to where that picture's pixels go, so that their edges
    meet although the aspects differ a little. Pixels below 0 mark an area to inpaint; they stay so.
    """
    if image.shape[:2] == (height, width) and like in (None, (width, height)):
        return image
    whole_width, whole_height = like or (image.shape[1], image.shape[0])
    scale = max(width / whole_width, height / whole_height)
    size = (max(height, round(whole_height * scale)), max(width, round(whole_width * scale)))
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    chw = image.movedim(-1, 0)[None]
    grown = F.interpolate(chw.clamp(0, 1), size, mode="bilinear", antialias=True)
    if bool((image < 0).any()):
        marks = F.interpolate((chw < 0).float().amax(1, keepdim=True), size, mode="nearest-exact")
        grown = torch.where(marks > 0, -1.0, grown)
    return grown[0, :, top : top + height, left : left + width].movedim(0, -1).contiguous()


def is_plain(image: Tensor) -> bool:
    """Tell whether a picture (H,W,3) is of one colour: as a hint it says nothing."""
    pixels = image.reshape(-1, image.shape[-1])
    return bool((pixels.amax(0) - pixels.amin(0) < 1 / 255).all())


def is_grey(image: Tensor) -> bool:
    """Tell whether a picture (H,W,3) is black, white and grey, but for a hundredth of it."""
    spread = image.amax(-1) - image.amin(-1)
    return bool((spread > 8 / 255).float().mean() < 0.01)


def decoded_text(data: bytes) -> str | None:
    """Return the text of a caption or list: UTF-8, or UTF-16 with its mark; else None.

    Editors and shells of Windows put a mark before the text, which is not part of it.
    """
    is_wide = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        text = data.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
