"""Keep a net's hint, and the feature that its hint encoder makes of it, from step to step.

ComfyUI fits, encodes and reads a hint again at every step and whenever an area or a tile changes
its size. A `HintCache` prepares each size and choice of frames once a run. Where a net of ComfyUI's
own has a hint encoder of convolutions, it runs as a twin that shares its weights and reuses the
feature.
"""

# ComfyUI has no types, so strict checking would only list its names.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import comfy.cldm.cldm
import comfy.ldm.common_dit
import comfy.ldm.flux.controlnet
import comfy.ldm.modules.attention
import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
import comfy.utils
import torch

from . import hints, unions
from .fits import FITS
from .frames import Rows
from .report.journal import Journal
from .residuals import Residuals
from .stack import Unit
from .tiles import Cut, TiledHint

MAX_HINTS = 32  # sizes and tiles of one hint that stay prepared during a run


@dataclass
class PreparedHint:
    """A hint for one size and choice of rows, and the feature that the net's encoder made of it.

    `originals`: what ComfyUI is to fit, one for each union type; `hint`: what it made of the first;
    `concat`: masks to be concatenated; `ready`: what a tiler fitted; `fused`: the feature with its
    union type. Keeps `sources` alive: their
    `id()`s are cache keys and must not be reused.
    """

    sources: tuple[Any, Any] = (None, None)
    originals: tuple[Any, ...] = ()
    concat: list[Any] = field(default_factory=list)
    hint: Any = None
    feature: Any = None
    ready: Any = None
    fused: Any = None


class ChainMember(Protocol):
    """What the cache reads of the member that it works for."""

    unit: Unit
    inner: Any
    journal: Journal
    tiled: TiledHint | None
    cond_hint: Any
    upscale_algorithm: str

    def cut(self) -> Cut | None:
        """Return what a tiler gave in place of the hint."""
        ...

    def net_picks_frames(self, options: dict[str, Any]) -> bool:
        """Return whether the net itself picks its hints in a window."""
        ...


class HintCache:
    """The prepared hints of one member of a chain, for one sampling run."""

    def __init__(self) -> None:
        self.prepared: dict[Any, PreparedHint] = {}
        self._twin: tuple[Any, Any] | None = None  # the module that it belongs to, the twin or None

    def call_net(
        self,
        member: ChainMember,
        x: torch.Tensor,
        t: torch.Tensor,
        cond: dict[str, Any],
        rows: Rows,
        options: dict[str, Any],
    ) -> Residuals | None:
        """Run the net's own get_control for the acting rows, with its hint and feature restored."""
        picks = None if member.net_picks_frames(options) else rows.acting_frames
        inner, prepared = member.inner, self.hint_for(member, x, rows, picks)
        twin = self.module_with_cached_hint(member)
        call = partial(inner.get_control, x, t, cond, len(rows.chunks), options)
        if isinstance(twin, FusedUnion) and prepared.feature is None:
            fitted = (_as_fitted_by_comfy(inner, call, hint) for hint in prepared.originals)
            prepared.feature = [twin.encoder(hint, None, None) for hint in fitted]
        restore_hint(member, prepared)
        module = getattr(inner, "control_model", None)
        if twin is not None:
            _reader_of(twin).prepared = prepared
            inner.control_model = twin
        try:
            return call()
        finally:
            prepared.hint = inner.cond_hint
            if twin is not None:
                inner.control_model = module
            elif member.unit.net_info.is_adapter:
                prepared.feature = inner.control_input

    def hint_for(
        self, member: ChainMember, x: torch.Tensor, rows: Rows, picks: tuple[int, ...] | None
    ) -> PreparedHint:
        """Return the member's hint for this size and these frames, prepared at first use.

        `picks`: the entries of its hint; None where the net itself picks them from the whole hint.
        Tilers exchange the hint, so its identity is part of the key; one that a tiler prepared
        itself is used as it is.
        """
        cut, tiled = member.cut(), member.tiled
        assert tiled is not None
        sources = (tiled.given, member.cond_hint)
        if cut is not None and picks is not None:
            picks = cut.picks(rows)
        is_fitted = cut is not None and cut.fitted is not None
        places = (picks, rows.tiles, rows.chunks if is_fitted else len(rows.chunks))
        key = (*map(id, sources), x.shape[2:], *places)
        if key not in self.prepared:
            while len(self.prepared) >= MAX_HINTS:
                del self.prepared[next(iter(self.prepared))]
            self.prepared[key] = self._prepare(member, x, rows, picks, cut, sources)
            member.journal.encoded += 1
        return self.prepared[key]

    def _prepare(
        self,
        member: ChainMember,
        x: torch.Tensor,
        rows: Rows,
        picks: tuple[int, ...] | None,
        cut: Cut | None,
        sources: Any,
    ) -> PreparedHint:
        assert member.tiled is not None
        fit = partial(fit_hint, member, x=x, picks=picks, chunks=len(rows.chunks))
        whole, types = member.tiled.whole, max(1, len(member.unit.types))
        if cut is None:
            parts, concat = unions.hints_by_type(whole, types), member.tiled.masks.inpaint
        elif cut.fitted is not None:
            ready = rows.select(cut.fitted)
            parts = cut.fitted_by_type(ready, whole, types)
            return PreparedHint(sources, parts, [], hint=ready, ready=ready)
        else:
            parts, concat = cut.hints_by_type(types), cut.inpaint
        return PreparedHint(sources, tuple(map(fit, parts)), [fit(mask) for mask in concat])

    def module_with_cached_hint(self, member: ChainMember) -> Any:
        """Return a twin of the net that reuses its hint's feature; None where there is none.

        Made once a run, because some modules are built when the run starts.
        """
        module = getattr(member.inner, "control_model", None)
        if self._twin is None or self._twin[0] is not module:
            types = member.unit.types
            if len(types) > 1 and module is not None:
                twin = FusedUnion(module, types)
            elif member.unit.net_info.is_comfy_class:
                twin = twin_with_cached_hint(module)
            else:  # classes of other packs may change their hint between steps
                twin = None
            self._twin = (module, twin)
        return self._twin[1]


