"""Find the weights of preprocessors where users have them: ours, controlnet_aux's and WEBUI's.

Each of these may be named in extra_model_paths.yaml as one of our folders, or be sorted into
subfolders. What cannot be read is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import folder_paths

from ..preprocessors.spec import Weights

AUX_CHECKPOINTS = "AUX_ANNOTATOR_CKPTS_PATH"
"""The environment variable by which users move controlnet_aux's checkpoints."""
WEBUI_DOWNLOADS = (
    "../annotator/downloads",
    "../../extensions/sd-webui-controlnet/annotator/downloads",
)
FORGE_DOWNLOADS = "../ControlNetPreprocessor"
MOST_DEEP = 5
"""Levels of subfolders: hub's own cache has models--OWNER--NAME/snapshots/COMMIT."""
MOST_FOLDERS = 5000
"""Subfolders that are looked into below one folder: it may be the root of a disk by mistake."""


def located(weights: Weights, ours: list[Path]) -> Path | None:
    """Return the file from `ours`, else from controlnet_aux's or WEBUI's folders, or None."""
    roots = list(dict.fromkeys((*ours, *_aux_checkpoints(), *_webui_downloads())))
    near = (root / name for root in roots for name in _names(weights))
    published = Path(weights.repo, weights.remote or weights.file)
    places = (*near, *(root / published for root in roots))
    return next(filter(_is_file, places), None) or next(
        (file for root in roots for file in _below(root, weights)), None
    )


def _names(weights: Weights) -> list[str]:
    """List its names by preference: a safetensors file before the pickle of the same stem.

    A file with a graph of its own is another file in every other format.
    """
    names = list[str]()
    for name in (weights.file, *weights.also):
        plain = [] if weights.opened else [str(Path(name).with_suffix(".safetensors"))]
        names += [*plain, name]
    return list(dict.fromkeys(names))


def _below(root: Path, weights: Weights) -> Iterator[Path]:
    """Yield the files of these names in subfolders, the preferred name first."""
    names = _names(weights)
    remote = Path(weights.remote or weights.file)
    owner = weights.repo.replace("/", "--")
    matches: dict[int, list[Path]] = {}
    for folder, files in islice(_walked(root), MOST_FOLDERS):
        for rank, name in enumerate(names):
            if name in files:
                matches.setdefault(rank, []).append(folder / name)
        # Many repositories have files of these names: only in a folder of this one are they ours.
        is_repository = folder.as_posix().endswith(weights.repo) or owner in folder.as_posix()
        if is_repository and remote.name in files:
            matches.setdefault(len(names), []).append(folder / remote.name)
    yield from (file for rank in sorted(matches) for file in matches[rank] if _is_file(file))


def _walked(root: Path) -> Iterator[tuple[Path, set[str]]]:
    """Yield the subfolders of `root` with the names in them, links followed, none twice."""
    seen = set[str]()
    for path, subfolders, files in os.walk(root, followlinks=True):
        real, depth = os.path.realpath(path), len(Path(path).relative_to(root).parts)
        if real in seen or depth >= MOST_DEEP:
            subfolders.clear()
        if real not in seen:
            subfolders.sort()
            yield Path(path), set(files)
        seen.add(real)


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


def _is_file(path: Path) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)
