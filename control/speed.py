"""How far a stack may differ from ComfyUI's own picture in order to be faster.

`exact` is ComfyUI's picture, bit for bit. `fast` differs by rounding only. `approximate` is `fast`,
and reuses a net's residuals for some steps where they change slowly (S. Li et al.: Faster
Diffusion, arXiv 2312.09608, found the same of a UNet's encoder).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .grammar import one_of

LONGEST_REUSE = 10


@dataclass(frozen=True)
class Speed:
    """What a member of a chain may do.

    `is_fast`: round otherwise than ComfyUI. `reuse`: how many steps one evaluation of a net serves.
    `share_prompts`: the negative prompt gets the residuals of the positive.
    """

    is_fast: bool = False
    reuse: int = 1
    share_prompts: bool = False


EXACT = Speed()
SPEEDS: Mapping[str, Speed] = {
    "exact": EXACT,
    "fast": Speed(is_fast=True),
    "approximate": Speed(is_fast=True, reuse=2),
}
"""The choices of `speed`; with `approximate` two settings of its own count."""


def speed_of(name: str, reuse: int = 2, share_prompts: bool = False) -> Speed:
    """Read the inputs of Apply. Raises ValueError for one that is not a choice."""
    if name not in SPEEDS:
        raise ValueError(f"speed: expected {one_of(SPEEDS)}, found {name!r}")
    if name != "approximate":
        return SPEEDS[name]
    if not 1 <= reuse <= LONGEST_REUSE:
        raise ValueError(
            f"reuse: expected a number of steps from 1 to {LONGEST_REUSE}, found {reuse}"
        )
    return Speed(is_fast=True, reuse=reuse, share_prompts=share_prompts)