def restore_hint(member: ChainMember, prepared: PreparedHint) -> None:
    """Give the net its hint, and what it made of it at an earlier step.

    That is latents, or a T2I-Adapter's features. For nets from other packs only a changed hint is
    written; their own caches are left alone.
    """
    inner, original = member.inner, prepared.originals[0]
    if member.unit.net_info.caches_like_comfy:
        inner.cond_hint_original, inner.cond_hint = original, prepared.hint
        inner.extra_concat_orig = prepared.concat
        if member.unit.net_info.is_adapter:
            inner.control_input = prepared.feature
    elif inner.cond_hint_original is not original or prepared.ready is not None:
        inner.cond_hint_original, inner.cond_hint = original, prepared.ready


def fit_hint(
    member: ChainMember,
    hint: torch.Tensor,
    x: torch.Tensor,
    picks: tuple[int, ...] | None,
    chunks: int,
) -> torch.Tensor:
    """Pick a hint's entries for the acting frames and fit it where ComfyUI must not crop it.

    `hint`: (B,C,H,W). ComfyUI itself assigns hints to latents from the start, except where there
    are as many hints as rows in the whole batch: there it would give the negative prompt the first
    hints and the positive the next.
    """
    if picks is not None and picks != tuple(range(len(picks))):
        hint = hints.for_frames(hint, picks)
    elif picks is not None and chunks > 1 and hint.shape[0] == len(picks) * chunks:
        hint = hint[: len(picks)]
    if (fit := FITS[member.unit.fit].hint) is not None:
        height, width = hint_size(member, x)
        hint = fit(hint, height, width, partial(resize, method=member.upscale_algorithm))
    return hint


def hint_size(member: ChainMember, x: torch.Tensor) -> tuple[int, int]:
    """Return the (height, width) in pixels that the net's class gives a hint for this latent."""
    inner = member.inner
    ratio = inner.compression_ratio
    if inner.vae is not None:
        ratio *= inner.vae.spacial_compression_encode()
    height, width = x.shape[-2] * ratio, x.shape[-1] * ratio
    if member.unit.net_info.is_adapter:
        width, height = inner.scale_image_to(width, height)
    return height, width


def resize(
    picture: torch.Tensor, height: int, width: int, method: str, crop: str = "disabled"
) -> torch.Tensor:
    """Resize a picture, (B,C,H,W), by ComfyUI's own interpolation."""
    return comfy.utils.common_upscale(picture, width, height, method, crop)


class RememberedHint(torch.nn.Module):
    """Takes the place of a net's hint encoder and runs it once for each prepared hint.

    `patch_size`: height and width of the patches that the net makes of the feature. ComfyUI pads an
    odd latent to whole patches, but not the feature beside it.
    """

    def __init__(self, encoder: torch.nn.Module, patch_size: int = 1) -> None:
        super().__init__()
        self.encoder = encoder
        self.patch_size = patch_size
        self.prepared = PreparedHint()

    def forward(self, hint: torch.Tensor, *context: Any) -> torch.Tensor:
        """Return the feature of the prepared hint."""
        feature = self.prepared.feature
        if feature is None:
            feature = self.encoder(hint, *context)
            if self.patch_size > 1:
                patch = (self.patch_size,) * 2
                feature = comfy.ldm.common_dit.pad_to_patch_size(feature, patch)
            self.prepared.feature = feature
        return feature


