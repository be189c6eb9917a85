"""Annotate clips of 10,000 frames: peak memory beside that of 200, stops, sound, the whole batch.

Networks have random weights and give small hints: what grows with a clip's length does not depend
on either. People come from a stand-in that finds a disc.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch

from pack.host import clip_job, clip_source
from pack.preprocessors import CATALOGUE, Preprocessor, catalogue, clips, pose
from pack.preprocessors.build import InMemory
from pack.preprocessors.keypoints import Frame
from workbench import moving_disc
from workbench.random_weights import Random

from .peak_memory import reset_peak, resident, settled

SHORT, LONG, QUICK = 200, 10_000, 500
SIDE_PX = 512  # of frames
MOST_MB = 300


class Case(NamedTuple):
    """A method, its settings, and the side of its hints in pixels; 0 is that of the frames."""

    method: str
    hint_px: int
    params: dict[str, Any]


CASES = (
    Case("canny", 0, {}),
    Case("lineart", 64, {}),
    Case("hed", 32, {}),
    Case("depth", 28, {"normalization": "clip"}),
    Case("pose", 0, {"smooth_frames": 2.0, "fill_frames": 2}),
)


class StopError(Exception):
    """What Cancel raises here."""


def run(args: argparse.Namespace) -> None:
    """Print a row for each method."""
    torch.set_num_threads(1)
    count = QUICK if args.quick else LONG
    print(
        f"{'':8} frames hint px  ms a frame  peak MB above the start, {SHORT} and {count} frames"
        f"  {SHORT} as one batch  stopped twice  sound"
    )
    networks = InMemory(Random(CATALOGUE), chunk=1)
    with stand_in():
        for case in CASES:
            if not args.methods or case.method in args.methods:
                with tempfile.TemporaryDirectory() as folder:
                    measure(case, count, Path(folder), networks)


def measure(case: Case, count: int, folder: Path, networks: InMemory) -> None:
    """Annotate both clips, then the long one again, stopped twice and gone on with."""
    short, long = (moving_disc.write(folder / f"{n}.mp4", n, SIDE_PX) for n in (SHORT, count))
    whole = equals_whole_batch(job(case, short, folder / "short", networks), short)
    least, _ = peak_of(job(case, short, folder / "again", networks))
    unbroken = job(case, long, folder / "long", networks)
    most, seconds = peak_of(unbroken)
    print(
        f"{case.method:8} {count:6} {case.hint_px or SIDE_PX:3} {1000 * seconds / count:8.1f}"
        f"  {least / 1e6:6.0f} {most / 1e6:6.0f} ({(most - least) / 1e6:+.0f}, at most {MOST_MB})"
        f"  {whole:20}",
        end="",
        flush=True,
    )
    is_heard = moving_disc.sounds(unbroken.path) == moving_disc.sounds(long) != []
    passes = 2 if case.method in clips.WHOLE else 1
    for share in (0.35, 0.8):
        with suppress(StopError):
            job(case, long, folder / "stopped", networks, int(count * passes * share)).run()
    again = job(case, long, folder / "stopped", networks).run()
    is_same = again.read_bytes() == unbroken.path.read_bytes()
    print(f"  {'same file' if is_same else 'OTHER FILE'}   {'same' if is_heard else 'OTHER'}")


def job(
    case: Case, source: Path, folder: Path, networks: InMemory, stop: int | None = None
) -> clip_job.ClipJob:
    """Declare the work on a clip, which stops once `stop` frames of all passes are done."""
    from comfy_api.latest import InputImpl

    row: Preprocessor = catalogue(case.method)

    def report(done: int, _total: int) -> None:
        if stop is not None and done >= stop:
            raise StopError

    return clip_job.ClipJob(
        clip=clip_source.opened(InputImpl.VideoFromFile(str(source))),
        row=row,
        params=row.settled(case.params),
        resolution=case.hint_px,
        encoding="lossless",
        folder=folder,
        networks=networks,
        report=report,
        wait=lambda: None,
    )


def peak_of(work: clip_job.ClipJob) -> tuple[int, float]:
    """Return the most bytes that a run takes above the start, and its seconds."""
    start = settled()
    reset_peak()
    began = time.perf_counter()
    work.run()
    return resident(peak=True) - start, time.perf_counter() - began


def equals_whole_batch(work: clip_job.ClipJob, source: Path) -> str:
    """Compare the file's levels with those of the method on ComfyUI's frames as one batch."""
    from comfy_api.latest import InputImpl

    images = InputImpl.VideoFromFile(str(source)).get_components().images
    means = {"resolution": work.resolution, "networks": work.networks}
    hints = work.row(images, **means, **work.params)
    expected = clips.hint_levels(hints, grey=False)
    with av.open(str(work.run())) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    away = np.abs(np.stack(frames).astype(int) - expected).max()
    return "equal" if away == 0 else f"up to {away} levels away"


@contextmanager
def stand_in() -> Iterator[None]:
    """Find two people where frames are brightest, in changing order, instead of by networks."""

    def detect(frames: Any, *_args: Any, **_more: Any) -> list[Frame]:
        people = []
        for frame in frames:
            columns = np.flatnonzero((frame > 200).all(axis=2).any(axis=0))
            middle = columns.mean() if len(columns) else -100
            person = np.zeros((2, 136, 3))
            person[:, :18, 0] = middle + np.linspace(-10, 10, 18)
            person[:, :18, 1] = np.array([[0.0], [60.0]]) + np.linspace(5, 55, 18)
            person[:, :18, 2] = 1
            people.append(Frame(person[:: -1 if int(middle) % 2 else 1], *frame.shape[:2]))
        return people

    original: Callable[..., Any] = pose.detect_top_down
    pose.detect_top_down = detect
    try:
        yield
    finally:
        pose.detect_top_down = original
