"""Annotate clips a few frames at a time, equal to the whole clip at once.

Most methods draw each frame by itself. Those that look at the whole clip have a survey: a first
pass that only collects numbers, small enough for a file, from which a second pass draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .depth import PERCENTILES, drawn, inverse_of, keeps_values
from .images import tensor_of
from .keypoints import Frame, only
from .pose import KEYPOINTS, detected
from .skeleton import draw
from .spec import Networks, Preprocessor, Value
from .tracks import steady

Numbers = Mapping[str, NDArray[Any]]
Params = Mapping[str, Value]


class Means(NamedTuple):
    """What every call of a method takes beside pictures and parameters."""

    resolution: int
    networks: Networks | None


class Survey(Protocol):
    """What a method must know of a whole clip before it draws its first frame."""

    reads_frames: bool
    """Whether the second pass looks at the pictures again."""

    def look(self, frames: Tensor) -> None:
        """Add the numbers of the next frames (B,H,W,C)."""
        ...

    def numbers(self) -> Numbers:
        """Return all that was collected."""
        ...

    def draw(self, frames: Tensor | None, first: int, count: int) -> Tensor:
        """Draw the hints (B,h,w,3) of `count` frames from number `first` on."""
        ...


class DepthRange:
    """Depth whose black and white are those of the whole clip."""

    reads_frames = True

    def __init__(self, params: Params, means: Means, numbers: Numbers) -> None:
        self.params, self.means = params, means
        self.low, self.high = numbers.get("range", np.array([np.inf, -np.inf], np.float32))
        self.levels = Levels(numbers) if params["normalization"] == "percentile" else None

    def look(self, frames: Tensor) -> None:
        """Add the depths of frames."""
        inverse = self._inverse(frames)
        self.low = min(self.low, np.float32(inverse.min()))
        self.high = max(self.high, np.float32(inverse.max()))
        if self.levels:
            self.levels.add(inverse)

    def numbers(self) -> Numbers:
        """Return the range, and how often each depth occurs where percentiles need it."""
        counts: Numbers = self.levels.numbers() if self.levels else {}
        return {"range": np.array([self.low, self.high], np.float32), **counts}

    def draw(self, frames: Tensor | None, first: int, count: int) -> Tensor:
        """Draw frames between the limits of the clip."""
        del first, count
        assert frames is not None
        inverse = self._inverse(frames)
        edges = self.levels.at(PERCENTILES) if self.levels else (self.low, self.high)
        low, high = (inverse.new_tensor(float(edge)) for edge in edges)
        near, far = (float(self.params[name]) for name in ("remove_near", "remove_background"))
        return drawn(inverse, (low, high), 1 - near / 100, far / 100)

    def _inverse(self, frames: Tensor) -> Tensor:
        return inverse_of(
            frames,
            engine=str(self.params["engine"]),
            image_mode=str(self.params["image_mode"]),
            resolution=self.means.resolution,
            progress=None,
            networks=self.means.networks,
        )


DROPPED_BITS = 10
"""Of a float32's 32, the last: values that differ in them alone share a bin, 1/8192 wide."""


