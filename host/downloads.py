"""Downloads of weights: to a temporary name in the same folder, resumed, checked, and only then
given their name.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..preprocessors.spec import Progress, Weights
from .weights import WeightsError, address, sha256_of

BLOCK_BYTES = 256 * 1024
TRIES = 5
"""Times in a row that a connection may end without a byte."""
TIMEOUT_S, PAUSE_S = 30.0, 0.5
TRANSPORTS = ("httpx", "httpx2", "httpcore", "requests", "urllib3")
"""What the hub's library has connected with over its versions; their errors have no common kind."""


class _Cut(Exception):
    """The connection ended before the file did."""


@dataclass(frozen=True)
class _Expected:
    """What the whole file is; 0 and "" where nobody says."""

    size_bytes: int
    sha256: str


def fetch(weights: Weights, folder: Path, progress: Progress, say: Callable[[str], None]) -> Path:
    """The file's path in `folder`, downloaded there.

    `progress` counts bytes; what it raises ends the download, and the next one goes on where it
    ended. `say` is told the licence first. Raises WeightsError that names the file, the address and
    the folder.
    """
    url, part = address(weights), folder / f"{weights.file}.part"
    licence = f"{weights.file} of {weights.repo}, licence: {weights.licence}"
    say(
        f"Downloading {licence}. Its use is restricted."
        if weights.restricted
        else f"Downloading {licence}."
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        expected = _expected(weights, url)
        _complete(url, part, expected, progress)
        _check(part, expected)
        os.replace(part, folder / weights.file)
    except _refusals() as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            part.unlink(missing_ok=True)  # the space is worth more than what has come
        raise WeightsError(
            f"{weights.file} is not here, and could not be downloaded: {_reason(error)} "
            f"Fetch it from {url} and put it into {folder}."
        ) from error
    return folder / weights.file


def _refusals() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HfHubHTTPError

    return (
        _Cut,
        OSError,
        HfHubHTTPError,
    )  # OfflineModeIsEnabled is a ConnectionError, so an OSError


def _reason(error: Exception) -> str:
    """A sentence for what went wrong."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if isinstance(error, OfflineModeIsEnabled):
        return "downloads are switched off (HF_HUB_OFFLINE)."
    if isinstance(error, GatedRepoError):
        return "its repository asks you to accept its terms first, and for a token (HF_TOKEN)."
    if isinstance(error, RepositoryNotFoundError | EntryNotFoundError):
        return "it is not at that address, or only with a token (HF_TOKEN)."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; what had come was deleted."
    said = str(error).strip().splitlines()
    return f"{(said or [type(error).__name__])[0].rstrip('.')}."


def _expected(weights: Weights, url: str) -> _Expected:
    """Size and sha256 by our table, else by what the hub says of the file (its etag is the sha256
    of a large one).
    """
    from huggingface_hub import get_hf_file_metadata

    if weights.size_bytes and weights.sha256:
        return _Expected(weights.size_bytes, weights.sha256)
    try:
        said = get_hf_file_metadata(url, token=None)
    except Exception as error:  # the transport's own kinds differ with the library's version
        raise _of_the_connection(error) from error
    etag = said.etag or ""
    return _Expected(
        weights.size_bytes or said.size or 0,
        weights.sha256 or (etag if len(etag) == 64 and etag.isalnum() else ""),
    )


def _complete(url: str, part: Path, expected: _Expected, progress: Progress) -> None:
    """Bring `part` to its whole length, going on where it ends as often as the connection is cut."""
    tries = TRIES
    if _size(part) > expected.size_bytes:  # another version's, or nobody says how long it should be
        part.unlink()
    while (before := _size(part)) < expected.size_bytes or not before:
        progress(before, max(before, expected.size_bytes, 1))
        try:
            _append(url, part, before, expected, progress)
            if _size(part) < expected.size_bytes:
                raise _Cut(
                    f"the connection ended after {_size(part):,} of {expected.size_bytes:,} bytes"
                )
        except _Cut:
            tries = TRIES if _size(part) > before else tries - 1
            if not tries:
                raise
            time.sleep(PAUSE_S)


def _append(url: str, part: Path, offset: int, expected: _Expected, progress: Progress) -> None:
    """One connection: what comes from `offset` on, written behind what is there."""
    stream = _stream(url, offset)
    try:
        resumes = next(stream) == 206
        done = offset if resumes else 0
        with part.open("ab" if resumes else "wb") as file:
            for block in stream:
                progress(done, expected.size_bytes or done + 1)
                file.write(block)
                done += len(block)
        progress(done, expected.size_bytes or done)
    finally:
        stream.close()


def _stream(url: str, offset: int) -> Generator[Any]:
    """The status, then blocks of bytes. Raises what the hub's library raises for a refusal, and
    _Cut.
    """
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    session: Any = get_session()
    try:
        # httpx from the library's version 1.0 on; before it requests, whose `stream` is a setting
        if callable(getattr(session, "stream", None)):
            opened = session.stream(
                "GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True
            )
            blocks = "iter_bytes"
        else:
            opened, blocks = (
                session.get(url, headers=headers, timeout=TIMEOUT_S, stream=True),
                "iter_content",
            )
        with opened as response:
            hf_raise_for_status(response)
            yield response.status_code
            yield from getattr(response, blocks)(BLOCK_BYTES)
    except Exception as error:  # see _expected
        raise _of_the_connection(error) from error


def _of_the_connection(error: Exception) -> Exception:
    """_Cut for what a transport raises; `error` itself where it says why the hub refuses, or is no
    transport's.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    is_transport = (
        isinstance(error, OSError) or type(error).__module__.partition(".")[0] in TRANSPORTS
    )
    refuses = isinstance(error, HfHubHTTPError | OfflineModeIsEnabled)
    return _Cut(str(error)) if is_transport and not refuses else error


def _check(part: Path, expected: _Expected) -> None:
    """Raises OSError, after deleting what came, where it is not what was expected."""
    size = _size(part)
    wrong = ""
    if expected.size_bytes and size != expected.size_bytes:
        wrong = f"{expected.size_bytes:,} bytes were expected, {size:,} came"
    elif expected.sha256 and (found := sha256_of(part)) != expected.sha256:
        wrong = f"what came is another file: its sha256 should be {expected.sha256}, but is {found}"
    if wrong:
        part.unlink()
        raise OSError(f"{wrong}; it was deleted")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
