"""Read ComfyUI's VIDEO a frame at a time: pictures as ComfyUI decodes them, times, and sound."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from av.error import FFmpegError, InvalidDataError
from av.filter import Graph
from numpy.typing import NDArray

from .folders import shortened

Source = str | io.BytesIO


class ClipError(ValueError):
    """A clip that cannot be read or written."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence


class ClipFrame(NamedTuple):
    """A frame: when it is shown, in the clip's time base, and its picture (H,W,C) once asked."""

    at: int
    picture: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class Clip:
    """A clip, however it is stored."""

    name: str
    identity: str
    """Equal for equal clips: what resumes only ever resumes the same one."""
    rate: Fraction
    """Frames a second."""
    time_base: Fraction
    count: int
    """How many frames to expect, 0 where nobody can tell."""
    frames: Callable[[], Iterator[ClipFrame]]
    """From the first frame on, whose time is 0."""
    sound: Callable[[], Sound | None]


class Sound(NamedTuple):
    """Where a clip's sound is: a file to copy it from, or a waveform (C,T) in [-1,1]."""

    source: Source | None
    start_s: Fraction
    """What is 0 in the new clip."""
    is_cut: bool
    """Whether the clip begins within the file, so that earlier sound is left out."""
    duration_s: float
    """0 = to the end."""
    waveform: NDArray[np.float32] | None = None
    sample_rate: int = 0


def opened(video: Any) -> Clip:
    """Look at a VIDEO.

    Raises ClipError where it cannot be read, or has no picture.
    """
    from comfy_api.latest import Input

    try:
        stores_file = type(video).get_stream_source is not Input.Video.get_stream_source
        return _of_file(video) if stores_file else _of_batch(video.get_components())
    except (FFmpegError, OSError) as error:
        raise ClipError(
            f"the video cannot be read ({_reason(error)}): play it to see whether the file is"
            " whole, or convert it to MP4"
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "")


# A file


def _of_file(video: Any) -> Clip:
    source: Source = video.get_stream_source()
    start_s, duration_s = _window(video)
    with _container(source) as container:
        stream = _pictures(container)
        rate = Fraction(stream.average_rate or 25)
        time_base = Fraction(stream.time_base or 1 / rate)
        total_s = float(stream.duration * time_base) if stream.duration else 0.0
        if not total_s and container.duration:
            total_s = container.duration / av.time_base
        count = stream.frames
        if start_s or duration_s or not count:
            rest_s = max(0.0, total_s - start_s)
            count = round(float(rate) * (min(duration_s, rest_s) if duration_s else rest_s))
    begin = _first_time(source, start_s, duration_s)

    def frames() -> Iterator[ClipFrame]:
        return _decoded(source, start_s, duration_s)

    def sound() -> Sound:
        return Sound(source, begin * time_base, start_s > 0, duration_s)

    name = Path(source).stem if isinstance(source, str) else "video"
    identity = f"{_stamp(source)} {start_s} {duration_s}"
    return Clip(name, identity, rate, time_base, count, frames, sound)


def _window(video: Any) -> tuple[float, float]:
    """Return from where a trimmed video begins and how long it is, in seconds; 0 = to the end."""
    if hasattr(video, "get_active_trim_window"):
        return video.get_active_trim_window()
    # ComfyUI 0.20 trims, and does not tell; 0.8 does not trim
    start_s, duration_s = (
        float(getattr(video, f"_VideoFromFile__{name}", 0.0)) for name in ("start_time", "duration")
    )
    if start_s < 0:
        with _container(video.get_stream_source()) as container:
            whole_s = (container.duration or 0) / av.time_base
        start_s = max(0.0, whole_s + start_s)
    return start_s, duration_s


def _stamp(source: Source) -> str:
    if isinstance(source, io.BytesIO):
        return hashlib.sha256(source.getbuffer()).hexdigest()
    stat = Path(source).stat()
    return f"{Path(source).resolve()} {stat.st_size} {stat.st_mtime_ns}"


def _container(source: Source) -> Any:
    if isinstance(source, io.BytesIO):
        source = io.BytesIO(source.getbuffer())  # a position of its own
    return av.open(source, mode="r")


def _pictures(container: Any) -> Any:
    """Return the stream of pictures; raise ClipError where there are none."""
    for stream in container.streams.video:
        if stream.codec_context is not None:
            return stream
    raise ClipError("the video has no pictures, only sound or text: choose another file")


def _first_time(source: Source, start_s: float, duration_s: float) -> int:
    """Return when the first frame is shown, in the file's time base."""
    with _container(source) as container:
        for frame in _within(container, start_s, duration_s):
            return frame.pts or 0
    raise ClipError(
        f"the video has no frame from {start_s:g} s on that can be decoded: play it to see whether"
        " the file is whole, or trim it elsewhere"
    )


