"""Files of keypoints in ComfyUI's input and output folders: listed, located, written."""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path

import folder_paths

from ..preprocessors.keypoints import KeypointError
from . import atomic
from .drawing_files import FOLDER
from .folders import FileNameError, inside, shortened

OUTPUT_MARK = " [output]"
"""What ComfyUI puts after the name of a file in its output folder."""
SUFFIX = ".json"
OWN_MARK = " [controlstack]"
"""What follows the name of a file that comes with this pack."""
OWN = Path(__file__).resolve().parents[1] / "example_workflows" / "inputs"


def list_keypoint_files() -> list[str]:
    """List .json files of the input folder, then, with marks, of the output and of this pack."""
    drawings = f"{FOLDER.as_posix()}/"
    inputs = [
        name
        for name in _listed(Path(folder_paths.get_input_directory()))
        if not name.startswith(drawings)
    ]
    outputs = _listed(Path(folder_paths.get_output_directory()))
    own = _listed(OWN)
    return [
        *inputs,
        *(name + OUTPUT_MARK for name in outputs),
        *(name + OWN_MARK for name in own),
    ]


def _listed(root: Path) -> list[str]:
    files = (Path(folder, name) for folder, _, names in os.walk(root) for name in names)
    return sorted(file.relative_to(root).as_posix() for file in files if file.name.endswith(SUFFIX))


def keypoint_file(name: str) -> Path:
    """Return the file of that name.

    Raises KeypointError where there is none, or where the name leads out of its folder.
    """
    places = {
        OUTPUT_MARK: ("output", folder_paths.get_output_directory()),
        OWN_MARK: ("example", str(OWN)),
        "": ("input", folder_paths.get_input_directory()),
    }
    mark = next(mark for mark in places if name.endswith(mark))
    (where, folder), plain = places[mark], name.removesuffix(mark)
    path = _inside(Path(folder), plain)
    if path.suffix != SUFFIX or not path.is_file():
        raise KeypointError(
            f"there is no file {shortened(plain)!r} in the {where} folder: put a .json file with"
            " keypoints there"
        )
    return path


def _inside(root: Path, name: str) -> Path:
    try:
        return inside(root, name, detours=True)
    except FileNameError as error:
        if error.fault in ("unusable", "unreachable"):
            raise KeypointError(f"{shortened(name)!r} cannot be the name of a file") from error
        raise KeypointError(
            f"{shortened(name)!r} leads out of ComfyUI's folders: give a name inside of them, not a"
            " path"
        ) from error


def write_keypoint_file(root: Path, prefix: str, text: str) -> Path:
    """Write a new file below `root`, numbered after those that are there, and return its path.

    Raises KeypointError where the prefix leads elsewhere, OSError in a sentence where the file
    cannot be written. No existing file is replaced.
    """
    beginning = _inside(root, prefix or "pose")
    numbers = count(_next_number(beginning))
    return atomic.write_new(
        (beginning.with_name(f"{beginning.name}_{number:05}{SUFFIX}") for number in numbers), text
    )


def _next_number(beginning: Path) -> int:
    if not beginning.parent.is_dir():
        return 1
    pattern = re.compile(re.escape(beginning.name) + r"_(\d+)\.json")
    matches = (pattern.fullmatch(name) for name in os.listdir(beginning.parent))
    return max((int(match[1]) for match in matches if match), default=0) + 1
