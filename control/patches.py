"""Nets that act inside the model instead of giving residuals: a family is a row of `PATCHES`.

ComfyUI calls them model patches and puts them on a model before sampling. Here such a net is a
control like any other: at each step it adds ComfyUI's own patch object to the patches of that one
call of the model, which is ComfyUI's way for controls that are not residuals. So range, schedule,
masks, layers and modes work, and any number of them follow one another. Hints are encoded before
the model runs, never inside it, where loading a VAE would drop what other patches keep.
"""

# ComfyUI has no types, so strict checking would only list its names.
# pyright: basic, reportMissingImports=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import comfy.controlnet
import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch

from . import checks, hints
from .fits import FITS
from .frames import Rows, frames_of, latent_window
from .layouts import MAPS, TOKENS, Layout, class_names
from .lllite import LLLite, LLLitePatch
from .net_info import look_at
from .patch_hooks import AfterBlocks, Args, Change, InAttention, InMlp

FITTED_BY_TILER = (
    "this tiler fits hints itself, which only works for nets that add to the model's blocks. Use"
    " Ultimate SD Upscale, or sample without a tiler."
)
ALWAYS = (float("inf"), float("-inf"))  # the sigmas of a patch whose range is decided before
MAX_HINTS = 32  # sizes and tiles of one hint that stay encoded during a run
UNET_STRIDES = (1, 2, 4, 8)  # of a UNet's levels
Hooks = dict[str, list[Any]]  # place in the model → what is called there
Strength = float | torch.Tensor | Mapping[int, torch.Tensor]
"""A number, (rows, tokens, 1), or such a tensor for each number of tokens."""
Factors = Callable[[torch.Tensor], torch.Tensor]
"""A tensor as values of a net lie → the factor of each, of its frame and its place."""


@dataclass(frozen=True)
class Acting:
    """How a net acts in one step.

    `hint`: (B,3,H,W), and `picks`: its entry for each acting latent of a conditioning.
    `strength`: for the acting rows. `weights`: of the net's own blocks. `inpaint_mask`: (B,1,H,W),
    1 in the area to inpaint.
    """

    hint: torch.Tensor
    picks: Sequence[int]
    rows: Rows
    strength: Strength
    weights: Sequence[float] | None = None
    fit: str = "crop"
    inpaint_mask: torch.Tensor | None = None
    watched: Callable[[Hooks], Hooks] = lambda hooks: hooks


@dataclass(frozen=True)
class Patch:
    """A family of nets that act inside the model.

    `family`: its name in `files/families.py`. `make`: the net, its hint (B,3,H,W), the latent and
    the area to inpaint (B,H,W) or None → ComfyUI's own patch object with the hint encoded.
    `places`: where that object acts; None where it makes its own hooks for a `Change`. `blocks`:
    how many blocks of its own the net's module has, or their heights. `block_of`: which of them
    acts, by what a hook is called with. `resize`: ComfyUI's way of fitting this family's hints.
    `pads`: whether the model shows the patch a latent of an even size. `reads_img`: see `Change`.
    `masks`: whether a module reads an area to inpaint. `in_window`: of nets whose hint's entries
    are the frames of one clip, the patch of the whole clip and latent frames → it acts on those;
    None for all others. `is_shared`: what is added for one conditioning is added for all of them.
    `layout`: how masks and layers meet its values, and `strides`: the levels of a UNet in which
    they lie. `acts`: whether the net adds anything where a hook is called.
    """

    family: str
    make: Callable[[PatchNet, torch.Tensor, torch.Tensor, torch.Tensor | None], Any]
    places: Callable[[Any], Hooks] | None
    blocks: Callable[[Any], int | list[int]]
    block_of: Callable[[Any, Args], int] = lambda _module, args: args["block_index"]
    resize: str = "area"
    pads: bool = True
    reads_img: bool = False
    needs_vae: bool = True
    masks: Callable[[Any], bool] = lambda module: getattr(module, "additional_in_dim", 0) > 0
    in_window: Callable[[Any, Sequence[int]], None] | None = None
    is_shared: bool = False
    layout: Layout = TOKENS
    strides: tuple[int, ...] = ()
    acts: Callable[[Any, Args], bool] = lambda _module, _args: True


