"""Files of keypoints in ComfyUI's input and output folders: listed, located, written."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import folder_paths

from ..preprocessors.keypoints import KeypointError

OUTPUT = " [output]"
"""What the host puts after the name of a file in its output folder."""
SUFFIX = ".json"


def names() -> list[str]:
    """The .json files of the input folder, then those of the output folder with the host's mark
    behind them.
    """
    both = (folder_paths.get_input_directory(), ""), (folder_paths.get_output_directory(), OUTPUT)
    return [name + mark for root, mark in both for name in _listed(Path(root))]


def _listed(root: Path) -> list[str]:
    files = (
        Path(folder, name)
        for folder, _, inside in os.walk(root)
        for name in inside
        if name.endswith(SUFFIX)
    )
    return sorted(file.relative_to(root).as_posix() for file in files)


def found(name: str) -> Path:
    """The file of that name. Raises KeypointError where there is none, or where the name leads out
    of its folder.
    """
    inside, in_output = name.removesuffix(OUTPUT), name.endswith(OUTPUT)
    root = Path(
        folder_paths.get_output_directory() if in_output else folder_paths.get_input_directory()
    ).resolve()
    path = _within(root, inside)
    if path.suffix != SUFFIX or not path.is_file():
        where = "output" if in_output else "input"
        raise KeypointError(
            f"there is no file {inside!r} in the {where} folder: put a .json file with keypoints"
            " there"
        )
    return path


def _within(root: Path, name: str) -> Path:
    """`root`/`name`, where it lies in `root` whatever links there are. Raises KeypointError
    elsewhere.
    """
    try:
        path = (root / name).resolve()
    except (
        OSError,
        ValueError,
    ) as error:  # a null character, a name that is too long, a loop of links
        raise KeypointError(f"{name!r} cannot be the name of a file ({error})") from error
    if not path.is_relative_to(root) or path == root:
        raise KeypointError(
            f"{name!r} leads out of ComfyUI's folders: give a name inside of them, not a path"
        )
    return path


def written(root: Path, prefix: str, text: str) -> Path:
    """A new file in `root`, numbered after those that there are. It appears whole or not at all."""
    beginning = _within(root.resolve(), prefix or "pose")
    beginning.parent.mkdir(parents=True, exist_ok=True)
    handle, waiting = tempfile.mkstemp(dir=beginning.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        number = _next(beginning)
        while True:
            path = beginning.with_name(f"{beginning.name}_{number:05}{SUFFIX}")
            try:
                os.link(
                    waiting, path
                )  # unlike a rename, this never replaces a file of somebody else's
                return path
            except FileExistsError:
                number += 1
            except OSError:  # a file system without links
                os.replace(waiting, path)
                return path
    finally:
        Path(waiting).unlink(missing_ok=True)


def _next(beginning: Path) -> int:
    pattern = re.compile(re.escape(beginning.name) + r"_(\d+)\.json")
    taken = (pattern.fullmatch(name) for name in os.listdir(beginning.parent))
    return max((int(match[1]) for match in taken if match), default=0) + 1
