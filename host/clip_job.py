"""Annotate a clip of any length: chunk by chunk, kept on the disk, resumed where it stopped.

Beside the finished file stands, until it is finished, a folder `.NAME.work`: the numbers of a first
pass, whole pieces of the video, and the frames of the piece that is being made.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from ..preprocessors import Preprocessor, clips
from ..preprocessors.spec import Networks, Progress, Value
from .atomic import finish, is_disk_full, write
from .clip_source import Clip, ClipError, ClipFrame, file_name
from .clip_writer import ENCODINGS, PIECE_FRAMES, Levels, join, write_piece
from .locks import locked

FORM = 1
"""Of the files in a work folder and of what frames become; with another, work begins again."""
CHUNK_FRAMES = 16
CHUNK_BYTES = 64 << 20
"""Of pictures in float that are in memory at once; large frames go one by one."""
SAVED_EVERY_S = 10.0
SAVING_SHARE = 0.05
"""Of the time, at most, for saving the first pass's numbers."""
FORGOTTEN_S = 30 * 24 * 3600
"""Age at which the work folder of a clip that nobody finished is deleted."""


@dataclass(frozen=True)
class ClipJob:
    """A clip, what is to be made of it, and where."""

    clip: Clip
    row: Preprocessor
    params: Mapping[str, Value]
    resolution: int
    encoding: str
    folder: Path
    networks: Networks | None
    report: Progress
    """Called with frames of all passes; what it raises stops the work, which is kept."""
    wait: Callable[[], None]
    """Called while another process makes the same file."""

    @property
    def path(self) -> Path:
        """Where the finished video is: one name for one clip with one set of settings."""
        asked = (FORM, self.clip.identity, self.row.key, dict(self.params), self.resolution)
        text = json.dumps((*asked, self.encoding), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        return self.folder / f"{file_name(self.clip)}_{self.row.key}_{digest}.mp4"

    def run(self) -> Path:
        """Make the video, or what an earlier run left to do of it.

        Raises ClipError where the clip cannot be read or the disk is full, and what the method
        raises.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / f".{self.path.name}.lock", self.wait), _sentences(self.path):
            if not self.path.exists():
                _forget(self.folder)
                self._make(Work(self.folder / f".{self.path.name}.work"))
        return self.path

    def _make(self, work: Work) -> None:
        passes = Passes(self.clip.count, self.report)
        means = clips.Means(self.resolution, self.networks)
        survey = clips.survey_of(self.row, self.params, means, work.numbers)
        if survey is not None:
            passes.count = 2
            if not work.is_surveyed:
                self._look(work, survey, passes)
            passes.now = 1
        self._draw(work, survey, passes)
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            join(part, work.pieces(), self.clip)
            finish(part, self.path)
        finally:
            part.unlink(missing_ok=True)
        shutil.rmtree(work.folder, ignore_errors=True)

    def _look(self, work: Work, survey: clips.Survey, passes: Passes) -> None:
        done, saved, cost = work.surveyed, time.monotonic(), 0.0
        try:
            for group in self._groups(done):
                survey.look(_pictures(group))
                done += len(group)
                passes.report(done)
                now = time.monotonic()
                if now - saved > max(SAVED_EVERY_S, cost / SAVING_SHARE):
                    work.save(survey.numbers(), done)
                    saved, cost = time.monotonic(), time.monotonic() - now
        except BaseException:
            work.save(survey.numbers(), done)
            raise
        work.save(survey.numbers(), done, is_whole=True)

    def _draw(self, work: Work, survey: clips.Survey | None, passes: Passes) -> None:
        encoding = ENCODINGS[self.encoding]
        done = work.drawn(CHUNK_FRAMES)
        if done % PIECE_FRAMES == 0:  # a run ended before it encoded the last piece
            work.close(self.clip, encoding)
        passes.report(done)
        for group in self._groups(done):
            frames = _pictures(group) if survey is None or survey.reads_frames else None
            if survey is not None:
                hints = survey.draw(frames, done, len(group))
            else:
                assert frames is not None
                means = {"resolution": self.resolution, "networks": self.networks}
                hints = self.row(frames, **means, **self.params)
            work.add(group, clips.hint_levels(hints, grey=self.row.grey), done)
            done += len(group)
            if done % PIECE_FRAMES == 0:
                work.close(self.clip, encoding)
            passes.report(done)
        work.close(self.clip, encoding)

    def _groups(self, first: int) -> Iterator[list[ClipFrame]]:
        """Split the frames from number `first` on into chunks that fit into memory."""
        moments = islice(self.clip.frames(), first, None)
        size = 0
        while group := list(islice(moments, size or 1)):
            if not size:
                size = _chunk(group[0].picture())
                group += islice(moments, size - 1)
            yield group


def _chunk(picture: NDArray[Any]) -> int:
    """Return how many frames make a chunk: a power of two, so that it divides a piece."""
    size = CHUNK_FRAMES
    while size > 1 and size * picture.size * 4 > CHUNK_BYTES:
        size //= 2
    return size


def _pictures(group: list[ClipFrame]) -> Any:
    return clips.pictures([moment.picture() for moment in group])


@dataclass
class Passes:
    """Count frames over one or two passes."""

    frames: int
    to: Progress
    count: int = 1
    now: int = 0

    def report(self, done: int) -> None:
        """Tell that so many frames of this pass are done."""
        frames = max(self.frames, done)
        self.to(self.now * frames + done, self.count * frames)


class Work:
    """A folder with what is done of a clip."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.numbers: dict[str, NDArray[Any]] | None = None
        self.surveyed, self.is_surveyed = 0, False
        if self._numbers.exists():
            with np.load(self._numbers, allow_pickle=False) as stored:
                numbers = {name: stored[name] for name in stored.files}
            self.surveyed, self.is_surveyed = (int(each) for each in numbers.pop("frames_done"))
            self.numbers = numbers

    @property
    def _numbers(self) -> Path:
        return self.folder / "numbers.npz"

    def save(self, numbers: clips.Numbers, done: int, *, is_whole: bool = False) -> None:
        """Keep the numbers of the first pass."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {"frames_done": np.array([done, is_whole]), **numbers}
        np.savez_compressed(file, **arrays)
        write(self._numbers, file.getvalue())

    def pieces(self) -> list[Path]:
        """List the pieces that are whole, in order."""
        return sorted(self.folder.glob("[0-9]*.nut"))

    def drawn(self, step: int) -> int:
        """Return how many frames are drawn, in steps; what is beyond the last step is dropped."""
        first = len(self.pieces()) * PIECE_FRAMES
        for raw in self.folder.glob("[0-9]*.raw"):
            index, size = _of_name(raw)
            count = raw.stat().st_size // (TIME_BYTES + int(np.prod(size))) // step * step
            if index * PIECE_FRAMES != first or not count:
                raw.unlink()
                continue
            with raw.open("rb+") as file:
                file.truncate(count * (TIME_BYTES + int(np.prod(size))))
            return first + count
        return first

    def add(self, group: list[ClipFrame], levels: NDArray[np.uint8], first: int) -> None:
        """Keep drawn frames as they are until their piece is whole."""
        size = "x".join(map(str, levels.shape[1:]))
        path = self.folder / f"{first // PIECE_FRAMES:06d}.{size}.raw"
        with path.open("ab") as file:
            for moment, frame in zip(group, levels, strict=True):
                file.write(moment.at.to_bytes(TIME_BYTES, "little") + frame.tobytes())

    def close(self, clip: Clip, encoding: Any) -> None:
        """Encode the piece that is being made, if there is one."""
        for raw in self.folder.glob("[0-9]*.raw"):
            index, size = _of_name(raw)
            part = self.folder / f"{index:06d}.part"
            write_piece(part, _raw_frames(raw, size), clip, encoding)
            finish(part, self.folder / f"{index:06d}.nut")
            raw.unlink()


TIME_BYTES = 8


def _of_name(raw: Path) -> tuple[int, tuple[int, ...]]:
    """Return the number of a raw piece, and the size of its frames."""
    index, size, _ = raw.name.split(".")
    return int(index), tuple(map(int, size.split("x")))


def _raw_frames(raw: Path, size: tuple[int, ...]) -> Iterator[Levels]:
    with raw.open("rb") as file:
        while at := file.read(TIME_BYTES):
            levels = np.frombuffer(file.read(int(np.prod(size))), np.uint8).reshape(size)
            yield Levels(int.from_bytes(at, "little"), levels)


def _forget(folder: Path) -> None:
    """Delete the work folders of clips that nobody has gone on with for a month."""
    for work in folder.glob(".*.work"):
        if time.time() - work.stat().st_mtime > FORGOTTEN_S:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turn what the system says of disks and files into sentences."""
    try:
        yield
    except (FFmpegError, OSError) as error:
        if is_disk_full(error):
            raise ClipError(
                f"{path.name}: the disk is full. Free space in {path.parent.name} and queue again:"
                " the frames that are done are kept, and the work goes on after them"
            ) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise ClipError(
            f"{path.name} could not be made ({reason}): the frames that are done are kept, so"
            " queue again once that is mended"
        ) from error
