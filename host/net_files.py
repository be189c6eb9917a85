"""List the files that Load ControlNet offers, and tell what each is by its header."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path

import folder_paths

from ..control.patches import FAMILIES
from ..files import families
from ..files.header import FileError, Header, is_safetensors, read_header

PATCHES = "model_patches"
MOST_S = 0.25
"""How long a list may take to look at files that it has not seen yet; the others follow later."""


def list_nets() -> list[str]:
    """List the files of the controlnet folder, then those of model_patches as FOLDER/NAME.

    Files that are known to be something else come last: a new node shows the first of the list.
    """
    patches = list[str]()
    if PATCHES in folder_paths.folder_names_and_paths:
        patches = folder_paths.get_filename_list(PATCHES)
    names = [
        *folder_paths.get_filename_list("controlnet"),
        *(f"{PATCHES}/{name}" for name in patches),
    ]
    ends = time.monotonic() + MOST_S
    return sorted(names, key=lambda name: time.monotonic() < ends and _is_other(name))


def _is_other(name: str) -> bool:
    try:
        identity = identity_of(name)
    except Exception:  # a header of any content; whatever a file holds, the list has it
        return False
    return identity is not None and not is_loadable(name, identity)


def is_loadable(name: str, identity: families.Identity) -> bool:
    """Return whether Load ControlNet makes a net of a file of this name and identity."""
    if name.startswith(f"{PATCHES}/"):
        return identity.folder == PATCHES and identity.family in FAMILIES
    return identity.is_control and identity.family != families.DIFFERENCE


def identity_of(name: str) -> families.Identity | None:
    """Tell what a file of `list_nets` is; None where its header does not."""
    folder, file = ("controlnet", name)
    if name.startswith(f"{PATCHES}/"):
        folder, file = PATCHES, name.removeprefix(f"{PATCHES}/")
    path = folder_paths.get_full_path(folder, file)
    return _identified(path, changed_ns(path)) if path else None


def header_of(file: str | None) -> Header | None:
    """Read a safetensors file's header; None where there is none, or it does not read."""
    if file is None or not is_safetensors(Path(file)):
        return None
    try:
        return _read(file, changed_ns(file))
    except FileError:
        return None


def changed_ns(file: str) -> int:
    """Return when a file was changed, 0 for one that was deleted since it was listed."""
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=256)
def _read(file: str, _changed_ns: int) -> Header:
    return read_header(Path(file))


@lru_cache(maxsize=4096)
def _identified(file: str, _changed_ns: int) -> families.Identity | None:
    header = header_of(file)
    return families.identify(header.shapes, header.metadata) if header else None