def _within(container: Any, start_s: float, duration_s: float) -> Iterator[Any]:
    """Decode the frames of a window; what is damaged is left out, as ComfyUI does."""
    stream = _pictures(container)
    stream.thread_type = "AUTO"
    first, last = (int(at / stream.time_base) for at in (start_s, start_s + duration_s))
    if first:
        container.seek(first, stream=stream)
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except InvalidDataError:
            logging.warning("[ControlStack] a damaged part of the video is left out")
            continue
        for frame in frames:
            if frame.pts is not None and frame.pts < first:
                continue
            if duration_s and frame.pts is not None and frame.pts >= last:
                return
            yield frame


def _decoded(source: Source, start_s: float, duration_s: float) -> Iterator[ClipFrame]:
    with _container(source) as container:
        convert, begin, before, size = _Converter(), None, -1, None
        for frame in _within(container, start_s, duration_s):
            begin = (frame.pts or 0) if begin is None else begin
            at = max(before + 1, (frame.pts or 0) - begin)
            size = size or (frame.width, frame.height)
            if size != (frame.width, frame.height):
                raise ClipError(
                    f"the video's frames change from {size[0]}x{size[1]} to"
                    f" {frame.width}x{frame.height} pixels: convert it to one size"
                )
            before = at
            yield ClipFrame(at, lambda frame=frame: convert(frame))


class _Converter:
    """Turn decoded frames into pictures, as ComfyUI does: bytes where the file has RGB levels."""

    def __init__(self) -> None:
        self.graph: tuple[Any, Any, Any] | None = None

    def __call__(self, frame: Any) -> NDArray[Any]:
        layout = frame.format.name
        alpha = layout == "pal8" or any(part.is_alpha for part in frame.format.components)
        if layout.startswith("yuvj") or layout in ("rgb24", "rgba", "pal8"):
            picture = frame.to_ndarray(format="rgba" if alpha else "rgb24")
        else:
            wide = self._aligned(frame) if frame.width % ALIGNED_PX else frame
            picture = wide.to_ndarray(format="gbrapf32le" if alpha else "gbrpf32le")
            picture = picture[: frame.height, : frame.width]
        return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90) % 4))

    def _aligned(self, frame: Any) -> Any:
        """Widen a frame by its own border: the conversion to floats reads beyond odd widths."""
        if self.graph is None:
            width, height = (-(-side // ALIGNED_PX) * ALIGNED_PX for side in _size(frame))
            graph = Graph()
            steps = (
                graph.add_buffer(
                    width=frame.width,
                    height=frame.height,
                    format=frame.format.name,
                    time_base=frame.time_base or Fraction(1, 25),
                ),
                graph.add("pad", f"{width}:{height}:0:0"),
                graph.add(
                    "fillborders",
                    f"right={width - frame.width}:bottom={height - frame.height}:mode=smear",
                ),
                graph.add("buffersink"),
            )
            graph.link_nodes(*steps)
            graph.configure()
            self.graph = graph, steps[0], steps[-1]
        _, entry, outlet = self.graph
        entry.push(frame)
        return outlet.pull()


ALIGNED_PX = 32


def _size(frame: Any) -> tuple[int, int]:
    return frame.width, frame.height


# A batch in memory


def _of_batch(components: Any) -> Clip:
    images = components.images
    if not len(images):
        raise ClipError("the video has no frames: connect at least one picture")
    rate = Fraction(components.frame_rate).limit_denominator(1 << 16)
    alpha = getattr(components, "alpha", None)

    def frames() -> Iterator[ClipFrame]:
        for index, image in enumerate(images):
            yield ClipFrame(index, lambda index=index, image=image: _picture(image, alpha, index))

    def sound() -> Sound | None:
        audio = components.audio
        if not audio:
            return None
        wave = audio["waveform"][0].detach().cpu().float().numpy()
        return Sound(None, Fraction(0), False, 0.0, wave, int(audio["sample_rate"]))

    digest = hashlib.sha256(str((tuple(images.shape), rate)).encode())
    for image in images:
        digest.update(image.detach().cpu().contiguous().numpy().tobytes())
    if components.audio:
        digest.update(components.audio["waveform"].detach().cpu().numpy().tobytes())
    return Clip("video", digest.hexdigest(), rate, 1 / rate, len(images), frames, sound)


def _picture(image: torch.Tensor, alpha: torch.Tensor | None, index: int) -> NDArray[Any]:
    image = image.detach().cpu().float()
    if alpha is None:
        return image.numpy()
    opacity = alpha[index].detach().cpu().float().reshape(*image.shape[:2], 1)
    return torch.cat([image[..., :3], opacity], dim=2).numpy()


def file_name(clip: Clip) -> str:
    """Return the clip's name as the beginning of a file name."""
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in clip.name)
    with suppress(UnicodeError):
        plain.encode()
        return shortened(plain, 40).rstrip("…") or "video"
    return "video"
