"""Write hints as a video: in pieces that stand alone, then joined with the sound of the source."""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import InvalidDataError
from numpy.typing import NDArray

from .clip_source import Clip, ClipError, Sound

PIECE_FRAMES = 64
"""Frames of a piece, which begins with a frame that needs no other."""
THREADS = 4
"""Of the encoder: with another number it writes other bytes."""


class Encoding(NamedTuple):
    """A choice of the node."""

    codec: str
    options: Mapping[str, str]
    layout: str
    """How pixels lie in the file."""
    odd_layout: str
    """The same for odd sides, which colours of half the size cannot have."""


_STEADY = {"bf": "0", "threads": str(THREADS)}
"""Without frames that wait for later ones, what is written stands in order."""
ENCODINGS = {
    "h264": Encoding(
        "libx264", {"crf": "10", "preset": "veryfast", **_STEADY}, "yuv420p", "yuv444p"
    ),
    "lossless": Encoding(
        "libx264rgb", {"qp": "0", "preset": "veryfast", **_STEADY}, "rgb24", "rgb24"
    ),
}


class Levels(NamedTuple):
    """A frame to write: when it is shown, and its levels (h,w,3), or (h,w,1) where it is grey."""

    at: int
    levels: NDArray[np.uint8]


def write_piece(path: Path, frames: Iterable[Levels], clip: Clip, encoding: Encoding) -> None:
    """Encode up to PIECE_FRAMES frames."""
    with av.open(str(path), "w", format="nut") as output:
        stream: Any = None
        for at, levels in frames:
            height, width = levels.shape[:2]
            if stream is None:
                is_odd = height % 2 or width % 2
                stream = output.add_stream(encoding.codec, rate=clip.rate)
                stream.width, stream.height = width, height
                stream.pix_fmt = encoding.odd_layout if is_odd else encoding.layout
                stream.options = {"g": str(PIECE_FRAMES), **encoding.options}
                stream.codec_context.time_base = clip.time_base
            colours = np.ascontiguousarray(np.broadcast_to(levels, (height, width, 3)))
            frame = av.VideoFrame.from_ndarray(colours, format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = at, clip.time_base
            output.mux(stream.encode(frame))
        if stream is not None:
            output.mux(stream.encode(None))


def join(path: Path, pieces: list[Path], clip: Clip) -> None:
    """Join pieces and the clip's sound to an MP4; both go through memory a packet at a time."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as output:
        with av.open(str(pieces[0])) as first:
            stream = output.add_stream_from_template(first.streams.video[0], opaque=True)
        stream.time_base = clip.time_base
        parts = [_of_pieces(pieces, stream, clip)]
        sound = clip.sound()
        if sound is not None:
            parts.append(_of_sound(sound, output))
        ready = [part for part in map(_begun, parts) if part is not None]
        for _, packet in heapq.merge(*ready, key=lambda entry: entry[0]):
            output.mux(packet)


Timed = tuple[float, Any]
"""When a packet is due, in seconds, and the packet."""


def _begun(packets: Iterator[Timed]) -> Iterator[Timed] | None:
    """Wait for the first packet: every stream is declared before any is written."""
    first = next(packets, None)
    return None if first is None else _followed(first, packets)


def _followed(first: Timed, packets: Iterator[Timed]) -> Iterator[Timed]:
    yield first
    yield from packets


def _of_pieces(pieces: list[Path], stream: Any, clip: Clip) -> Iterator[Timed]:
    """Yield the packets of all pieces, each as long as it is until the next."""
    frame_long = max(1, round(1 / clip.rate / clip.time_base))
    last: Any = None
    for packet in _packets(pieces):
        at = round(packet.pts * packet.time_base / clip.time_base)
        packet.stream, packet.time_base = stream, clip.time_base
        packet.pts = packet.dts = at
        if last is not None:
            last.duration = at - last.pts
            yield float(last.pts * clip.time_base), last
        last = packet
    if last is not None:
        last.duration = frame_long
        yield float(last.pts * clip.time_base), last


def _packets(pieces: list[Path]) -> Iterator[Any]:
    for piece in pieces:
        with av.open(str(piece)) as container:
            for packet in container.demux(video=0):
                if packet.pts is not None:
                    yield packet


# Sound

COPIED = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")
"""Codecs that an MP4 may hold: their sound stays as it is, bit for bit."""
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}
BLOCK = 1024
"""Samples of a frame of AAC."""


def _of_sound(sound: Sound, output: Any) -> Iterator[Timed]:
    """Yield the packets of the sound: copied where an MP4 may hold them, else encoded as AAC."""
    if sound.waveform is not None:
        yield from _encoded(_waveform_frames(sound.waveform, sound.sample_rate), output)
        return
    source = sound.source
    assert source is not None
    fresh = io.BytesIO(source.getbuffer()) if isinstance(source, io.BytesIO) else source
    with av.open(fresh) as container:
        stream = next(
            (each for each in reversed(container.streams.audio) if each.codec_context), None
        )
        if stream is None:
            return
        if stream.codec_context.name in COPIED:
            yield from _copied(container, stream, sound, output)
        else:
            yield from _encoded(_frames(container, stream, sound), output)


def _copied(container: Any, stream: Any, sound: Sound, output: Any) -> Iterator[Timed]:
    target = output.add_stream_from_template(stream, opaque=True)
    shift = round(sound.start_s / stream.time_base)
    for packet in container.demux(stream):
        if packet.dts is None or packet.pts is None:
            continue
        if sound.is_cut and packet.pts + (packet.duration or 0) <= shift:
            continue
        if sound.duration_s and (packet.pts - shift) * stream.time_base >= sound.duration_s:
            return
        packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, target
        yield float(packet.dts * stream.time_base), packet


def _frames(container: Any, stream: Any, sound: Sound) -> Iterator[Any]:
    """Decode the sound of the window, its first frame at its time in the new clip."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except InvalidDataError:
            continue
        for frame in frames:
            begin = Fraction(frame.pts or 0) * (frame.time_base or stream.time_base) - sound.start_s
            length = Fraction(frame.samples, frame.sample_rate)
            if begin + length <= 0:
                continue
            if sound.duration_s and begin >= sound.duration_s:
                return
            frame.time_base = Fraction(1, frame.sample_rate)
            frame.pts = round(begin * frame.sample_rate)
            yield frame


def _waveform_frames(wave: NDArray[np.float32], sample_rate: int) -> Iterator[Any]:
    channels, length = wave.shape
    layout = _layout(channels)
    for first in range(0, length, BLOCK):
        part = np.ascontiguousarray(wave[:, first : first + BLOCK])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, first, Fraction(1, sample_rate)
        yield frame


def _layout(channels: int) -> str:
    """Name the layout of so many channels: files need not say it, an encoder has to know."""
    if channels not in LAYOUTS:
        counts = ", ".join(map(str, LAYOUTS))
        raise ClipError(f"the sound has {channels} channels: give it one of {counts}")
    return LAYOUTS[channels]


def _encoded(frames: Iterator[Any], output: Any) -> Iterator[Timed]:
    """Encode frames as AAC, at their own rate where AAC has it."""
    stream: Any = None
    resampler: Any = None
    for frame in frames:
        if stream is None:
            rate = frame.sample_rate if frame.sample_rate in AAC_RATES else 48000
            stream = output.add_stream("aac", rate=rate)
            stream.layout = layout = _layout(frame.layout.nb_channels)
            resampler = av.AudioResampler("fltp", layout, rate, BLOCK)
        for ready in resampler.resample(frame):
            yield from _timed(stream.encode(ready))
    if stream is not None:
        for ready in resampler.resample(None):
            yield from _timed(stream.encode(ready))
        yield from _timed(stream.encode(None))


def _timed(packets: list[Any]) -> Iterator[Timed]:
    for packet in packets:
        yield float((packet.dts or 0) * packet.time_base), packet
