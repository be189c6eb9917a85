"""Download weights: to `NAME.part` in the same folder, resumed, checked, and only then renamed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..preprocessors.spec import Progress, Weights
from .atomic import finish, is_disk_full
from .weights import WeightsError, address, sha256_of

BLOCK_BYTES = 256 * 1024
TRIES = 5
"""Connections in a row that may end without a byte."""
TIMEOUT_S, PAUSE_S = 30.0, 0.5
TRANSPORTS = ("httpx", "httpx2", "httpcore", "requests", "urllib3")
"""HTTP libraries that huggingface_hub has used; their errors have no common base class."""


class _ConnectionEndedError(Exception):
    """The connection ended before the file did."""


@dataclass(frozen=True)
class _Expected:
    """Size and sha256 of the whole file; 0 and "" where unknown."""

    size_bytes: int
    sha256: str


def fetch(weights: Weights, folder: Path, progress: Progress, say: Callable[[str], None]) -> Path:
    """Download a file into `folder` and return its path.

    `progress` counts bytes; what it raises ends the download, and the next one resumes there. The
    licence goes to `say` first. Raises WeightsError that names the file, the address and the
    folder.
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
        finish(part, folder / weights.file)
    except _download_errors() as error:
        if is_disk_full(error):
            part.unlink(missing_ok=True)  # the space is worth more than what has come
        raise WeightsError(
            f"{weights.file} was not found and could not be downloaded: {_reason(error)} "
            f"Download it from {url} and put it into {folder}."
        ) from error
    return folder / weights.file


def _download_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HfHubHTTPError

    # OfflineModeIsEnabled is a ConnectionError, so an OSError.
    return (_ConnectionEndedError, OSError, HfHubHTTPError)


def _reason(error: Exception) -> str:
    """Say in a sentence what went wrong."""
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
        return "it is not at that address, or needs a token (HF_TOKEN)."
    if is_disk_full(error):
        return "the disk is full; the incomplete download was deleted."
    message = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return f"{message.rstrip('.')}."


def _expected(weights: Weights, url: str) -> _Expected:
    """Return size and sha256 from our table, else from the hub.

    The etag of a large file is its sha256.
    """
    from huggingface_hub import get_hf_file_metadata

    if weights.size_bytes and weights.sha256:
        return _Expected(weights.size_bytes, weights.sha256)
    try:
        metadata = get_hf_file_metadata(url, token=None)
    except Exception as error:  # its classes differ with the library's version
        raise _as_connection_error(error) from error
    etag = metadata.etag or ""
    return _Expected(
        weights.size_bytes or metadata.size or 0,
        weights.sha256 or (etag if len(etag) == 64 and etag.isalnum() else ""),
    )


def _complete(url: str, part: Path, expected: _Expected, progress: Progress) -> None:
    """Download `part` to its whole length, resuming as often as the connection ends."""
    tries = TRIES
    if _size(part) > expected.size_bytes:  # another version's, or the size is unknown
        part.unlink()
    while (before := _size(part)) < expected.size_bytes or not before:
        progress(before, max(before, expected.size_bytes, 1))
        try:
            _append(url, part, before, expected, progress)
            if _size(part) < expected.size_bytes:
                raise _ConnectionEndedError(
                    f"the connection ended after {_size(part):,} of {expected.size_bytes:,} bytes"
                )
        except _ConnectionEndedError:
            tries = TRIES if _size(part) > before else tries - 1
            if not tries:
                raise
            time.sleep(PAUSE_S)


def _append(url: str, part: Path, offset: int, expected: _Expected, progress: Progress) -> None:
    """Append what one connection sends from `offset` on."""
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
    """Yield the HTTP status, then blocks of bytes.

    Raises what huggingface_hub raises where the hub refuses, and _ConnectionEndedError.
    """
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    session: Any = get_session()
    try:
        # huggingface_hub 1.0 uses httpx; before it requests, whose `stream` is a setting.
        if callable(getattr(session, "stream", None)):
            opened = session.stream(
                "GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True
            )
            blocks = "iter_bytes"
        else:
            opened = session.get(url, headers=headers, timeout=TIMEOUT_S, stream=True)
            blocks = "iter_content"
        with opened as response:
            hf_raise_for_status(response)
            yield response.status_code
            yield from getattr(response, blocks)(BLOCK_BYTES)
    except Exception as error:  # see _expected
        raise _as_connection_error(error) from error


def _as_connection_error(error: Exception) -> Exception:
    """Return _ConnectionEndedError for what an HTTP library raises, every other error itself."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    is_transport = (
        isinstance(error, OSError) or type(error).__module__.partition(".")[0] in TRANSPORTS
    )
    is_refusal = isinstance(error, HfHubHTTPError | OfflineModeIsEnabled)
    return _ConnectionEndedError(str(error)) if is_transport and not is_refusal else error


def _check(part: Path, expected: _Expected) -> None:
    """Delete a download that is not the expected file, and raise OSError."""
    size = _size(part)
    problem = ""
    if expected.size_bytes and size != expected.size_bytes:
        problem = f"expected {expected.size_bytes:,} bytes, received {size:,}"
    elif expected.sha256 and (actual := sha256_of(part)) != expected.sha256:
        problem = f"received another file: expected sha256 {expected.sha256}, found {actual}"
    if problem:
        part.unlink()
        raise OSError(f"{problem}; it was deleted")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