class PatchNet(comfy.controlnet.ControlBase):
    """A net of a model patch as ComfyUI's control object. `patcher`: what Load Model Patch gives.

    ComfyUI's own Apply ControlNet takes it too.
    """

    def __init__(self, patcher: Any, patch: Patch) -> None:
        super().__init__()
        self.patcher, self.patch = patcher, patch
        # ComfyUI's nodes keep the VAE for nets that say what latents they read.
        self.latent_format = comfy.latent_formats.LatentFormat() if patch.needs_vae else None
        self.model: Any = None
        self.encoded: dict[Any, tuple[Any, Any]] = {}

    @property
    def layout(self) -> Layout:
        """How masks and layers meet the net."""
        takes_mask = self.patch.masks(self.patcher.model)
        return replace(self.patch.layout, takes_inpaint_value=takes_mask)

    @property
    def is_video(self) -> bool:
        """Whether the hint's entries are the frames of one clip."""
        return self.patch.in_window is not None

    @property
    def heights(self) -> list[int]:
        """Heights of the net's own blocks, shallow to deep; a transformer's have all the same."""
        blocks = self.patch.blocks(self.patcher.model)
        return [1] * blocks if isinstance(blocks, int) else blocks

    def acting_block(self, args: Args) -> int | None:
        """Return which of the net's own blocks acts where a hook is called, None where none."""
        if not self.patch.acts(self.patcher.model, args):
            return None
        block = self.patch.block_of(self.patcher.model, args)
        return block if block < len(self.heights) else None

    def tokens(self, x: torch.Tensor) -> int:
        """Return how many tokens of a transformer a latent has."""
        frames = x.shape[2] if x.ndim == 5 else 1
        return frames * -(-x.shape[-2] // 2) * -(-x.shape[-1] // 2)

    def scaled(self, strength: float, x: torch.Tensor, rows: Rows, factors: Factors) -> Strength:
        """Return a strength with the factors of the acting rows' frames and places."""
        like = partial(x.new_empty, dtype=self.dtype)
        height, width = x.shape[-2:]
        if not self.patch.strides:
            return strength * factors(like((len(rows.indices), self.tokens(x), 1)))
        by_tokens = dict[int, torch.Tensor]()
        for stride in self.patch.strides:
            size = -(-height // stride), -(-width // stride)
            of_level = strength * factors(like((len(rows.indices), 1, *size)))
            by_tokens.setdefault(size[0] * size[1], of_level.flatten(2).transpose(1, 2))
        return by_tokens

    @property
    def dtype(self) -> torch.dtype:
        """The type that the model of this run computes in."""
        return self.model.manual_cast_dtype or self.model.get_dtype()

    def copy(self) -> PatchNet:
        """Copy the net with its hint; the weights are shared."""
        return self._twin(self.patcher)

    def deepclone_multigpu(self, load_device: Any, autoregister: bool = False) -> PatchNet:
        """Clone the net with its weights for another device."""
        module = copy.deepcopy(self.patcher.model)
        offload = comfy.model_management.unet_offload_device()
        twin = self._twin(comfy.model_patcher.ModelPatcher(module, load_device, offload))
        if autoregister:
            self.multigpu_clones[load_device] = twin
        return twin

    def _twin(self, patcher: Any) -> PatchNet:
        twin = PatchNet(patcher, self.patch)
        self.copy_to(twin)
        return twin

    def get_models(self) -> list[Any]:
        """List the models of the chain that ComfyUI is to load."""
        return [*super().get_models(), self.patcher]

    def pre_run(self, model: Any, percent_to_timestep_function: Callable[[float], float]) -> None:
        """Start a run from nothing, because an interrupted one was never cleaned up."""
        super().pre_run(model, percent_to_timestep_function)
        checks.refuse_mismatch(look_at(self), model.model_config)
        self.model, self.encoded = model, {}

    def cleanup(self) -> None:
        """Release what the run kept."""
        super().cleanup()
        self.model, self.encoded = None, {}

    def get_control(
        self,
        x_noisy: torch.Tensor,
        t: torch.Tensor,
        cond: dict[str, Any],
        batched_number: int,
        transformer_options: dict[str, Any],
    ) -> Any:
        """Act on all rows within the range; returns the residuals of the nets before this one."""
        previous = None
        if self.previous_controlnet is not None:
            previous = self.previous_controlnet.get_control(
                x_noisy, t, cond, batched_number, transformer_options
            )
        sigma = float(t[0])
        first, last = self.timestep_range or (float("inf"), float("-inf"))
        if last <= sigma <= first and self.strength != 0.0:
            frames = frames_of(x_noisy.shape[0] // batched_number, transformer_options)
            entries = tuple(range(len(frames)))
            rows = Rows(tuple(range(batched_number)), batched_number, entries, frames)
            mask = next(iter(self.extra_concat_orig), None)
            acting = Acting(self.cond_hint_original, frames, rows, self.strength, inpaint_mask=mask)
            self.act(x_noisy, acting, transformer_options)
        return previous

    def act(self, x: torch.Tensor, acting: Acting, options: dict[str, Any]) -> bool:
        """Add the net to the patches of this call of the model, `options`.

        Returns whether a hint was encoded for it.
        """
        is_new, patch = self._for_call(x, acting, options)
        patch.strength = self._strength(acting)
        _spread_over_conditionings(patch, acting.rows)
        kinds = options.get("cond_or_uncond") or [0] * acting.rows.all_chunks
        change = Change(
            acting.rows,
            [kinds[chunk] for chunk in acting.rows.chunks],
            acting.weights,
            partial(self.patch.block_of, self.patcher.model),
            self.patch.reads_img,
        )
        before: Mapping[str, list[Any]] = options.get("patches", {})
        places = self.patch.places
        hooks = patch.hooks(change) if places is None else _changed(places(patch), patch, change)
        ours = acting.watched(hooks)
        added = {place: [*before.get(place, []), *own] for place, own in ours.items()}
        options["patches"] = {**before, **added}
        return is_new

    def _for_call(
        self, x: torch.Tensor, acting: Acting, options: Mapping[str, Any]
    ) -> tuple[bool, Any]:
        """Return ComfyUI's patch object for one call; of a clip, with this window's frames.

        A copy for each call: patches keep what they computed from block to block.
        """
        in_window = self.patch.in_window
        window = latent_window(x.shape[2], options) if in_window else None
        if in_window is None or window is None:
            is_new, encoded = self._encoded(x, acting)
            return is_new, copy.copy(encoded)
        frames, total = window
        whole_clip = x[:, :, :1].expand(-1, -1, total, *x.shape[3:])
        is_new, encoded = self._encoded(whole_clip, acting)
        patch = copy.copy(encoded)
        in_window(patch, frames)
        return is_new, patch

    def _strength(self, acting: Acting) -> Strength:
        """Return the strength for the rows that the patch computes."""
        if self.patch.is_shared and isinstance(acting.strength, torch.Tensor):
            return acting.strength[: len(acting.rows.entries)]
        return acting.strength

    def _encoded(self, x: torch.Tensor, acting: Acting) -> tuple[bool, Any]:
        """Return ComfyUI's patch object with the hint of the acting frames, made at first use."""
        hint, mask, frames = acting.hint, acting.inpaint_mask, tuple(acting.picks)
        entries = max(hint.shape[0], 1 if mask is None else mask.shape[0])
        follows_frames = entries > 1 and not self.is_video
        key = (id(hint), id(mask), x.shape[2:], acting.fit, frames if follows_frames else ())
        if is_new := key not in self.encoded:
            while len(self.encoded) >= MAX_HINTS:
                del self.encoded[next(iter(self.encoded))]
            pick = partial(hints.for_frames, frames=frames)
            picked = pick(hint) if follows_frames else hint
            area = None if mask is None else (pick(mask) if follows_frames else mask).squeeze(1)
            loaded = comfy.model_management.loaded_models(only_currently_used=True)
            patch = self.patch.make(self, self._fitted(picked, x, acting.fit), x, area)
            comfy.model_management.load_models_gpu(loaded)
            if hasattr(patch, "to"):
                patch.to(x.device)
            # The hint and mask too: their ids must not be used again.
            self.encoded[key] = ((hint, mask), patch)
        return is_new, self.encoded[key][1]

    def _fitted(self, hint: torch.Tensor, x: torch.Tensor, fit: str) -> torch.Tensor:
        """Fit a hint to the latent as the model shows it to the patch; (B,3,h,w)."""
        if self.is_video and FITS[fit].hint is None:
            return hint
        per_latent = 8 if self.vae is None else self.vae.spacial_compression_encode()
        height, width = (
            (side + side % 2 if self.patch.pads else side) * per_latent for side in x.shape[-2:]
        )
        if (to_size := FITS[fit].hint) is not None:
            return to_size(hint, height, width, partial(_resize, method=self.patch.resize))
        return comfy.utils.common_upscale(hint, width, height, self.patch.resize, "center")


def _resize(picture: torch.Tensor, height: int, width: int, method: str) -> torch.Tensor:
    return comfy.utils.common_upscale(picture, width, height, method, "disabled")


def _spread_over_conditionings(patch: Any, rows: Rows) -> None:
    """Repeat the encoded hints of several entries for each conditioning that acts."""
    encoded = getattr(patch, "encoded_image", None)
    if encoded is not None and encoded.shape[0] > 1:
        patch.encoded_image = encoded.repeat(rows.repeats, *(1,) * (encoded.ndim - 1))


def _changed(places: Hooks, patch: Any, change: Change) -> Hooks:
    """Wrap what acts for some rows only, or with weights over depth."""
    if change.is_plain:
        return places
    wrappers = {
        "double_block": lambda hook: AfterBlocks(hook, change),
        "noise_refiner": lambda hook: AfterBlocks(hook, change),
        "attn1_patch": lambda hook: InAttention(hook, patch, change),
        "attn2_patch": lambda hook: InAttention(hook, patch, change),
        "mlp_patch": lambda hook: InMlp(hook, patch, change),
        "post_input": lambda hook: hook,
    }
    shared: dict[int, Any] = {}  # a patch in two places keeps its state in one wrapper

    def wrapped(place: str, hook: Any) -> Any:
        return shared.setdefault(id(hook), wrappers[place](hook))

    return {place: [wrapped(place, hook) for hook in hooks] for place, hooks in places.items()}


# -- the families ----------------------------------------------------------------------------------


def _image(hint: torch.Tensor) -> torch.Tensor:
    return hint.movedim(1, -1)


def _kept(area: torch.Tensor | None) -> torch.Tensor | None:
    """Return what is not to be painted, (B,1,1,H,W), as ComfyUI's node hands it on."""
    return None if area is None else 1.0 - area[:, None, None]


def _z_image(net: PatchNet, hint: torch.Tensor, _x: torch.Tensor, area: torch.Tensor | None) -> Any:
    from comfy_extras.nodes_model_patch import ZImageControlPatch

    if (mask := _kept(area)) is None:
        return ZImageControlPatch(net.patcher, net.vae, _image(hint), 1.0)
    # The hint is the picture to inpaint; a second unit can control what is painted.
    return ZImageControlPatch(
        net.patcher, net.vae, None, 1.0, inpaint_image=_image(hint), mask=mask
    )


def _z_image_block(module: Any, args: Args) -> int:
    if args.get("block_type") == "noise_refiner":
        return 0
    return args["block_index"] // round(30 / module.n_control_layers)


def _z_image_acts(module: Any, args: Args) -> bool:
    if args.get("block_type") == "noise_refiner":
        return module.refiner_control
    return args["block_index"] % round(30 / module.n_control_layers) == 0


def _qwen_image(
    net: PatchNet, hint: torch.Tensor, _x: torch.Tensor, area: torch.Tensor | None
) -> Any:
    from comfy_extras.nodes_model_patch import DiffSynthCnetPatch

    return DiffSynthCnetPatch(net.patcher, net.vae, _image(hint), 1.0, _kept(area))


def _anima(net: PatchNet, hint: torch.Tensor, x: torch.Tensor, area: torch.Tensor | None) -> Any:
    """Make Anima's patch, and let it embed the hint for a latent as the model will show it."""
    from comfy.ldm.anima.lllite import AnimaLLLitePatch

    if area is None and net.patcher.model.cond_in_channels == 4:
        area = torch.zeros_like(hint[:, 0])
    patch = AnimaLLLitePatch(net.patcher, _image(hint), area, 1.0, *ALWAYS)
    height, width = (side + side % 2 for side in x.shape[-2:])
    shown = x.new_zeros((1, x.shape[1], x.shape[2], height, width), dtype=net.dtype)
    embedded: dict[Any, torch.Tensor] = {}
    patch({"x": shown, "transformer_options": {"model_patch_data": embedded}})
    patch.embedded = embedded[patch]
    return patch


def _anima_places(patch: Any) -> Hooks:
    from comfy.ldm.anima.lllite import AnimaLLLiteAttentionPatch, AnimaLLLiteMLPPatch

    def give(args: Args) -> Args:
        args["transformer_options"]["model_patch_data"][patch] = patch.embedded
        return args

    self_attention = {name: f"self_attn_{name}_proj" for name in "qkv"}
    return {
        "post_input": [give],
        "attn1_patch": [AnimaLLLiteAttentionPatch(patch, self_attention)],
        "attn2_patch": [AnimaLLLiteAttentionPatch(patch, {"q": "cross_attn_q_proj"})],
        "mlp_patch": [AnimaLLLiteMLPPatch(patch)],
    }


def _uni3c(net: PatchNet, hint: torch.Tensor, x: torch.Tensor, _area: torch.Tensor | None) -> Any:
    """Make Uni3C's patch, its clip encoded for as many frames as the latent has."""
    from comfy_extras.nodes_model_patch import WanUni3CCnetPatch

    clip, latents = _image(hint), net.model.latent_format
    patch = WanUni3CCnetPatch(net.patcher, clip, net.vae, latents, 1.0, *ALWAYS)
    height, width = (side + side % 2 for side in x.shape[-2:])
    patch.prepared_render = patch.encode_render_video((x.shape[2], height, width))
    return patch


def _uni3c_in_window(patch: Any, frames: Sequence[int]) -> None:
    patch.prepared_render = patch.prepared_render[:, :, list(frames)]


def _lllite(net: PatchNet, hint: torch.Tensor, x: torch.Tensor, _area: torch.Tensor | None) -> Any:
    return LLLitePatch(net.patcher.model, hint.to(x.device, net.dtype))


PATCHES: Mapping[str, Patch] = {
    "comfy.ldm.lumina.controlnet.ZImage_Control": Patch(
        "Z-Image Fun patch",
        _z_image,
        lambda patch: {"noise_refiner": [patch], "double_block": [patch]},
        lambda module: module.n_control_layers,
        _z_image_block,
        acts=_z_image_acts,
    ),
    "comfy_extras.nodes_model_patch.QwenImageBlockWiseControlNet": Patch(
        "Qwen-Image DiffSynth patch",
        _qwen_image,
        lambda patch: {"double_block": [patch]},
        lambda module: len(module.controlnet_blocks),
        pads=False,
        reads_img=True,
    ),
    "comfy.ldm.anima.lllite.AnimaLLLite": Patch(
        "Anima LLLite",
        _anima,
        _anima_places,
        lambda module: module.block_count,
        resize="bicubic",
        needs_vae=False,
        masks=lambda module: module.cond_in_channels == 4,
    ),
    "comfy.ldm.wan.uni3c.WanUni3CControlnet": Patch(
        "Wan Uni3C patch",
        _uni3c,
        lambda patch: {"double_block": [patch]},
        lambda module: module.num_layers,
        resize="bilinear",
        in_window=_uni3c_in_window,
        is_shared=True,
    ),
    f"{LLLite.__module__}.{LLLite.__qualname__}": Patch(
        "ControlNet-LLLite",
        _lllite,
        None,
        lambda module: module.heights,
        lambda module, where: module.block_of(where),
        acts=lambda module, where: tuple(where["block"]) in module.blocks,
        resize="nearest-exact",
        pads=False,
        needs_vae=False,
        layout=MAPS,
        strides=UNET_STRIDES,
    ),
}
FAMILIES = frozenset(patch.family for patch in PATCHES.values())


def net_of(patcher: Any) -> PatchNet | None:
    """Return the control object of a loaded model patch; None where its class has no row."""
    for name in class_names(patcher.model):
        if name in PATCHES:
            return PatchNet(patcher, PATCHES[name])
    return None


def lllite_net(weights: dict[str, torch.Tensor]) -> PatchNet:
    """Build the control object of a ControlNet-LLLite from its file's weights.

    Raises ValueError, KeyError or RuntimeError where they are not those of such a net.
    """
    management = comfy.model_management
    offload, dtype = management.unet_offload_device(), comfy.utils.weight_dtype(weights)
    module = LLLite(weights, comfy.ops.manual_cast, dtype=dtype, device=offload)
    module.load_state_dict(weights)
    kind = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    patcher = kind(module.eval(), management.get_torch_device(), offload)
    net = net_of(patcher)
    assert net is not None
    return net
