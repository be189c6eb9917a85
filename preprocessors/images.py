"""The doors: float pictures in, 8-bit frames for the algorithms, float hints out, many frames at
once.

The references work on 8-bit RGB, so that is what an algorithm gets here; what it gives back may be
8-bit or float.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .spec import Forward, Networks, Outputs, Progress, Weights

Frame8 = NDArray[np.uint8]
"""(H,W,3) RGB in 0..255, C-contiguous."""
FloatFrame = NDArray[np.float32]
Map = NDArray[np.uint8] | NDArray[np.float32]
"""(H,W) or, in colour, (H,W,3): uint8 in 0..255 or float32 in [0,1]."""

_LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)
"""8-bit level → [0,1]."""
MAX_SIDE_PX = 16384
_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
_BITS_OF_ONE = 0x3F800000
"""float32 1.0 read as an unsigned integer."""


def opencv() -> ModuleType:
    """OpenCV, imported on first use; raises RuntimeError that says which package to install."""
    try:
        import cv2
    except ModuleNotFoundError as error:
        if error.name != "cv2":
            raise
        raise RuntimeError(
            "this preprocessor needs OpenCV, and the Python that runs ComfyUI has none: "
            "run `pip install opencv-python` with that Python and restart ComfyUI"
        ) from error
    except ImportError as error:
        raise RuntimeError(
            f"this preprocessor needs OpenCV, which is installed but does not start ({error}): on a"
            " machine without a screen run `pip uninstall opencv-python`, then `pip install"
            " opencv-python-headless`, and restart ComfyUI"
        ) from error
    return cv2


def each_frame(
    image: Tensor,
    draw: Callable[[Frame8], Map],
    *,
    resolution: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """(B,H,W,C) in [0,1], C of 1, 3 or 4 → (B,h,w,3) float32 in [0,1], contiguous, on the same
    device.

    `draw` turns one 8-bit RGB frame into its map; frames run side by side on as many threads as
    there are cores. `resolution` is the short side of what `draw` sees and gives, in px; 0 keeps
    the picture's size. Raises ValueError where `image` is no picture or `resolution` asks for one
    too large.
    """
    frames = _frames(image)
    count, height_px, width_px, _ = frames.shape
    size = fitted(height_px, width_px, resolution)
    # numpy asks the system for large pages, torch does not: for a fresh batch that is several times
    # fewer page faults.
    hints = np.empty((count, *size, 3), np.float32)

    def work(index: int) -> None:
        write_hint(draw(resized(to_rgb8(frames[index]), *size)), hints[index])

    side_by_side(work, count, progress)
    return tensor_of(hints).to(image.device)


def banded(image: Tensor, draw: Callable[[Frame8], Map], halo_px: int) -> Callable[[Frame8], Map]:
    """`draw` for `each_frame`: bands of a frame side by side where the batch has fewer frames than
    there are cores.

    For maps of which no value depends on a row farther away than `halo_px`: they stay equal, bit by
    bit, because every band is drawn with that many rows of its neighbours around it.
    """

    def drawn(frame: Frame8) -> Map:
        height_px = frame.shape[0]
        bands = min(_cores() // len(image), height_px // (2 * halo_px))
        if bands < 2:
            return draw(frame)
        edges = [height_px * index // bands for index in range(bands + 1)]
        made: dict[int, NDArray[Any]] = {}

        def work(index: int) -> None:
            top, bottom = edges[index : index + 2]
            above = max(0, top - halo_px)
            made[index] = draw(frame[above : bottom + halo_px])[top - above : bottom - above]

        side_by_side(work, bands, None)
        return np.concatenate([made[index] for index in range(bands)])

    return drawn


def each_map(
    maps: Tensor, draw: Callable[[FloatFrame], Map], *, progress: Progress | None = None
) -> Tensor:
    """(B,1,H,W) in [0,1] on the CPU → (B,H,W,3) float32 in [0,1], contiguous: what `draw` makes of
    each (H,W).

    For what follows a network: `progress` is told that all is done at every frame, so that it can
    still stop the work.
    """
    count, _, height_px, width_px = maps.shape
    hints = np.empty((count, height_px, width_px, 3), np.float32)
    frames = maps.numpy()

    def work(index: int) -> None:
        write_hint(draw(frames[index, 0]), hints[index])

    side_by_side(work, count, progress and (lambda _, total: progress(total, total)))
    return torch.from_numpy(hints)  # pyright: ignore[reportUnknownMemberType]


def through(
    image: Tensor,
    networks: Networks | None,
    weights: Weights,
    forward: Forward,
    *,
    multiple: int = 1,
    resolution: int = 0,
    progress: Progress | None = None,
) -> Outputs:
    """(B,H,W,C) in [0,1] → what `forward(net, frames)` gives, frames being (b,3,h,w) RGB in [0,1]
    in the net's dtype.

    Frames are fitted to `resolution` and padded at the right and the bottom, by their last row and
    column, to sides divisible by `multiple`; outputs (b,c,h,w) of the padded size are cropped back,
    others stay as they are. All of it runs on the net's device, chunk by chunk. Raises ValueError
    as `each_frame`, and where there are no `networks`.
    """
    if networks is None:
        raise ValueError(
            f"this engine needs the weights {weights.file}, and nothing here can load them"
        )
    frames = _checked(image)
    height, width = fitted(frames.shape[1], frames.shape[2], resolution)
    padded = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)

    def cropped(output: Tensor) -> Tensor:
        return (
            output[..., :height, :width]
            if output.ndim == 4 and output.shape[-2:] == padded
            else output
        )

    def work(net: torch.nn.Module, chunk: Tensor) -> Outputs:
        fit = F.pad(
            sized(to_rgb(chunk), height, width),
            (0, padded[1] - width, 0, padded[0] - height),
            "replicate",
        )
        # One layout in memory, whatever the picture's: the same sums, and the layout that
        # convolutions are fastest in.
        fit = fit.to(next(net.parameters()).dtype).contiguous(memory_format=torch.channels_last)
        made = forward(net, fit)
        return tuple(map(cropped, made)) if isinstance(made, tuple) else cropped(made)

    return networks.run(
        weights, frames, work, px_per_frame=padded[0] * padded[1], progress=progress
    )


def tensor_of(array: NDArray[Any]) -> Tensor:
    """The array as a tensor that shares its memory."""
    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]


def as_masks(mask: Tensor, name: str) -> Tensor:
    """A MASK (H,W) or (B,H,W) → (B,H,W) float on the CPU; raises ValueError for anything else."""
    if mask.ndim not in (2, 3) or 0 in mask.shape:
        raise ValueError(
            f"{name}: expected a MASK of (batch, height, width), found {tuple(mask.shape)}"
        )
    return mask.detach().cpu().float().reshape(-1, *mask.shape[-2:])


def only(outputs: Outputs) -> Tensor:
    """The one output of a network that gives one."""
    assert isinstance(outputs, Tensor)
    return outputs


def rgb8(image: Tensor, resolution: int = 0) -> list[Frame8]:
    """(B,H,W,C) in [0,1] → what `each_frame` shows to `draw`: each frame in 8 bits, fitted. Raises
    as that does.
    """
    frames = _frames(image)
    size = fitted(frames.shape[1], frames.shape[2], resolution)
    return [resized(to_rgb8(frame), *size) for frame in frames]


def to_hint(maps: Tensor) -> Tensor:
    """(B,1,H,W) or (B,3,H,W) in [0,1] → (B,H,W,3), contiguous."""
    return maps.expand(-1, 3, -1, -1).movedim(1, 3).contiguous()


def to_rgb(frames: Tensor) -> Tensor:
    """(B,H,W,C), C of 1, 3 or 4 → (B,3,H,W) in [0,1]: NaN is 0, the rest is clamped, alpha laid
    over white.
    """
    clean = frames.nan_to_num(nan=0.0, posinf=1.0, neginf=0.0).clamp(0, 1)
    if clean.shape[3] == 4:
        alpha = clean[..., 3:]
        clean = clean[..., :3] * alpha + (1 - alpha)
    return clean.movedim(3, 1).expand(-1, 3, -1, -1)


def sized(frames: Tensor, height_px: int, width_px: int) -> Tensor:
    """(B,C,H,W) in [0,1] → (B,C,height_px,width_px): cubic when it grows, area when it shrinks, in
    [0,1] still.
    """
    if frames.shape[-2:] == (height_px, width_px):
        return frames
    grows = height_px * width_px > frames.shape[-2] * frames.shape[-1]
    size = (height_px, width_px)
    return (
        F.interpolate(frames, size, mode="bicubic").clamp(0, 1)
        if grows
        else F.interpolate(frames, size, mode="area")
    )


def to_rgb8(frame: NDArray[np.float32]) -> Frame8:
    """(H,W,C) float in [0,1] → (H,W,3) uint8, rounded to the nearest level.

    NaN counts as 0 and what lies outside [0,1] is clamped. Alpha is composited over white, as the
    references' HWC3 does; there the result is truncated, here it is rounded.
    """
    cv2 = opencv()
    height_px, _, channels = frame.shape
    frame = np.ascontiguousarray(frame)
    # As unsigned integers, floats of [0,1] are those up to one's; NaN, infinity and everything
    # negative come after it.
    if np.frombuffer(frame, np.uint32).max() > _BITS_OF_ONE:
        frame = np.nan_to_num(frame, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    if channels == 4:
        alpha = frame[..., 3:]
        frame = frame[..., :3] * alpha + (1 - alpha)
    levels = np.reshape(
        cv2.convertScaleAbs(np.reshape(frame, (height_px, -1)), alpha=255), frame.shape
    )
    return cv2.cvtColor(levels, cv2.COLOR_GRAY2RGB) if channels == 1 else levels


def fitted(height_px: int, width_px: int, resolution: int) -> tuple[int, int]:
    """(height, width) of the same shape with a short side of `resolution` px; 0 keeps the size.

    Raises ValueError where `resolution` is negative or the long side would exceed 16384 px.
    """
    if resolution < 0:
        raise ValueError(
            f"resolution is {resolution}: give 0 to keep the picture's size, or its short side in"
            " pixels"
        )
    if resolution == 0:
        return height_px, width_px
    short_px = min(height_px, width_px)
    height, width = (max(1, round(side * resolution / short_px)) for side in (height_px, width_px))
    if max(height, width) > MAX_SIDE_PX:
        raise ValueError(
            f"resolution {resolution} would turn this picture of {width_px}x{height_px} pixels into"
            f" {width}x{height}: the longest side may have {MAX_SIDE_PX}, so lower the resolution"
            " or crop the picture"
        )
    return height, width


def size_of(image: Tensor, resolution: int = 0) -> tuple[int, int]:
    """(height, width) of the hints of (B,H,W,C); raises ValueError as `each_frame`."""
    _, height_px, width_px, _ = _checked(image).shape
    return fitted(height_px, width_px, resolution)


def resized(frame: Frame8, height_px: int, width_px: int) -> Frame8:
    """(H,W,3) → (height_px,width_px,3): cubic when it grows, area when it shrinks, as the
    references do.
    """
    if frame.shape[:2] == (height_px, width_px):
        return frame
    cv2 = opencv()
    grows = height_px * width_px > frame.shape[0] * frame.shape[1]
    return cv2.resize(
        frame, (width_px, height_px), interpolation=cv2.INTER_CUBIC if grows else cv2.INTER_AREA
    )


def darkest_channel(frame: FloatFrame) -> FloatFrame:
    """(H,W,3) → (H,W): the least of the three channels. numpy's own `min(axis=2)` takes thirty
    times as long.
    """
    return np.minimum(np.minimum(frame[..., 0], frame[..., 1]), frame[..., 2])


def _frames(image: Tensor) -> NDArray[np.float32]:
    """The batch as float32 on the CPU, not copied where it is that already. Nothing below writes to
    it.
    """
    return _checked(image).to("cpu", torch.float32).numpy()


def _checked(image: Tensor) -> Tensor:
    """`image` itself, detached; raises ValueError where it is no batch of pictures."""
    if image.ndim != 4 or image.shape[3] not in _CHANNELS or not image.is_floating_point():
        raise ValueError(
            "expected a float picture of (batch, height, width, channels) with 1, 3 or 4 channels,"
            f" found {image.dtype} of {tuple(image.shape)}: connect an IMAGE"
        )
    if image.shape[0] == 0:
        raise ValueError("the batch of pictures is empty: connect at least one picture")
    if 0 in image.shape:
        raise ValueError(
            f"the picture is {image.shape[2]}x{image.shape[1]} pixels: each side needs at least one"
        )
    return image.detach()


def write_hint(drawn: Map, hint: FloatFrame) -> None:
    """(H,W) or (H,W,3), uint8 in 0..255 or float32 in [0,1] → (H,W,3) in [0,1], written into
    `hint`.
    """
    cv2 = opencv()
    if drawn.shape == hint.shape:
        if drawn.dtype == np.uint8:
            cv2.LUT(drawn, _LEVELS, dst=hint)
        else:
            hint[:] = drawn
        return
    assert (
        drawn.shape == hint.shape[:2]
    )  # else OpenCV would leave `hint` alone and return another array
    grey = drawn if drawn.dtype == np.float32 else cv2.LUT(drawn, _LEVELS)
    cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB, dst=hint)


def side_by_side(work: Callable[[int], None], count: int, progress: Progress | None) -> None:
    """Call `work(0 .. count-1)` on this thread and a helper for every other core; the first error
    stops them all.

    An error, or an exception out of `progress`, leaves once the frames that had begun are done:
    nothing runs on. OpenCV's own threads stay as they are (their number belongs to the whole
    process): they serve one caller at a time, so this adds at most one thread per core to them.
    """
    todo, ended = deque(range(count)), deque[int]()

    def take() -> int | None:
        try:
            return todo.popleft()
        except IndexError:
            return None

    def drain(report: Progress) -> None:
        try:
            for index in iter(take, None):
                work(index)
                ended.append(index)
                report(len(ended), count)
        finally:
            todo.clear()

    report = progress or _say_nothing
    report(0, count)
    helpers = min(count, _cores()) - 1
    with ThreadPoolExecutor(max(1, helpers), thread_name_prefix="preprocess") as pool:
        helping = [pool.submit(drain, _say_nothing) for _ in range(helpers)]
        drain(report)
        for helper in helping:
            helper.result()
    report(count, count)


def _say_nothing(done: int, total: int) -> None: ...


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
