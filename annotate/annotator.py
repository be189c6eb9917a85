"""Annotate one sample: its hints as PNGs, and a JSON that says how they came about."""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..host.weight_files import WeightsError
from ..preprocessors.spec import Networks, Value
from ..training.pictures import decoded, is_plain
from .job import Job, Method, StopError, version
from .samples import Sample, safe_key

ORIENTATION = 274
"""The EXIF tag that turns a picture; loaders of webdataset do not read it."""
PNG_LEVEL = 3
"""Of zlib, as OpenCV's default: 6 takes up to three times as long for files 5 % smaller."""


LOST_CARD = "CUDA error"
"""In errors after which nothing runs on a card until the process has ended."""


class UnusableError(ValueError):
    """A picture that a method cannot annotate."""


@dataclass(frozen=True)
class Entry:
    """What is stored of a sample: endings and bytes, the picture's ending first."""

    key: str
    picture: str
    members: Mapping[str, bytes]
    plain: tuple[str, ...]
    """The methods whose hint is of one colour."""


class Annotator:
    """The methods of a job, with their networks."""

    def __init__(self, job: Job, networks: Networks) -> None:
        self.job, self.networks, self.version = job, networks, version()

    def entry(self, sample: Sample) -> Entry:
        """Annotate a sample with every method.

        Raises UnusableError or PictureError for a sample to leave out, StopError where nothing else
        could go better.
        """
        image = decoded(sample.data, sample.source)
        suffix, data = _upright(sample, image)
        about: dict[str, Any] = {
            "key": safe_key(sample.key),
            "version": self.version,
            "picture": {**_size(image), "sha256": _sha256(data)},
            "hints": {},
        }
        if sample.beside is not None:
            about["input"] = sample.beside
        members, plain = (
            {suffix: data, ".txt": sample.caption.encode("utf-8", "replace")},
            list[str](),
        )
        for method in self.job.methods:
            params = own_params(method, about["key"])
            hint = self._hint(method, params, image)
            png = as_png(hint, grey=method.row.grey)
            members[f".{method.key}.png"] = png
            about["hints"][method.key] = {
                "params": params,
                "resolution": self.job.resolution,
                **_size(hint),
                "sha256": _sha256(png),
            }
            plain += [method.key] if is_plain(hint) else []
        members[".json"] = json.dumps(about, ensure_ascii=False, sort_keys=True).encode(
            "utf-8", "replace"
        )
        return Entry(about["key"], suffix, members, tuple(plain))

    def _hint(self, method: Method, params: Mapping[str, Value], image: Tensor) -> Tensor:
        """Return a hint (h,w,3) in [0,1]."""
        try:
            return method.row(
                image[None], resolution=self.job.resolution, networks=self.networks, **params
            )[0]
        except WeightsError as error:
            raise StopError(str(error)) from error
        except Exception as error:  # of thousands of pictures, an odd one must not end the run
            if LOST_CARD in str(error):
                raise
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise UnusableError(f"{method.key}: {reason}") from error


def own_params(method: Method, key: str) -> dict[str, Value]:
    """Return a picture's own parameters: its seed, where the method has one, follows from its key.

    With one seed for all, a net would learn to undo that one.
    """
    params = dict(method.params)
    if "seed" in params:
        most = next(param.maximum for param in method.row.params if param.name == "seed")
        params["seed"] = (int(params["seed"]) + zlib.crc32(key.encode())) % (int(most) + 1)
    return params


def _upright(sample: Sample, image: Tensor) -> tuple[str, bytes]:
    """Return a picture's ending and bytes as they came; one that EXIF turns becomes a PNG."""
    with Image.open(io.BytesIO(sample.data)) as picture:
        if picture.getexif().get(ORIENTATION, 1) in (0, 1):
            return sample.suffix, sample.data
    return ".png", as_png(image, grey=False)


def as_png(image: Tensor, *, grey: bool) -> bytes:
    """Return (H,W,3) in [0,1] as an 8-bit PNG, of one channel where all are equal."""
    levels: NDArray[np.uint8] = (image * 255).round().clamp(0, 255).byte().numpy()
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(levels[..., 0] if grey else levels)).save(
        file, "PNG", compress_level=PNG_LEVEL
    )
    return file.getvalue()


def _size(image: Tensor) -> dict[str, int]:
    return {"width": image.shape[1], "height": image.shape[0]}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
