"""Load ControlNet files: recognise each by its header, then have ComfyUI build it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import comfy.controlnet
import comfy.utils
import folder_paths

from ..control.flux2_fun import flux2_fun_net
from ..control.net_info import TAG, weights_of
from ..control.patches import FAMILIES, lllite_net, net_of
from ..files.families import CONTROL, DIFFERENCE, Identity, Source, identify, with_article
from ..files.header import FileError, Header, is_safetensors, read_header
from ..files.leftovers import other_count, unused
from .memory import is_out_of_memory
from .net_files import PATCHES
from .pickles import refuse_claims, unpickled
from .progress import warn

IN_DIFFUSERS = "controlnet_cond_embedding.conv_in.weight"
"""A key of every UNet's ControlNet in diffusers' layout."""
PREFIXES = ("control_model.", "")
"""What stands before the keys of a UNet's ControlNet in ldm's layout."""


OWN = {"ControlNet-LLLite": lllite_net, "Flux 2 Fun ControlNet": flux2_fun_net}
"""Families that this pack builds, because ComfyUI has no class for them."""


def load_net(name: str) -> Any:
    """Return ComfyUI's control object for a file, tagged with its Source.

    Raises FileError with a sentence that says what the file is instead and what to do.
    """
    if name.startswith(f"{PATCHES}/"):
        return _patch_net(name)
    path = Path(folder_paths.get_full_path_or_raise("controlnet", name))
    header = read_header(path) if is_safetensors(path) else None
    if header is not None:
        identity = _identify_control(name, header)
        state_dict = _loaded(path)
    else:
        state_dict = _unpickled(path)
        identity = _identify_control(name, _header_of(state_dict))
    build = _built_here if identity.family in OWN else _built
    net = build(name, identity, state_dict)
    setattr(net, TAG, Source(name, identity))
    return net


def _identify_control(name: str, header: Header) -> Identity:
    """Recognise a file that ComfyUI can load as a control. Raises FileError for every other."""
    identity = identify(header.shapes, header.metadata)
    if identity is None:
        raise FileError(_unrecognised(name, "ControlNet", header))
    if not identity.is_control:
        raise FileError(_not_a_controlnet(name, identity))
    if identity.family == DIFFERENCE:
        raise FileError(
            f"{name} contains only the difference from its base model ({identity.base}). Load it"
            " with ComfyUI's 'Load ControlNet Model (diff)'; its output works here too."
        )
    return identity


def _unrecognised(name: str, kind: str, header: Header) -> str:
    keys = ", ".join(sorted(header.shapes)[:3])
    seen = f"first keys: {keys}" if keys else "the file has no keys"
    return f"{name} is not a {kind} that this pack recognises ({seen})."


def _not_a_controlnet(name: str, identity: Identity) -> str:
    """Say what a file is, and where it belongs or which node uses it."""
    it_is = f"{name} is {with_article(str(identity))}"
    if identity.folder == CONTROL:
        return f"{it_is}, which ComfyUI's own loader cannot read. Use it with {identity.served_by}."
    use = f": use {identity.served_by}" if identity.served_by else ""
    return f"{it_is}, not a ControlNet. It belongs in {identity.folder}{use}."


def _patch_net(name: str) -> Any:
    """Return the control object for a file of model_patches, tagged with its Source.

    Raises FileError where it is something else, or a model patch that no stack can hold.
    """
    file = name.removeprefix(f"{PATCHES}/")
    path = Path(folder_paths.get_full_path_or_raise(PATCHES, file))
    header = read_header(path) if is_safetensors(path) else _header_of(_unpickled(path))
    identity = identify(header.shapes, header.metadata)
    if identity is None:
        raise FileError(
            f"{_unrecognised(name, 'model patch', header)} Load it with ComfyUI's Load Model Patch."
        )
    it_is = f"{name} is {with_article(str(identity))}"
    if identity.is_control:
        raise FileError(
            f"{it_is}, not a model patch. Move it to models/controlnet and choose it there."
        )
    if identity.folder != PATCHES:
        raise FileError(_not_a_controlnet(name, identity))
    net = _built_patch(name, file, identity) if identity.family in FAMILIES else None
    if net is None:
        raise FileError(
            f"{it_is}. It changes the model itself, so it cannot be added to a stack yet: use"
            f" {identity.served_by}, on the same model that the stack is applied to."
        )
    setattr(net, TAG, Source(name, identity))
    return net


def _built_patch(name: str, file: str, identity: Identity) -> Any:
    """Have ComfyUI's own loader build a model patch. Raises FileError where it cannot."""
    from comfy_extras.nodes_model_patch import ModelPatchLoader

    try:
        return net_of(ModelPatchLoader().load_model_patch(file)[0])
    except UnboundLocalError as error:  # its loader went through all that it knows
        raise FileError(
            f"{name} is {with_article(str(identity))}, but this version of ComfyUI cannot load it."
            " Update ComfyUI."
        ) from error
    except ValueError as error:
        raise FileError(f"{name} is {with_article(str(identity))}: {error}") from error
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise FileError(
            f"{name} has the keys of {with_article(str(identity))} but not"
            f" {_what_differs(error)}. Download it again, or update ComfyUI."
        ) from error


