"""What tilers cut together with a hint: masks, as further channels of it.

Tilers know hints alone. UltimateSDUpscale copies a chain and cuts each copy's `cond_hint_original`,
one tile or several in a batch. Tiled Diffusion fits the whole hint itself, appends the masks of
`extra_concat_orig`, and writes the tiles' parts into `cond_hint`, one part for each row of a batch
that repeats tile after tile. So a member with masks shows a hint that has them as channels, and a
list of masks with them at its end; what comes back is taken apart here. Neither happens where no
tiler is at work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

from .frames import Rows
from .hints import for_frames
from .masks import EffectMask, with_acts
from .unions import hints_by_type

LOST_MASKS = (
    "Control Stack: a tiler cut the hint of '{net}', but not {masks} with it: expected {expected}"
    " channels, found {channels}. Tilers that cut pictures of any number of channels can do it, as"
    " Ultimate SD Upscale and Tiled Diffusion do. Leave effect_mask and inpaint_mask empty, or"
    " sample without this tiler."
)
BROKEN_TILES = (
    "Control Stack: a tiler sampled a batch of {rows} rows that are not whole tiles of {chunks}"
    " prompts with {latents} latents each, so the prompts cannot be told apart. Set its tile batch"
    " size to 1, or use mode 'balanced' without masks and frame_strength."
)


@dataclass(frozen=True)
class Masks:
    """The masks of a unit that are to be cut with its hint, each (B,1,H,W).

    `effect`: where control acts. `inpaint`: what the net concatenates to its hint.
    """

    effect: torch.Tensor | None
    inpaint: Sequence[torch.Tensor]

    @property
    def for_hint(self) -> list[torch.Tensor]:
        """The masks, in the order of their channels in a hint."""
        return [*self.inpaint, *self.for_list]

    @property
    def for_list(self) -> list[torch.Tensor]:
        """The masks that are appended to those that the net itself has."""
        return [] if self.effect is None else [self.effect]


@dataclass(frozen=True, eq=False)
class Cut:
    """What a tiler gave: parts of the hint and of its masks.

    `hint`: (B,C,h,w), to be fitted; or `fitted`: (rows,C,h,w). `effect_mask`: an entry for each of
    theirs. `regions`: how many tiles are a batch of hints. `factors`: what a member keeps for it.
    """

    hint: torch.Tensor | None
    fitted: torch.Tensor | None
    effect_mask: EffectMask | None
    inpaint: list[torch.Tensor] = field(default_factory=list[torch.Tensor])
    regions: int = 1
    factors: dict[Any, torch.Tensor] = field(default_factory=dict[Any, torch.Tensor])

    def frames(self, entries: int) -> tuple[int, ...] | None:
        """Return the frame numbers of a conditioning's latents; None for the sampler's own."""
        if self.regions == 1:
            return None
        return tuple(entry % max(1, entries // self.regions) for entry in range(entries))

    def picks(self, rows: Rows) -> tuple[int, ...]:
        """Return the entry of `hint` and masks for each acting latent of one conditioning."""
        return rows.acting_frames if self.regions == 1 else rows.entries

    def acts_on(self, entry: int, frame: int) -> bool:
        """Return whether control acts anywhere in a latent's part of the picture."""
        if self.effect_mask is None:
            return True
        if self.fitted is not None:  # rows of several tiles
            return not self.effect_mask.is_zero
        return self.effect_mask.acts_on(frame if self.regions == 1 else entry)

    def hints_by_type(self, types: int) -> tuple[torch.Tensor, ...]:
        """Split the hint into one part for each union type, each with all tiles of a batch."""
        assert self.hint is not None
        if types == 1 or self.hint.shape[0] == self.regions:  # one hint for all types
            return (self.hint,) * types
        regions = [hints_by_type(part, types) for part in self.hint.chunk(self.regions)]
        return tuple(torch.cat(parts) for parts in zip(*regions, strict=True))

    def fitted_by_type(
        self, fitted: torch.Tensor, whole: torch.Tensor, types: int
    ) -> tuple[torch.Tensor, ...]:
        """Return the fitted hint for each union type.

        Raises ValueError where each has a hint of its own: a tiler that fits them mixes them.
        """
        if types > 1 and whole.shape[0] > 1:
            raise ValueError(
                "union_type: this tiler deals several hints to the rows of its tiles, so they"
                " cannot be told apart by type. Use one hint for all types, or a unit for each."
            )
        return (fitted,) * types

    def mask_entries(self, rows: Rows) -> tuple[Sequence[int], int]:
        """Return the entries of `effect_mask` for the acting rows, and how often they repeat."""
        if self.fitted is not None:
            return rows.indices, 1
        return self.picks(rows), rows.repeats


def with_masks(hint: torch.Tensor, masks: Masks) -> torch.Tensor:
    """Append masks to a hint, (B,C,H,W), as channels of its size; the same tensor without any."""
    if not masks.for_hint:
        return hint
    count = max(hint.shape[0], *(mask.shape[0] for mask in masks.for_hint))
    size = (hint.shape[-2], hint.shape[-1])
    layers = [hint, *(_resized(mask, size).to(hint) for mask in masks.for_hint)]
    return torch.cat(
        [for_frames(layer, range(count)).expand(count, -1, -1, -1) for layer in layers], 1
    )


