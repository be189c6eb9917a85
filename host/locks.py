"""Lock files that processes share: whoever dies lets go of his. Standard library only."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PAUSE_S = 0.2
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


@contextmanager
def locked(path: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`, which is gone afterwards.

    While another process or thread holds it, `wait` is called five times a second; what it raises
    ends the waiting. Raises OSError where the folder cannot be written.
    """
    while (handle := _taken(path)) is None:
        wait()
        time.sleep(PAUSE_S)
    try:
        yield
    finally:
        if sys.platform == "win32":  # which deletes no open file
            os.close(handle)
            with suppress(OSError):
                path.unlink()
        else:
            with suppress(OSError):
                path.unlink()
            os.close(handle)


def _taken(path: Path) -> int | None:
    """Return the handle of the lock; None where somebody has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if _is_ours(handle) and os.path.samestat(os.fstat(handle), path.stat()):
            return handle
    except FileNotFoundError:
        pass  # whoever held it has deleted it since: a file of that name is another one
    except OSError:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _is_ours(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _TAKEN  # a file system without locks has nobody to wait for
    return True