def _loaded(path: Path) -> dict[str, Any]:
    """Read a safetensors file as ComfyUI does. Raises FileError where the library refuses it."""
    from safetensors import SafetensorError

    try:
        return comfy.utils.load_torch_file(str(path), safe_load=True)
    except (SafetensorError, ValueError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise FileError(f"{path.name} is damaged ({reason}). Download it again.") from error


def _unpickled(path: Path) -> dict[str, Any]:
    """Read a .pth, .ckpt or .bin with weights_only, and take its table of tensors as ComfyUI does.

    Raises FileError for code, damage, or anything that is not a state dict.
    """
    try:
        content = unpickled(path)
        if isinstance(content, dict):
            nested = content.get("state_dict") or next(iter(content.values()), None)
            is_nested = "state_dict" in content or len(content) == 1
            content = nested if is_nested and isinstance(nested, dict) else content
            refuse_claims(path, content)
    except FileError as error:
        raise FileError(
            f"{error} Download it again, or use the safetensors version of this ControlNet."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise FileError(
            f"{path.name} does not contain weights (a dict of tensors), so it is not a ControlNet."
        )
    return content


def _header_of(state_dict: dict[str, Any]) -> Header:
    return Header({key: tuple(getattr(value, "shape", ())) for key, value in state_dict.items()})


def _built(name: str, identity: Identity, state_dict: dict[str, Any]) -> Any:
    """Have ComfyUI build the control. Raises FileError for wrong shapes and missing weights."""
    keys = set(state_dict)
    # The shuffle net was trained with its residuals averaged over the picture; only its name tells.
    is_pooled = bool(re.search(r"(^|_)shuffle(_|$)", Path(name).stem))
    try:
        net = comfy.controlnet.load_controlnet_state_dict(
            state_dict, model_options={"global_average_pooling": is_pooled}
        )
    except Exception as error:  # ComfyUI's loaders expect the right shapes everywhere
        if is_out_of_memory(error):
            raise
        raise FileError(
            f"{name} has the keys of {with_article(str(identity))} but not"
            f" {_what_differs(error)}. Download it again."
        ) from error
    if net is None:
        raise FileError(
            f"{name} looks like {with_article(str(identity))}, but this version of ComfyUI cannot"
            " load it. Update ComfyUI."
        )
    _refuse_missing(name, identity, net, keys)
    _check_leftovers(name, identity, net, keys, state_dict)
    return net


def _built_here(name: str, identity: Identity, state_dict: dict[str, Any]) -> Any:
    """Build a net of a class of ours. Raises FileError for other weights."""
    it_is = with_article(str(identity))
    try:
        return OWN[identity.family](state_dict)
    except (RuntimeError, KeyError) as error:
        if is_out_of_memory(error):
            raise
        differs = _what_differs(error)
        raise FileError(
            f"{name} has the keys of {it_is} but not {differs}. Download it again."
        ) from error
    except ValueError as error:
        raise FileError(f"{name} is {it_is}: {error}. Choose another file.") from error


def _check_leftovers(
    name: str, identity: Identity, net: Any, keys: set[str], state_dict: dict[str, Any]
) -> None:
    """Warn of weights that the net does not use; `state_dict` is what the loader has left of it.

    Raises FileError where it has other blocks than the net.
    """
    built = set(weights_of(net))
    if (count := other_count(keys, built)) is not None:
        raise FileError(
            f"{name} has {count.in_file} {count.blocks}, and {with_article(str(identity))} has"
            f" {count.built} in this version of ComfyUI. It was made for another base model or a"
            " newer ComfyUI: update ComfyUI, or choose another file."
        )
    if extra := unused(state_dict, built):
        warn(
            f"{name}: {len(extra)} of its {len(keys)} weights have no place in"
            f" {with_article(str(identity))} and are not used (first: {min(extra)}). If the net"
            " does not act as it should, update ComfyUI or download the file again."
        )


def _what_differs(error: Exception) -> str:
    """Put the reason why a net could not be built into words.

    torch names the first tensor of the wrong shape, or too much, or missing; a KeyError names a
    key; other errors of ComfyUI's loaders say nothing about the file.
    """
    if mismatch := re.search(r"size mismatch for ([\w.]+): ", str(error)):
        return f"its shapes (first: {mismatch[1]})"
    if missing := re.search(r"Missing key\(s\) in state_dict: \"([^\"]+)\"", str(error)):
        return f"all of its weights (missing: {missing[1]})"
    if extra := re.search(r"Unexpected key\(s\) in state_dict: \"([^\"]+)\"", str(error)):
        return f"its alone (not used: {extra[1]})"
    if isinstance(error, KeyError) and error.args:
        return f"all of its weights (missing: {error.args[0]})"
    return "its shapes: weights are missing, or of another size"


def _refuse_missing(name: str, identity: Identity, net: Any, keys: set[str]) -> None:
    """Raise FileError where a net for a UNet lacks weights: ComfyUI only logs the gaps.

    In diffusers' layout names differ, but each weight of the net comes from one of the file.
    """
    prefix = next((p for p in PREFIXES if f"{p}zero_convs.0.0.weight" in keys), None)
    if prefix is None and IN_DIFFUSERS not in keys:
        return
    if getattr(net, "control_model", None) is None:  # of a Control-LoRA it is made from the model
        return
    expected = list(net.control_model.state_dict())
    missing = [] if prefix is None else [key for key in expected if prefix + key not in keys]
    count = len(expected) - len(keys) if prefix is None else len(missing)
    if count > 0:
        first = f", the first is {missing[0]}" if missing else ""
        raise FileError(
            f"{name} ({identity}) lacks {count} of its weights{first}. Download it again."
        )
