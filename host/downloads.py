"""Download weights: to `NAME.part` in the same folder, resumed, checked, and only then renamed.

Nothing that a server says is believed: what is expected is in our table, or asked of the hub
before. huggingface_hub gives addresses, tokens and the session; its own downloads can neither be
stopped on a slow line nor limited in size.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..files.header import FileError, is_safetensors, read_header, refuse_other_than_pickle
from ..preprocessors.spec import Progress, Weights
from .addresses import AddressError, address, public, request_of, scrubbed, shown_address
from .atomic import finish, is_disk_full
from .locks import locked
from .streams import UNUSABLE_RANGE, Head, LineError, RefusedError, answer, as_line_error, asked
from .weight_files import WeightsError, sha256_of

TRIES = 5
"""Connections in a row that may end without a byte."""
PAUSE_S = 0.5
MOST_BYTES = 8 << 30
"""More than any file of weights that we know."""
BYTES_PER_TICK = 256 * 1024
OFFLINE = "downloads are switched off (HF_HUB_OFFLINE)."
REFUSALS = {
    "GatedRepo": "its repository asks you to accept its terms first, and for a token (HF_TOKEN).",
    401: "it is not at that address, or needs a token (HF_TOKEN).",
    404: "it is not at that address, or needs a token (HF_TOKEN).",
    429: "the server says that too much was asked of it (429): try again later.",
}


class _LieError(Exception):
    """The server sends something else than the file."""


class _StaleError(Exception):
    """What has come cannot be continued: begin again."""


ERRORS = (LineError, RefusedError, _LieError, AddressError, OSError)
"""What ends a download; OfflineModeIsEnabled is a ConnectionError, so an OSError."""


@dataclass(frozen=True)
class _Expected:
    """Size and sha256 of the whole file; 0 and "" where unknown."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class _Job:
    """A download: where from, where to, what is expected, and whom to tell."""

    url: str
    headers: dict[str, str]
    part: Path
    expected: _Expected
    progress: Progress

    def tick(self) -> None:
        """Report how far it is. Raises what the progress raises."""
        done = _size(self.part)
        self.progress(done, max(done, self.expected.size_bytes, 1))


def fetch(weights: Weights, folder: Path, progress: Progress, say: Callable[[str], None]) -> Path:
    """Download a file into `folder` and return its path.

    `progress` counts bytes; what it raises ends the download, and the next one resumes there. Of
    several processes one downloads, and the others wait for its file. The licence goes to `say`
    first. Raises WeightsError that names the file, the address and the folder.
    """
    path, part = folder / weights.file, folder / f"{weights.file}.part"
    shown = ""
    try:
        url = address(weights)
        shown = public(url)
        say(_announcement(weights))
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{part.name}.lock", lambda: progress(0, 1)):
            if not path.is_file():  # nobody else fetched it meanwhile
                _download(weights, url, part, progress)
                finish(part, path)
    except ERRORS as error:
        if is_disk_full(error):
            part.unlink(missing_ok=True)  # the space is worth more than what has come
        raise WeightsError(
            f"{weights.file} was not found and could not be downloaded: {_reason(error)} Download"
            f" it from {shown or shown_address(weights)} and put it into {folder}."
        ) from error
    return path


def _announcement(weights: Weights) -> str:
    licence = f"{weights.file} of {weights.repo}, licence: {weights.licence}"
    restriction = " Its use is restricted." if weights.restricted else ""
    return f"Downloading {licence}.{restriction}"


def _download(weights: Weights, url: str, part: Path, progress: Progress) -> None:
    """Complete `part` and check it."""
    from huggingface_hub.utils import build_hf_headers

    url, headers = request_of(url, build_hf_headers())
    job = _Job(url, headers, part, _Expected(weights.size_bytes, weights.sha256), progress)
    if not (weights.size_bytes and weights.sha256):
        job = replace(job, expected=_asked_of_the_hub(job))
    if not job.expected.sha256:
        part.unlink(missing_ok=True)  # it may be the beginning of another version
    job = _completed(job)
    _check(part, job.expected, weights.file)


