"""Weights of a file that the net built from it does not use, told by their names.

ComfyUI's loaders take out of the file's table what they rename, and pass over what they do not know
without a word: extra weights, and whole blocks where a family comes in another size.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

_RENAMED = (
    (re.compile(r"^control_model\."), ""),
    (re.compile(r"\.attn\.in_proj_"), ".attn.in_proj."),
    (re.compile(r"_norm\.scale$"), "_norm.weight"),
    (re.compile(r"^single_controlnet_blocks\."), "controlnet_single_blocks."),
)
"""Names that ComfyUI's loaders change in a copy of the table: in the file, in the net."""
_NOT_WEIGHTS = re.compile(
    r"(^|\.)(lora_controlnet|difference|scaled_fp8|control_type|num_batches_tracked|comfy_quant"
    r"|scale_weight|weight_scale|weight_scale_2|scale_input|input_scale|position_ids)$"
)
_LIST = re.compile(r"^(\w+)\.(\d+)\.")


@dataclass(frozen=True)
class Count:
    """How many blocks of one name a file has, and how many the net."""

    blocks: str
    in_file: int
    built: int


def unused(file: Iterable[str], net: Collection[str]) -> list[str]:
    """List the keys of a file that the net has under no name.

    `file`: what ComfyUI's loader left in its table. Empty where hardly a key of the net is among
    them, because then the loader has renamed a copy, and names do not tell.
    """
    names = {key: _names(key) for key in file if not _NOT_WEIGHTS.search(key)}
    extra = [key for key, forms in names.items() if not any(form in net for form in forms)]
    used = len(names) - len(extra)
    return [] if extra and not used else extra


def other_count(file: Iterable[str], net: Iterable[str]) -> Count | None:
    """Return the first list of blocks whose length in the file is not that of the net; else None.

    Lists that the loader renames are not compared: it counts those itself.
    """
    in_file = _lengths(form for key in file for form in _names(key)[-1:])
    built = _lengths(net)
    for blocks, count in built.items():
        if in_file.get(blocks, count) != count:
            return Count(blocks, in_file[blocks], count)
    return None


def _names(key: str) -> list[str]:
    """List the forms of a key, from the file's own to the one with every change."""
    forms = [key]
    for pattern, new in _RENAMED:
        forms.append(pattern.sub(new, forms[-1]))
    return forms


def _lengths(keys: Iterable[str]) -> dict[str, int]:
    """Count the numbers of each list of blocks at the top of a net."""
    numbers = dict[str, set[str]]()
    for key in keys:
        if match := _LIST.match(key):
            numbers.setdefault(match[1], set()).add(match[2])
    return {blocks: len(indices) for blocks, indices in numbers.items()}
