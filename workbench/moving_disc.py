"""Write a video of any length, with sound: a disc that moves over a slope."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HERTZ, RATE = 48000, 24


def write(path: Path, count: int, side_px: int) -> Path:
    """Encode a disc that moves over a slope, in turns of 90 frames, with a tone."""
    rows, columns = np.mgrid[:side_px, :side_px]
    turn = []
    for index in range(90):
        disc = (rows - side_px / 2) ** 2 + (columns - side_px * index / 90) ** 2 < side_px**2 / 16
        levels = np.where(disc, 230, columns * (60 + index) // side_px).astype(np.uint8)
        turn.append(np.repeat(levels[..., None], 3, axis=2))
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", rate=RATE)
        picture.height = picture.width = side_px
        picture.pix_fmt, picture.options = "yuv420p", {"preset": "ultrafast"}
        tone = output.add_stream("aac", rate=HERTZ, layout="mono")
        samples = HERTZ // RATE
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(turn[index % 90], format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            output.mux(picture.encode(frame))
            wave = np.sin((np.arange(samples) + index * samples) * 0.06).astype(np.float32)
            heard = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
            heard.sample_rate, heard.pts = HERTZ, index * samples
            heard.time_base = Fraction(1, HERTZ)
            output.mux(tone.encode(heard))
        output.mux(picture.encode(None))
        output.mux(tone.encode(None))
    return path


def sounds(path: Path) -> list[bytes]:
    """Return the packets of the sound."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.pts is not None]