class Levels:
    """How often each value occurs, in bins of floats that are equal in all but their last bits."""

    def __init__(self, numbers: Numbers) -> None:
        self.counts = np.zeros(1 << (32 - DROPPED_BITS), np.int64)
        if "bins" in numbers:
            self.counts[numbers["bins"]] = numbers["counts"]

    def add(self, values: Tensor) -> None:
        """Count values of any shape."""
        bits = values.contiguous().view(torch.int32).reshape(-1)
        # The bits of negative floats fall where the value rises: flipped, they are in its order.
        ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        bins = ((ordered >> DROPPED_BITS) + len(self.counts) // 2).numpy()
        first = int(bins.min())
        counts = np.bincount(bins - first)
        self.counts[first : first + len(counts)] += counts

    def numbers(self) -> Numbers:
        """Return the bins that are not empty."""
        bins = np.flatnonzero(self.counts)
        return {"bins": bins.astype(np.int32), "counts": self.counts[bins]}

    def at(self, percentiles: tuple[float, float]) -> tuple[float, float]:
        """Return percentiles, interpolated within their bins."""
        until = np.cumsum(self.counts)

        def value(percent: float) -> float:
            rank = percent / 100 * (int(until[-1]) - 1)
            index = int(np.searchsorted(until, rank, side="right"))
            inside = (rank - int(until[index] - self.counts[index])) / int(self.counts[index])
            low, high = _edge(index), _edge(index + 1)
            return low + (high - low) * inside

        return value(percentiles[0]), value(percentiles[1])


def _edge(index: int) -> float:
    """Return the least value of a bin."""
    ordered = torch.tensor(index - (1 << (31 - DROPPED_BITS)), dtype=torch.int32) << DROPPED_BITS
    bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
    return float(bits.view(torch.float32))


class PoseTracks:
    """People in one order throughout, steadied over the clip; they are drawn without pictures."""

    reads_frames = False

    def __init__(self, params: Params, means: Means, numbers: Numbers) -> None:
        self.params, self.means = params, means
        self.frames = _frames(numbers) if len(numbers.get("counts", ())) else []
        self.steadied: list[Frame] | None = None

    def look(self, frames: Tensor) -> None:
        """Detect the people of frames."""
        self.frames += detected(
            frames,
            engine=str(self.params["engine"]),
            hands=bool(self.params["hands"]),
            face=bool(self.params["face"]),
            score_threshold=float(self.params["score_threshold"]),
            resolution=self.means.resolution,
            progress=None,
            networks=self.means.networks,
        )

    def numbers(self) -> Numbers:
        """Return the people of all frames, one after the other, and how many each frame has."""
        people = [frame.people for frame in self.frames]
        return {
            "people": np.concatenate(people) if people else np.zeros((0, 136, 3)),
            "counts": np.array([len(each) for each in people], np.int32),
            "size": np.array([(each.height_px, each.width_px) for each in self.frames[:1]]),
        }

    def draw(self, frames: Tensor | None, first: int, count: int) -> Tensor:
        """Draw the people of some frames."""
        del frames
        if self.steadied is None:
            self.steadied = self._steadied()
        switches = {part: bool(self.params[part]) for part in ("body", "hands", "face")}
        here = only(self.steadied[first : first + count], **switches)
        width = str(self.params["stick_width"])
        return draw(here, here[0].height_px, here[0].width_px, stick_width=width, seen_score=0.0)

    def _steadied(self) -> list[Frame]:
        settings = {name: self.params[name] for name in ("people", "smooth_frames", "fill_frames")}
        if len(self.frames) < 2 and not any(settings.values()):
            return self.frames
        return steady(
            self.frames,
            people=int(settings["people"]),
            smooth_frames=float(settings["smooth_frames"]),
            fill_frames=int(settings["fill_frames"]),
        )


def _frames(numbers: Numbers) -> list[Frame]:
    ends: list[int] = np.cumsum(numbers["counts"])[:-1].tolist()
    height_px, width_px = (int(side) for side in numbers["size"][0])
    return [Frame(people, height_px, width_px) for people in np.split(numbers["people"], ends)]


class Whole(NamedTuple):
    """A method that looks at whole clips: with which parameters, and its survey."""

    applies: Callable[[Params], bool]
    survey: Callable[[Params, Means, Numbers], Survey]


def _spreads_clip(params: Params) -> bool:
    is_fixed = keeps_values(str(params["engine"]), str(params["image_mode"]))
    return params["normalization"] != "frame" and not is_fixed


def _detects(params: Params) -> bool:
    return params["engine"] != KEYPOINTS


WHOLE: Mapping[str, Whole] = {
    "depth": Whole(_spreads_clip, DepthRange),
    "pose": Whole(_detects, PoseTracks),
}
"""Methods, by their key, whose hints of a frame depend on others of the clip."""


def survey_of(
    row: Preprocessor, params: Params, means: Means, numbers: Numbers | None = None
) -> Survey | None:
    """Return a method's survey, continued from `numbers`; None where each frame stands alone."""
    whole = WHOLE.get(row.key)
    if whole is None or not whole.applies(params):
        return None
    return whole.survey(params, means, numbers or {})


def hint_levels(hints: Tensor, *, grey: bool) -> NDArray[np.uint8]:
    """Round hints (B,h,w,3) in [0,1] to levels (B,h,w,3), or (B,h,w,1) where all are equal."""
    levels = (hints * 255).round_().clamp_(0, 255).byte().cpu()
    return np.ascontiguousarray((levels[..., :1] if grey else levels).numpy())


def pictures(frames: list[NDArray[Any]]) -> Tensor:
    """Stack decoded frames (H,W,C), bytes or floats, as pictures (B,H,W,C) in [0,1]."""
    stacked = np.stack(frames)
    if stacked.dtype == np.uint8:
        return tensor_of(stacked).float().div_(255)
    return tensor_of(stacked)
