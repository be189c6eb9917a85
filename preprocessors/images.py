"""Convert pictures: floats in, 8-bit frames for the algorithms, float hints out, in parallel.

The reference implementations work on 8-bit RGB, so an algorithm gets that here. It may return 8-bit
or float maps.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .spec import Forward, Networks, Outputs, Progress, Weights, required

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


OPENCV_WHEELS = (
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-python",
)
"""Any of them will do. They share one folder: to uninstall one empties it for all."""


def opencv() -> ModuleType:
    """Import OpenCV on first use; raise RuntimeError naming the package to install."""
    try:
        cv2 = _imported()
    except ModuleNotFoundError as error:
        if error.name != "cv2":
            raise
        raise RuntimeError(
            "this preprocessor needs OpenCV, and the Python that runs ComfyUI has none: run `pip"
            " install opencv-python` with that Python and restart ComfyUI"
        ) from error
    except ImportError as error:
        headless = f"{_installed_opencv().removesuffix('-headless')}-headless"
        raise RuntimeError(
            "this preprocessor needs OpenCV, which is installed but does not start"
            f" ({error}): {_reinstall(headless)}"
        ) from error
    if not hasattr(cv2, "Canny"):
        raise RuntimeError(
            "this preprocessor needs OpenCV, which is empty, as the uninstall of one of its"
            f" builds leaves it: {_reinstall(_installed_opencv())}"
        )
    return cv2


def _imported() -> ModuleType:
    import cv2

    return cv2


def _installed_opencv() -> str:
    """Return the build that is installed, the one that has the most in it first."""
    for wheel in OPENCV_WHEELS:
        with suppress(metadata.PackageNotFoundError):
            metadata.version(wheel)
            return wheel
    return "opencv-python"


def _reinstall(wheel: str) -> str:
    return (
        f"run `pip install --force-reinstall --no-deps {wheel}` with the Python that runs ComfyUI"
        " and restart ComfyUI"
    )


def each_frame(
    image: Tensor,
    draw: Callable[[Frame8], Map],
    *,
    halo_px: int | None = None,
    resolution: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Draw the hint of every frame: (B,H,W,C) in [0,1] → (B,h,w,3) float32 in [0,1].

    `draw` turns one 8-bit RGB frame into its map; frames run in parallel on as many threads as
    there are cores. `halo_px` is for a `draw` whose values depend on no row farther away: it gets
    bands with that many rows of their neighbours, so that one frame runs on all cores, and a large
    one in little memory. `resolution` is the short side, in px, of the frames that `draw` gets; 0
    keeps the picture's size. C is 1, 3 or 4. The result is contiguous and on the picture's device.
    Raises ValueError if `image` is not a batch of pictures or `resolution` asks for one too large.
    """
    hints = blank_hints(len(image), *size_of(image, resolution))

    def write(index: int, top: int, band: Frame8, above: int, rows: int) -> None:
        hint = hints[index, top : top + rows]
        write_hint(draw(band)[above : above + rows], hint)

    each_band(image, write, halo_px=halo_px, resolution=resolution, progress=progress)
    return tensor_of(hints).to(image.device)


