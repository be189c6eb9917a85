"""Keep a file name that comes from outside inside the folder that it is meant for.

Standard library only. Every place that joins a folder with a name from a workflow, a request or a
data set goes through `inside`.
"""

from __future__ import annotations

import ntpath
import os
import re
from contextlib import suppress
from pathlib import Path

NAME_LIMIT = 255
"""Length of one part of a path: bytes on Linux, characters elsewhere."""
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)
"""Names that Windows opens as a device in every folder, whatever suffix follows them."""
ON_WINDOWS = os.name == "nt"


class FileNameError(ValueError):
    """A name that does not stand for a file inside the folder; `fault` is one of FAULTS."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence

    def __init__(self, fault: str, name: str) -> None:
        super().__init__(f"{shortened(name)!r} {FAULTS[fault]}")
        self.fault = fault


def shortened(text: str, limit: int = 120) -> str:
    """Return a text as sentences quote it: its beginning, where it is long."""
    return text if len(text) <= limit else f"{text[:limit]}…"


FAULTS = {
    "empty": "is empty: expected a name, or folder/name",
    "itself": "is the folder itself: expected a name in it",
    "path": "is a path: expected a name, or folder/name",
    "unusable": "cannot be the name of a file",
    "unreachable": "cannot be the name of a file: it is too long, or a loop of links",
    "outside": "leads out of the folder over a link",
}


def inside(folder: Path, name: str, *, detours: bool = False, windows: bool = ON_WINDOWS) -> Path:
    """Return `folder`/`name` with all links followed; the file itself need not exist.

    `detours` accepts '..' and absolute paths as long as they end inside the folder: lists of
    pictures are written by other tools. `windows` also refuses what only Windows gives a meaning:
    streams (a:b), devices (NUL), spaces and full stops at a part's end; pass True for files that
    are carried from one system to another.

    Raises FileNameError for every other name.
    """
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
    is_path = _is_absolute(name) or ".." in parts
    if not name.strip():
        raise FileNameError("empty", name)
    if is_path and not detours:
        raise FileNameError("path", name)
    if not _is_encodable(name) or (windows and any(map(_is_special, _below_drive(parts)))):
        raise FileNameError("unusable", name)
    # Before the disk is asked: to look at a network share is to log in to it.
    if windows and _drive(name) not in ("", _drive(str(folder)), _drive(str(folder.resolve()))):
        raise FileNameError("path", name)
    root, path = folder.resolve(), _resolved(folder, name)
    if path == root:
        raise FileNameError("itself", name)
    if not path.is_relative_to(root):
        raise FileNameError("path" if is_path else "outside", name)
    return path


def _is_absolute(name: str) -> bool:
    """Tell whether Linux or Windows would leave the folder: a root, a drive, a network share."""
    return name[:1] in ("/", "\\") or _drive(name) != ""


def _drive(name: str) -> str:
    return ntpath.splitdrive(name.replace("/", "\\"))[0].lower()


def _is_encodable(name: str) -> bool:
    try:
        return "\0" not in name and bool(os.fsencode(name))
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _below_drive(parts: list[str]) -> list[str]:
    return parts[1:] if parts and _drive(parts[0]) == parts[0].lower() else parts


def _is_special(part: str) -> bool:
    """Tell whether Windows takes a part of a path for something else than the file of that name."""
    if part == "..":
        return False
    stem = part.partition(".")[0].rstrip(" ")
    return ":" in part or part[-1:] in (" ", ".") or DEVICES.fullmatch(stem) is not None


def _resolved(folder: Path, name: str) -> Path:
    """Follow all links of `folder`/`name`.

    Raises FileNameError where the system refuses the name.
    """
    try:
        path = (folder.resolve() / name).resolve()
        if any(_length(part) > NAME_LIMIT for part in path.parts):
            raise FileNameError("unreachable", name)
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise FileNameError("unreachable", name) from error
    return path


def _length(part: str) -> int:
    return len(part) if ON_WINDOWS else len(os.fsencode(part))