def _resized(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize a mask so that a mean over its pixels stays the same: edges stay where they are."""
    is_larger = mask.shape[-2] >= size[0] and mask.shape[-1] >= size[1]
    return functional.interpolate(mask, size=size, mode="area" if is_larger else "nearest-exact")


def cut_hint(net: str, hint: torch.Tensor, whole: torch.Tensor, masks: Masks) -> Cut:
    """Take apart a hint that a tiler cut from `whole` with its masks.

    Raises ValueError where it has other channels.
    """
    own, carried = whole.shape[1], len(masks.for_hint)
    if carried:
        _refuse_lost(net, hint, own + carried, masks)
    regions = max(1, hint.shape[0] // _entries(whole, masks))
    layers = [hint[:, own + i : own + i + 1] for i in range(carried)]
    effect = with_acts(layers.pop().squeeze(1)) if masks.effect is not None else None
    return Cut(hint[:, :own] if carried else hint, None, effect, layers, regions)


def cut_fitted(net: str, fitted: torch.Tensor, channels: int, masks: Masks) -> Cut:
    """Take apart a hint, (rows,C,h,w), that a tiler fitted and cut; the net's own has `channels`.

    Raises ValueError where it has others.
    """
    if masks.effect is None:
        return Cut(None, fitted, None)
    _refuse_lost(net, fitted, channels + len(masks.inpaint) + 1, masks)
    return Cut(None, fitted[:, :-1], with_acts(fitted[:, -1]))


def _entries(whole: torch.Tensor, masks: Masks) -> int:
    return max(whole.shape[0], *(mask.shape[0] for mask in masks.for_hint), 1)


def _refuse_lost(net: str, hint: torch.Tensor, expected: int, masks: Masks) -> None:
    if hint.ndim < 4 or hint.shape[1] != expected:
        both = (("effect_mask", masks.effect is not None), ("inpaint_mask", bool(masks.inpaint)))
        names = " and ".join(name for name, is_set in both if is_set)
        channels = hint.shape[1] if hint.ndim > 1 else 0
        raise ValueError(
            LOST_MASKS.format(net=net, masks=names, expected=expected, channels=channels)
        )


class TiledHint:
    """The hint that a chain member shows to tilers, and what they made of it.

    `whole`: the unit's hint, (B,C,H,W); `fitted_channels`: those that it has after the net's class
    has fitted it, without masks.
    """

    MOST = 32  # tiles that stay taken apart during a run

    def __init__(self, net: str, whole: torch.Tensor, masks: Masks, fitted_channels: int) -> None:
        self.net, self.whole, self.masks = net, whole, masks
        self.fitted_channels = fitted_channels
        self.shown: torch.Tensor | None = None
        self.given: torch.Tensor | None = None
        self._cuts: dict[tuple[int, int], tuple[Any, Cut]] = {}

    def show(self) -> torch.Tensor:
        """Return the hint as it is now, with its masks as channels."""
        if self.given is not None:
            return self.given
        if self.shown is None:
            self.shown = with_masks(self.whole, self.masks)
        return self.shown

    def give(self, hint: torch.Tensor) -> None:
        """Take what was set; the whole hint itself changes nothing."""
        self.given = None if hint is self.shown or hint is self.whole else hint

    def twin(self) -> TiledHint:
        """Copy it for a copy of the member, with the same hint shown."""
        twin = TiledHint(self.net, self.whole, self.masks, self.fitted_channels)
        twin.shown, twin.given = self.shown, self.given
        return twin

    def first_channels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return a hint, (B,C,H,W), without masks among its channels."""
        return pixels[:, : self.whole.shape[1]]

    def cut(self, fitted: torch.Tensor | None) -> Cut | None:
        """Return what a tiler gave, `fitted` or the hint itself; None where none is at work."""
        if fitted is None and self.given is None:
            return None
        sources = (self.given, fitted)
        key = (id(self.given), id(fitted))
        if key not in self._cuts:
            while len(self._cuts) >= self.MOST:
                del self._cuts[next(iter(self._cuts))]
            self._cuts[key] = (sources, self._taken_apart(fitted))  # kept alive with their ids
        return self._cuts[key][1]

    def _taken_apart(self, fitted: torch.Tensor | None) -> Cut:
        if fitted is not None:
            return cut_fitted(self.net, fitted, self.fitted_channels, self.masks)
        assert self.given is not None
        return cut_hint(self.net, self.given, self.whole, self.masks)


def tiles_in(rows: int, chunks: int, transformer_options: Mapping[str, Any]) -> int:
    """Return how many tiles a tiler's batch has, each with `chunks` conditionings of all latents.

    Raises ValueError where they are not whole.
    """
    sigmas = transformer_options.get("sigmas")  # one for each latent of a conditioning
    if not isinstance(sigmas, torch.Tensor) or not sigmas.ndim:
        return 1
    if rows % (chunks * sigmas.shape[0]):
        raise ValueError(BROKEN_TILES.format(rows=rows, chunks=chunks, latents=sigmas.shape[0]))
    return rows // (chunks * sigmas.shape[0])
