"""Find the weights of preprocessors where users have them: ours, controlnet_aux's and WEBUI's.

Each of these may be named in extra_model_paths.yaml as one of our folders, or be sorted into
subfolders. What cannot be read is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import folder_paths

from ..preprocessors.spec import Weights
from .weight_files import below

AUX_CHECKPOINTS = "AUX_ANNOTATOR_CKPTS_PATH"
"""The environment variable by which users move controlnet_aux's checkpoints."""
WEBUI_DOWNLOADS = (
    "../annotator/downloads",
    "../../extensions/sd-webui-controlnet/annotator/downloads",
)
FORGE_DOWNLOADS = "../ControlNetPreprocessor"


def located(weights: Weights, ours: list[Path]) -> Path | None:
    """Return the file from `ours`, else from controlnet_aux's or WEBUI's folders, or None."""
    return below(weights, list(dict.fromkeys((*ours, *_aux_checkpoints(), *_webui_downloads()))))


def _aux_checkpoints() -> Iterator[Path]:
    """Yield the folders of controlnet_aux's checkpoints, moved or in a custom node's folder."""
    if moved := os.environ.get(AUX_CHECKPOINTS):
        yield Path(moved)
    for folder in folder_paths.get_folder_paths("custom_nodes"):
        yield from _folders(pack / "ckpts" for pack in _entries(Path(folder)))


def _webui_downloads() -> Iterator[Path]:
    """Yield the folders of annotators beside ControlNet folders of WEBUI or Forge.

    extra_model_paths.yaml often names those.
    """
    for folder in folder_paths.get_folder_paths("controlnet"):
        places = (Path(folder, *at.split("/")) for at in (*WEBUI_DOWNLOADS, FORGE_DOWNLOADS))
        yield from _folders(Path(os.path.realpath(place)) for place in places)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _folders(places: Iterable[Path]) -> Iterator[Path]:
    return (place for place in places if os.path.isdir(place))  # False for what cannot be read
