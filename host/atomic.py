"""Write files so that each is at every moment the old one or the new one, whole.

A file is written beside its place as `.NAME.PID.part`, flushed to the disk, then renamed. Standard
library only, but for psutil (which ComfyUI requires) to ask whether a process still runs.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

Content = bytes | str | Callable[[Path], None]
"""What to write: bytes, text (UTF-8), or a function that writes the file at the given path."""

LEFTOVER_S = 24 * 3600
"""Age beyond which an unfinished file belongs to nobody: no write takes a day."""
QUIET_S = 15 * 60
"""Time without a write after which the file of a process that is not here belongs to nobody: on a
shared disk it may run on another machine."""
_PART = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d{1,9})\.part")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write(path: Path, content: Content, *, size_bytes: int = 0) -> None:
    """Write `path`, replacing what is there.

    Raises OSError with a sentence where the disk is full (with `size_bytes`, which says how much is
    needed) or the folder cannot be written; the old file then stays.
    """
    with _sentences(path, size_bytes), _unfinished(path, content) as part:
        finish(part, path)


def write_new(paths: Iterable[Path], content: Content) -> Path:
    """Write to the first of `paths` that is free, and return it; no existing file is replaced.

    All must lie in one folder. Raises OSError as `write` does.
    """
    candidates = iter(paths)
    first = next(candidates)
    with _sentences(first, 0), _unfinished(first, content) as part:
        _flush(part)
        for path in chain((first,), candidates):
            if _publish(part, path):
                return path
    raise FileExistsError(f"{first.name} and every other name for it are taken in {first.parent}")


def finish(part: Path, path: Path) -> None:
    """Flush a complete file to the disk and give it its name, replacing what is there."""
    _flush(part)
    os.replace(part, path)


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error says that the disk or a quota is full, or a file too large for it."""
    return isinstance(error, OSError) and error.errno in _FULL


def _publish(part: Path, path: Path) -> bool:
    """Give `part` the name `path` unless it is taken; return whether that worked."""
    try:
        os.link(part, path)  # unlike a rename, this never replaces a file
        return True
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: take the name first, then fill it
        return _publish_without_links(part, path)


def _publish_without_links(part: Path, path: Path) -> bool:
    try:
        path.open("xb").close()
    except FileExistsError:
        return False
    os.replace(part, path)
    return True


@contextmanager
def _unfinished(path: Path, content: Content) -> Iterator[Path]:
    """Write `content` to a temporary file beside `path`; it is gone afterwards."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    try:
        if callable(content):
            content(part)
        else:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
        yield part
    finally:
        part.unlink(missing_ok=True)


def _flush(part: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())


def remove_leftovers(path: Path) -> None:
    """Delete what killed processes left of writing `path`, and old leftovers of its suffix."""
    for part in path.parent.iterdir():
        match = _PART.fullmatch(part.name)
        if match is None or Path(match["name"]).suffix != path.suffix:
            continue
        with suppress(OSError):  # gone meanwhile, or somebody else's
            age_s = time.time() - part.stat().st_mtime
            is_ours = match["name"] == path.name or age_s > QUIET_S
            if age_s > LEFTOVER_S or (is_ours and not _is_running(int(match["pid"]))):
                part.unlink()


def _is_running(pid: int) -> bool:
    import psutil  # not os.kill(pid, 0), which sends Ctrl+C on Windows

    return psutil.pid_exists(pid)


@contextmanager
def _sentences(path: Path, size_bytes: int) -> Iterator[None]:
    had_file = path.exists()
    try:
        yield
    except OSError as error:
        state = "what was there before is untouched" if had_file else "nothing was left behind"
        raise OSError(_sentence(error, path, size_bytes, state)) from error


def _sentence(error: OSError, path: Path, size_bytes: int, state: str) -> str:
    if is_disk_full(error):
        needed = f"; {size_bytes / 1e6:,.0f} MB are needed in {path.parent}" if size_bytes else ""
        return f"{path.name}: the disk is full{needed}. Free space; {state}."
    reason = error.strerror or next(iter(str(error).splitlines()), type(error).__name__)
    return f"{path.name} could not be written to {path.parent} ({reason}); {state}."