def twin_with_cached_hint(module: Any) -> Any:
    """Return a twin of a net that keeps its hint's feature; None where that is unsafe.

    The twin shares the weights and runs ComfyUI's own forward, whatever version it has. Its hint
    encoder may be skipped because it consists of convolutions alone: nothing in it depends on time
    or prompt. An encoder that has more is left to run, and so is a net with a forward of its own
    (compiled, say), which is bound to that net.
    """
    if module is None or "forward" in vars(module):
        return None
    rows = ((name, size) for kind, name, size in ENCODERS if isinstance(module, kind))
    for name, patch_size in rows:
        encoder = getattr(module, name, None)
        if encoder is None or any(map(_depends_on_more, encoder.children())):
            continue
        twin = copy.copy(module)
        twin._modules = {**module._modules, name: RememberedHint(encoder, patch_size)}
        return twin
    return None


ENCODERS = (
    (comfy.cldm.cldm.ControlNet, "input_hint_block", 1),
    (comfy.ldm.flux.controlnet.ControlNetFlux, "input_hint_block", 2),  # XLabs
    (comfy.ldm.flux.controlnet.ControlNetFlux, "input_cond_block", 2),  # MistoLine
)
"""Classes of ComfyUI's nets, the attribute that is their hint encoder, and their patch size."""


def _depends_on_more(part: torch.nn.Module) -> bool:
    """Whether some layer reads the time or the prompt."""
    blocks = (openaimodel.TimestepBlock, comfy.ldm.modules.attention.SpatialTransformer)
    return any(isinstance(layer, blocks) for layer in part.modules())


def _reader_of(twin: Any) -> Any:
    """Return the part of a twin that reads the prepared hint."""
    if isinstance(twin, FusedUnion):
        return twin
    return next(part for part in twin._modules.values() if isinstance(part, RememberedHint))


def union_feature(member: ChainMember, prepared: PreparedHint, twin: Any) -> torch.Tensor | None:
    """Return what a net for UNets adds to its first block for a hint; None where it is not ready.

    A union net adds its type to the hint's feature; it depends on neither time nor prompt.
    """
    is_alone = isinstance(twin, comfy.cldm.cldm.ControlNet) and prepared.feature is not None
    if not is_alone or prepared.hint is None:
        return None
    if twin.control_add_embedding is None or not member.unit.types:
        return prepared.feature
    if prepared.fused is None:
        _reader_of(twin).prepared = prepared
        (kind,) = member.unit.types
        prepared.fused = twin.union_controlnet_merge(
            prepared.hint.unsqueeze(0), [kind.number], None, None
        )
    return prepared.fused


class FusedUnion(torch.nn.Module):
    """Takes the place of a union net and gives it several hints at once.

    ComfyUI would use the first only. The twin inside shares the net's weights and runs ComfyUI's
    own forward; only the merging of hints is replaced, on the twin.
    """

    def __init__(self, net: Any, types: tuple[unions.UnionType, ...]) -> None:
        super().__init__()
        self.twin = copy.copy(net)
        vars(self.twin).pop("forward", None)  # a compiled one is bound to the net itself
        self.twin.union_controlnet_merge = self._merge
        self.encoder, self.types, self.dtype = net.input_hint_block, types, net.dtype
        self.prepared = PreparedHint()
        self._x: Any = None

    def forward(self, x: torch.Tensor, **rest: Any) -> Any:
        """Run the net; its hints come from `prepared`."""
        self._x = x
        return self.twin(x=x, **rest)

    def _merge(
        self, _hint: Any, _control_type: Any, emb: torch.Tensor, context: Any
    ) -> torch.Tensor:
        sample = self.twin.input_blocks[0](self._x, emb, context)
        return unions.fuse_hints(self.twin, sample, self.prepared.feature, self.types)


class _HintProbe:
    """Stand-in for a net that records the hint that ComfyUI passes to it."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.hint: Any = None

    def __call__(self, *, hint: torch.Tensor, **_: Any) -> Residuals:
        self.hint = hint
        return {"middle": [], "output": []}


def _as_fitted_by_comfy(inner: Any, call: Callable[[], Any], hint: torch.Tensor) -> torch.Tensor:
    """Return what ComfyUI passes to the net for this hint: a step with a stand-in for the net."""
    module, probe = inner.control_model, _HintProbe(inner.control_model.dtype)
    inner.cond_hint_original, inner.cond_hint, inner.control_model = hint, None, probe
    try:
        call()
    finally:
        inner.control_model = module
    return probe.hint