def _reason(error: Exception) -> str:
    """Say in a sentence what went wrong."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return OFFLINE
    if isinstance(error, RefusedError):
        refusal = REFUSALS.get(error.code) or REFUSALS.get(error.status)
        return refusal or f"the server answered {error.status}."
    if is_disk_full(error):
        return "the disk is full; the incomplete download was deleted."
    message = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return f"{scrubbed(message)[:300].rstrip('.')}."


def _asked_of_the_hub(job: _Job) -> _Expected:
    """Return what is expected, with size and sha256 from the hub where our table has none.

    The etag of a large file is its sha256.
    """
    from huggingface_hub import get_hf_file_metadata

    def ask() -> tuple[int, str]:
        try:
            login = {k: v for k, v in job.headers.items() if k.lower() == "authorization"}
            metadata = get_hf_file_metadata(job.url, token=False, headers=login)
        except Exception as error:  # the HTTP libraries' classes differ with their versions
            raise as_line_error(error) from error
        return metadata.size or 0, metadata.etag or ""

    size_bytes, etag = asked(ask, job.tick)
    if size_bytes > MOST_BYTES:
        raise _LieError(f"the server offers {size_bytes:,} bytes, more than any weights have")
    is_sha256 = re.fullmatch("[0-9a-f]{64}", etag) is not None
    return _Expected(
        job.expected.size_bytes or max(0, size_bytes),
        job.expected.sha256 or (etag if is_sha256 else ""),
    )


def _completed(job: _Job) -> _Job:
    """Download the part to its whole length, resuming as often as the connection ends.

    Return the job with the size, where the server told it only now.
    """
    tries, may_be_stale, is_whole = TRIES, True, False
    if job.expected.size_bytes and _size(job.part) > job.expected.size_bytes:
        job.part.unlink()  # another version's
    while not is_whole and not 0 < job.expected.size_bytes == _size(job.part):
        before = _size(job.part)
        try:
            job.tick()
            job, is_whole = _continued(job, before)
        except _StaleError as error:
            if not may_be_stale:
                raise _LieError(str(error)) from error
            may_be_stale = False
            job.part.unlink(missing_ok=True)
        except LineError:
            tries = TRIES if _size(job.part) > before else tries - 1
            if not tries:
                raise
            time.sleep(PAUSE_S)
    job.tick()
    return job


def _continued(job: _Job, offset: int) -> tuple[_Job, bool]:
    """Append what one connection sends from `offset` on; return whether that was the end."""
    stream = answer(job.url, job.headers, offset, job.tick)
    begin, size_bytes = _promised(next(stream), offset, job.expected.size_bytes)
    job = replace(job, expected=replace(job.expected, size_bytes=size_bytes))
    reason: Exception | None = None
    try:
        _append(job, stream, begin)
    except LineError as error:
        reason = error
    finally:
        stream.close()  # type: ignore[attr-defined]  # a generator
    if (done := _size(job.part)) < size_bytes:
        ended = f"the connection ended after {done:,} of {size_bytes:,} bytes"
        raise LineError(ended) from reason
    return job, True


def _append(job: _Job, stream: Iterator[bytes], begin: int) -> None:
    """Write what comes behind the first `begin` bytes of the part, up to the expected size."""
    with job.part.open("r+b" if begin else "wb", buffering=0) as file:
        done = reported = file.seek(begin)
        for block in stream:
            room = job.expected.size_bytes - done
            done += file.write(block[:room])
            if len(block) > room:
                return
            if done - reported >= BYTES_PER_TICK:
                job.tick()
                reported = done


def _promised(head: Head, offset: int, expected: int) -> tuple[int, int]:
    """Return where an answer continues the part, and the size of the whole file.

    Raises _LieError where it is something else than the file, _StaleError where it is another
    stretch of it than was asked for. Nothing has been written then.
    """
    encoding = head.headers.get("content-encoding", "identity").strip().lower()
    length = _number(head.headers.get("content-length", ""))
    if head.status == UNUSABLE_RANGE:
        raise _StaleError("the server has no such part of the file (416)")
    if head.status not in (200, 206):
        raise _LieError(f"the server answered {head.status} instead of a file")
    if "html" in head.headers.get("content-type", "").lower():
        raise _LieError(
            "the server sent a web page instead of the file (does this network ask you to log in?)"
        )
    if encoding not in ("", "identity"):
        raise _LieError(f"the server packed the file ({encoding}), which it was asked not to do")
    begin = offset if head.status == 206 else 0
    whole = begin + length if length is not None else 0
    if head.status == 206:
        whole = _whole_of_range(head.headers.get("content-range", ""), offset, whole)
    if expected and whole and whole != expected:
        fault = f"expected {expected:,} bytes, the server offers {whole:,}"
        raise _StaleError(fault) if begin else _LieError(fault)
    if not 0 < (expected or whole) <= MOST_BYTES:
        raise LineError(
            "the server sent an empty answer"
            if length == 0
            else "the server does not say how large the file is"
        )
    return begin, expected or whole


def _whole_of_range(text: str, offset: int, whole: int) -> int:
    """Return the size of the whole file that a Content-Range names; `whole` where it has none."""
    match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", text.strip())
    is_other = match is None or int(match[1]) != offset if text else not whole
    if is_other:
        raise _StaleError("the server sent another part of the file than it was asked for")
    if not offset:
        raise _LieError("the server sent a part of the file, the whole was asked for")
    return int(match[3]) if match and match[3] != "*" else whole


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,18}", text.strip()) else None


def _check(part: Path, expected: _Expected, file: str) -> None:
    """Delete a download that is not the expected file, and raise _LieError."""
    try:
        size = _size(part)
        if expected.size_bytes and size != expected.size_bytes:
            raise FileError(f"expected {expected.size_bytes:,} bytes, received {size:,}")
        if expected.sha256 and (actual := sha256_of(part)) != expected.sha256:
            raise FileError(
                f"received another file: expected sha256 {expected.sha256}, found {actual}"
            )
        if not expected.sha256 and is_safetensors(Path(file)):
            read_header(part)
        elif not expected.sha256:
            refuse_other_than_pickle(part)
    except FileError as error:
        part.unlink()
        raise _LieError(f"{str(error).rstrip('.')}; it was deleted") from error


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
