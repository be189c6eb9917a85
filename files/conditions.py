"""Tell which condition a ControlNet was trained on from its file's metadata and name, by a table.

Keys tell the family but not the condition: nets of one family differ in their weights only. What
remains is what the trainer wrote into the metadata and, for published nets, the usual file name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from .families import Source


@dataclass(frozen=True)
class Condition:
    """A kind of hint. `like` is a pattern for names of its nets, matched between non-letters."""

    key: str
    title: str
    like: str
    union_type: str = ""
    """The type of ComfyUI's union ControlNets that takes this kind of hint."""
    also: tuple[str, ...] = ()
    """Conditions whose hints its nets take as well."""


# Order is meaning: 'lineart_anime' stands above 'lineart', 'normalbae' above 'normal'.
_SOFT, _THIN = "hed/pidi/scribble/ted", "canny/lineart/anime_lineart/mlsd"
CONDITIONS: tuple[Condition, ...] = (
    Condition(
        "normal_bae", "normals (BAE convention)", "normalbae|normal_bae|normals?_v11", "normal"
    ),
    Condition("normal_cn10", "normals (CN 1.0 convention)", "control_sd15_normal"),
    Condition("normal", "normals", "normals?(map)?", "normal", ("normal_bae",)),
    Condition(
        "lineart_anime",
        "anime line drawings",
        "lineart_?anime|anime_?lineart|anime_?line|lineart_anime_denoise|manga_?line",
        _THIN,
        ("lineart",),
    ),
    Condition(
        "any_line",
        "lines of any kind",
        "misto_?line|any_?line",
        _THIN,
        ("lineart", "lineart_anime", "canny", "mlsd", "scribble", "softedge"),
    ),
    Condition(
        "lineart", "line drawings", "line_?art|line_?drawing|lines?", _THIN, ("lineart_anime",)
    ),
    Condition("mlsd", "straight lines (M-LSD)", "mlsd|m_lsd|hough", _THIN),
    Condition("canny", "Canny edges", "canny", _THIN),
    Condition("scribble", "scribbles", "fake_?scribbles?|scribbles?|sketch", _SOFT),
    Condition("softedge", "soft edges", "soft_?edges?|hed|pidi(net)?|teed", _SOFT),
    Condition("pose", "human poses", "(open|dw|key|animal)?_?pose", "openpose"),
    Condition("segmentation", "segmentation colours", "seg(mentation|ment)?|ade20k", "segment"),
    Condition("depth", "depth", "depth|midas|zoe(depth)?|leres", "depth"),
    Condition("inpaint", "pictures to inpaint", "inpaint(ing)?|outpaint(ing)?|repaint", "repaint"),
    Condition("tile", "the picture itself (tile)", "tile|blur|upscaler?", "tile"),
    Condition("shuffle", "shuffled pictures", "shuffle"),
    Condition("recolor", "grey pictures to colour", "recolou?r|coloriz(er|e|ation)"),
    Condition("colorgrid", "colour grids", "color(grid)?"),
    Condition("brightness", "brightness", "brightness|illumination|qr(code)?(_monster)?|luminance"),
)


def condition(key: str) -> Condition | None:
    """Return the row of that key; None for '' and for unknown keys."""
    return next((row for row in CONDITIONS if row.key == key), None)


def expected(source: Source | None) -> Condition | None:
    """Return the condition that a net was trained on.

    None where neither metadata nor name tells, and for union nets, which take several.
    """
    if source is None or source.identity.union_types:
        return None
    return condition(source.identity.hint) or by_name(source.name)


def by_name(name: str) -> Condition | None:
    """Return the condition that a file's name mentions.

    Its own name is read first, then the folders above it, nearest first.
    """
    for part in reversed(PurePath(name.replace("\\", "/")).parts):
        text = PurePath(part).stem if part == PurePath(name).name else part
        plain = re.sub(r"[\s.\-]+", "_", text.lower())
        if re.search(r"(?<![a-z])(union|pro_?max)(?![a-z])", plain):
            return None
        for row in CONDITIONS:
            if re.search(rf"(?<![a-z])(?:{row.like})(?![a-z])", plain):
                return row
    return None


def accepts(net: Condition, hint: Condition) -> bool:
    """Return whether a net of condition `net` was trained to read hints of condition `hint`."""
    same = {net.key, *net.also}
    return hint.key in same or (hint.key == "normal" and net.key.startswith("normal"))
