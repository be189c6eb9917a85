"""Drawings of Draw Scribble in ComfyUI's input folder, each under the sha256 of its content.

A workflow names a drawing, or holds its JSON itself. Drawings never change and are never deleted:
every step of undo, and every workflow that was saved, may name one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import folder_paths

from ..preprocessors.strokes import MOST_BYTES, Drawing, DrawingError, parse
from . import atomic
from .folders import FileNameError, inside, shortened

FOLDER = Path("controlstack", "drawings")
"""Below the input folder."""
SUFFIX = ".json"
INLINE = "{"
"""What a text begins with that is a drawing itself."""


def drawings_folder() -> Path:
    """Return the folder of all drawings; it need not exist."""
    return Path(folder_paths.get_input_directory()) / FOLDER


def drawing_of(text: str) -> Drawing | None:
    """Return the drawing that a workflow names or holds; None for an empty text.

    Raises DrawingError where it is gone, damaged, or named by a path.
    """
    text = text.strip()
    if not text:
        return None
    if text.startswith(INLINE):
        return parse(text)
    content = read_drawing(text)
    try:
        return parse(content)
    except DrawingError as error:
        raise DrawingError(f"{shortened(text)}: {error}") from error


def content_of(text: str) -> str:
    """Return what decides about the picture: the JSON of a drawing, "" for an empty text.

    Raises DrawingError as `drawing_of`.
    """
    text = text.strip()
    return text if not text or text.startswith(INLINE) else read_drawing(text)


def read_drawing(name: str) -> str:
    """Return the JSON of a stored drawing, unread. Raises DrawingError where there is none."""
    path = drawing_file(name)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DrawingError(
                f"{shortened(name)} has {path.stat().st_size:,} bytes: expected a drawing of at"
                f" most {MOST_BYTES:,}. Choose another."
            )
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DrawingError(
            f"{shortened(name)} is not a drawing: expected a text of strokes. Choose another."
        ) from error
    except OSError as error:
        raise DrawingError(
            f"{shortened(name)} could not be read from {FOLDER.as_posix()} in the input folder"
            f" ({error.strerror}). Check the file, or draw again."
        ) from error


def drawing_file(name: str) -> Path:
    """Return the file of a drawing. Raises DrawingError for a path, and where there is none."""
    place = FOLDER.as_posix()
    try:
        path = inside(drawings_folder(), name)
    except FileNameError as error:
        raise DrawingError(
            f"{shortened(name)!r} cannot name a drawing: expected the name of a file in {place} of"
            " the input folder, not a path. Draw again, or choose another."
        ) from error
    if path.suffix != SUFFIX or not path.is_file():
        raise DrawingError(
            f"there is no drawing {shortened(name)!r} in {place} of the input folder: copy it"
            " there, or draw again."
        )
    return path


def store_drawing(content: bytes) -> str:
    """Store the JSON of a drawing and return its name, the same for the same content.

    Raises DrawingError for anything else, OSError in a sentence where it cannot be written.
    """
    try:
        parse(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DrawingError(
            "the drawing is damaged: expected JSON with strokes. Draw it again, or choose another."
        ) from error
    name = hashlib.sha256(content).hexdigest() + SUFFIX
    path = inside(drawings_folder(), name)
    if not (path.is_file() and path.read_bytes() == content):
        atomic.write(path, content)
    return name