def each_label(
    image: Tensor,
    draw: Callable[[Frame8], NDArray[np.uint8]],
    *,
    resolution: int = 0,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Label every pixel by its own colour: (B,H,W,C) → (B,h,w); else as `each_frame`."""
    labels = np.empty((len(image), *size_of(image, resolution)), np.uint8)

    def write(index: int, top: int, band: Frame8, above: int, rows: int) -> None:
        labels[index, top : top + rows] = draw(band)[above : above + rows]

    each_band(image, write, halo_px=0, resolution=resolution, progress=progress)
    return labels


def each_band(
    image: Tensor,
    work: Callable[[int, int, Frame8, int, int], None],
    *,
    halo_px: int | None,
    resolution: int,
    progress: Progress | None,
) -> None:
    """Call `work(index, top, band, above, rows)` on bands of rows of every 8-bit frame.

    The band's own rows begin at `top` in the frame and are `rows` many; it holds `above` more of
    its neighbours' before them, and some after them.
    """
    frames = _frames(image)
    count, height_px, width_px, _ = frames.shape
    size = fitted(height_px, width_px, resolution)
    edges = _edges(count, *size, halo_px)
    bands = len(edges) - 1

    @lru_cache(maxsize=2)
    def whole(index: int) -> Frame8:
        return resized(to_rgb8(frames[index]), *size)

    def run(item: int) -> None:
        index, at = divmod(item, bands)
        top, bottom = edges[at : at + 2]
        first, last = max(0, top - (halo_px or 0)), bottom + (halo_px or 0)
        if bands == 1:
            band = whole.__wrapped__(index)
        elif size == (height_px, width_px):
            band = to_rgb8(frames[index, first:last])
        else:
            band = whole(index)[first:last]
        work(index, top, band, top - first, bottom - top)

    side_by_side(run, count * bands, progress and (lambda done, _: progress(done // bands, count)))


BAND_PX = 1 << 19
"""Pixels of one band of a large frame: beside the hint itself, little memory is needed."""


def _edges(count: int, height_px: int, width_px: int, halo_px: int | None) -> list[int]:
    """Return where bands begin and end: as many as keep all cores busy, and none too large."""
    if halo_px is None:
        return [0, height_px]
    halo_px = max(1, halo_px)
    for_cores = min(_cores() // count, height_px // (2 * halo_px))
    for_memory = min(-(-height_px * width_px // BAND_PX), height_px // (4 * halo_px))
    bands = max(1, for_cores, for_memory)
    return [height_px * index // bands for index in range(bands + 1)]


def each_map(
    maps: Tensor, draw: Callable[[FloatFrame], Map], *, progress: Progress | None = None
) -> Tensor:
    """Draw a hint from every map: (B,1,H,W) in [0,1] on the CPU → (B,H,W,3) float32 in [0,1].

    For work that follows a network: `progress` is already full then, and is called at every frame
    with that, so that it can still stop the work. The result is contiguous.
    """
    frames = maps.numpy()
    return each_index(lambda index: draw(frames[index, 0]), len(maps), maps.shape[-2:], progress)


def each_index(
    draw: Callable[[int], Map],
    count: int,
    size: Sequence[int],
    progress: Progress | None = None,
) -> Tensor:
    """Draw the map of every frame, by its number, as hints (count,*size,3); else as `each_map`."""
    hints = blank_hints(count, *size)

    def work(index: int) -> None:
        write_hint(draw(index), hints[index])

    side_by_side(work, count, progress and (lambda _, total: progress(total, total)))
    return tensor_of(hints)


def run_network(
    image: Tensor,
    networks: Networks | None,
    weights: Weights,
    forward: Forward,
    *,
    multiple: int = 1,
    resolution: int = 0,
    progress: Progress | None = None,
) -> Outputs:
    """Run a network on pictures (B,H,W,C) in [0,1] and return what `forward(net, frames)` returns.

    Frames are (b,3,h,w) RGB in [0,1] in the net's dtype, fitted to `resolution` and padded at the
    right and the bottom, by their last row and column, to sides divisible by `multiple`. Outputs
    (b,c,h,w) of the padded size are cropped back, others stay as they are. All of it runs on the
    net's device, chunk by chunk. Raises ValueError as `each_frame` does, and if there are no
    `networks`.
    """
    networks, frames = required(networks, weights), _checked(image)
    height, width = fitted(frames.shape[1], frames.shape[2], resolution)
    padded = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)

    def cropped(output: Tensor) -> Tensor:
        is_map = output.ndim == 4 and output.shape[-2:] == padded
        return output[..., :height, :width] if is_map else output

    def work(net: torch.nn.Module, chunk: Tensor) -> Outputs:
        fit = F.pad(
            sized(to_rgb(chunk), height, width),
            (0, padded[1] - width, 0, padded[0] - height),
            "replicate",
        )
        # One layout in memory, whatever the picture's: the same sums, and the layout that
        # convolutions are fastest in.
        fit = fit.to(next(net.parameters()).dtype).contiguous(memory_format=torch.channels_last)
        outputs = forward(net, fit)
        if isinstance(outputs, tuple):
            return tuple(map(cropped, outputs))
        return cropped(outputs)

    return networks.run(
        weights, frames, work, px_per_frame=padded[0] * padded[1], progress=progress
    )


def blank_hints(count: int, height_px: int, width_px: int) -> FloatFrame:
    """Allocate hints (count,height_px,width_px,3), to be written whole.

    Raises ValueError where they are larger than the memory that is left: Linux would grant it, and
    end the process once it is written to.
    """
    # numpy asks the system for large pages, torch does not: several times fewer page faults for a
    # fresh batch.
    shape = (count, height_px, width_px, 3)
    needed = 4 * math.prod(shape)
    free = available_bytes() if needed > _LARGE_BYTES else None
    try:
        if free is not None and needed > free:
            raise MemoryError
        return np.empty(shape, np.float32)
    except MemoryError:
        left = "" if free is None else f", and {free / 1e9:.1f} GB are free"
        raise ValueError(
            f"{count} hints of {width_px}x{height_px} pixels take {needed / 1e9:.1f} GB of"
            f" memory{left}: make them smaller, or fewer at a time"
        ) from None


_LARGE_BYTES = 1 << 27
"""What is smaller is not worth the question how much memory is left."""


def available_bytes() -> int | None:
    """Return how much memory a process can still get, swap included; None where unknown."""
    try:
        rows = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = {
            name: 1024 * int(rest.split()[0]) for name, _, rest in (r.partition(":") for r in rows)
        }
        return sizes["MemAvailable"] + sizes["SwapFree"]
    except (OSError, ValueError, KeyError, IndexError):
        return None


def tensor_of(array: NDArray[Any]) -> Tensor:
    """Wrap the array as a tensor that shares its memory."""
    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]


def as_masks(mask: Tensor, name: str) -> Tensor:
    """Reshape a MASK (H,W) or (B,H,W) to (B,H,W) float on the CPU; raise ValueError otherwise."""
    if mask.ndim not in (2, 3) or 0 in mask.shape:
        raise ValueError(
            f"{name}: expected a MASK of (batch, height, width), found {tuple(mask.shape)}"
        )
    return mask.detach().cpu().float().reshape(-1, *mask.shape[-2:])


def only(outputs: Outputs) -> Tensor:
    """Return the output of a network that has one; raise TypeError for several."""
    if isinstance(outputs, tuple):
        raise TypeError(f"expected one output of the network, got {len(outputs)}")
    return outputs


def rgb8(image: Tensor, resolution: int = 0) -> list[Frame8]:
    """Convert (B,H,W,C) in [0,1] to the frames that `each_frame` passes to `draw`: 8 bits, fitted.

    Raises ValueError as `each_frame` does.
    """
    frames = _frames(image)
    size = fitted(frames.shape[1], frames.shape[2], resolution)
    return [resized(to_rgb8(frame), *size) for frame in frames]


def to_hint(maps: Tensor) -> Tensor:
    """Expand maps (B,1,H,W) or (B,3,H,W) in [0,1] to hints (B,H,W,3), contiguous."""
    return maps.expand(-1, 3, -1, -1).movedim(1, 3).contiguous()


def to_rgb(frames: Tensor) -> Tensor:
    """Convert (B,H,W,C), C of 1, 3 or 4, to (B,3,H,W) in [0,1].

    NaN becomes 0, the rest is clamped, and alpha is composited over white.
    """
    clean = frames.nan_to_num(nan=0.0, posinf=1.0, neginf=0.0).clamp(0, 1)
    if clean.shape[3] == 4:
        alpha = clean[..., 3:]
        clean = clean[..., :3] * alpha + (1 - alpha)
    return clean.movedim(3, 1).expand(-1, 3, -1, -1)


RESIZED_ON_CPU = {"mps"}
"""Devices that refuse to shrink by area unless sizes divide, or, in older torch, cubic resizing."""


def sized(frames: Tensor, height_px: int, width_px: int) -> Tensor:
    """Resize (B,C,H,W) in [0,1] to (B,C,height_px,width_px), still in [0,1].

    Cubic to enlarge, area to shrink.
    """
    if frames.shape[-2:] == (height_px, width_px):
        return frames
    if frames.device.type in RESIZED_ON_CPU:
        return sized(frames.cpu(), height_px, width_px).to(frames.device)
    grows = height_px * width_px > frames.shape[-2] * frames.shape[-1]
    size = (height_px, width_px)
    return (
        F.interpolate(frames, size, mode="bicubic").clamp(0, 1)
        if grows
        else F.interpolate(frames, size, mode="area")
    )


def to_rgb8(frame: NDArray[np.float32]) -> Frame8:
    """Convert a frame (H,W,C) float in [0,1] to (H,W,3) uint8, rounded to the nearest level.

    NaN counts as 0 and values outside [0,1] are clamped. Alpha is composited over white, as in the
    references' HWC3, which truncates; here the result is rounded.
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
    """Return (height, width) of the same shape with a short side of `resolution` px; 0 keeps both.

    Raises ValueError if `resolution` is negative or the long side would exceed 16384 px.
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
    """Return (height, width) of the hints of (B,H,W,C); raise ValueError as `each_frame` does."""
    _, height_px, width_px, _ = _checked(image).shape
    return fitted(height_px, width_px, resolution)


def resized(frame: Frame8, height_px: int, width_px: int) -> Frame8:
    """Resize a frame (H,W,3) to (height_px,width_px,3) as the references do.

    Cubic to enlarge, area to shrink.
    """
    if frame.shape[:2] == (height_px, width_px):
        return frame
    cv2 = opencv()
    grows = height_px * width_px > frame.shape[0] * frame.shape[1]
    return cv2.resize(
        frame, (width_px, height_px), interpolation=cv2.INTER_CUBIC if grows else cv2.INTER_AREA
    )


def darkest_channel(frame: FloatFrame) -> FloatFrame:
    """Return the least of the three channels: (H,W,3) → (H,W).

    numpy's own `min(axis=2)` takes thirty times as long.
    """
    return np.minimum(np.minimum(frame[..., 0], frame[..., 1]), frame[..., 2])


def _frames(image: Tensor) -> NDArray[np.float32]:
    """Return the batch as float32 on the CPU, without a copy if it is that already.

    Callers must not write to it.
    """
    return _checked(image).to("cpu", torch.float32).numpy()


def _checked(image: Tensor) -> Tensor:
    """Return `image` detached; raise ValueError unless it is a batch of pictures."""
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
    """Write a map into `hint` (H,W,3) in [0,1].

    The map is (H,W) or (H,W,3), uint8 in 0..255 or float32 in [0,1].
    """
    cv2 = opencv()
    if drawn.shape == hint.shape:
        if drawn.dtype == np.uint8:
            cv2.LUT(drawn, _LEVELS, dst=hint)
        else:
            hint[:] = drawn
        return
    # otherwise OpenCV would leave `hint` alone and return another array
    assert drawn.shape == hint.shape[:2]
    grey = drawn if drawn.dtype == np.float32 else cv2.LUT(drawn, _LEVELS)
    cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB, dst=hint)


def side_by_side(work: Callable[[int], None], count: int, progress: Progress | None) -> None:
    """Call `work(0 .. count-1)` on this thread and a helper for every other core.

    The first error stops them all. An error, or an exception out of `progress`, leaves once the
    frames that had begun are done: nothing runs on. OpenCV's own threads stay as they are (their
    number belongs to the whole process): they serve one caller at a time, so this adds at most one
    thread per core to them.
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

    report = progress or _ignore
    report(0, count)
    helpers = min(count, _cores()) - 1
    with ThreadPoolExecutor(max(1, helpers), thread_name_prefix="preprocess") as pool:
        helping = [pool.submit(drain, _ignore) for _ in range(helpers)]
        drain(report)
        for helper in helping:
            helper.result()
    report(count, count)


def _ignore(_done: int, _total: int) -> None:
    """Ignore progress."""


def _cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
