"""Load ControlNet files: recognise each by its header and have ComfyUI build it, or say what is
wrong.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import comfy.controlnet
import comfy.utils
import folder_paths

from ..control.net_info import TAG
from ..files.families import CONTROL, Identity, Source, identify
from ..files.header import FileError, Header, is_safetensors, read_header, tensors_alone

PATCHES = "model_patches"
IN_DIFFUSERS = "controlnet_cond_embedding.conv_in.weight"
"""A key of every UNet's ControlNet in diffusers' layout."""


def names() -> list[str]:
    """Files of the controlnet folder, then those of model_patches with the folder's name before
    them.
    """
    patches = (
        folder_paths.get_filename_list(PATCHES)
        if PATCHES in folder_paths.folder_names_and_paths
        else []
    )
    return [
        *folder_paths.get_filename_list("controlnet"),
        *(f"{PATCHES}/{name}" for name in patches),
    ]


def load(name: str) -> Any:
    """The host's control object for a file, tagged with its Source. Raises FileError with a
    sentence to act on.
    """
    if name.startswith(f"{PATCHES}/"):
        _refuse_patch(name)
    path = Path(folder_paths.get_full_path_or_raise("controlnet", name))
    header = read_header(path) if is_safetensors(path) else None
    if header is not None:
        identity = _control(name, header)
        state_dict = comfy.utils.load_torch_file(str(path), safe_load=True)
    else:
        state_dict = _unpickled(path)
        identity = _control(name, _header_of(state_dict))
    net = _built(name, identity, state_dict)
    setattr(net, TAG, Source(name, identity))
    return net


def _control(name: str, header: Header) -> Identity:
    """What the file is, when that is something the host can load as a control. Raises FileError
    otherwise.
    """
    identity = identify(header.shapes, header.metadata)
    if identity is None:
        keys = ", ".join(sorted(header.shapes)[:3]) or "no keys at all"
        raise FileError(
            f"{name} is no ControlNet that is known here: expected its keys, found {keys} ..."
        )
    if not identity.is_control:
        raise FileError(_told(name, identity))
    if identity.family == "ControlNet (difference)":
        raise FileError(
            f"{name} holds only the difference to its base model ({identity.base}): "
            "load it with the host's 'Load ControlNet Model (diff)', whose output works here too."
        )
    return identity


def _told(name: str, identity: Identity) -> str:
    """The sentence for a file that is something else: what it is, and where it belongs or which
    node uses it.
    """
    article = (
        "an" if identity.family[0] in "AEIOU" or identity.family.startswith("embedding") else "a"
    )
    said = f"{name} is {article} {identity}"
    if identity.folder == CONTROL:
        return f"{said}, which ComfyUI's own loader cannot read. Use it with {identity.served_by}."
    used = f": use {identity.served_by}" if identity.served_by else ""
    return f"{said}, not a ControlNet. It belongs in {identity.folder}{used}."


def _refuse_patch(name: str) -> None:
    """Raise FileError for a file of model_patches: what it is and which of the host's nodes takes
    it.
    """
    path = Path(folder_paths.get_full_path_or_raise(PATCHES, name.removeprefix(f"{PATCHES}/")))
    header = read_header(path) if is_safetensors(path) else _header_of(_unpickled(path))
    identity = identify(header.shapes, header.metadata)
    if identity is None:
        raise FileError(
            f"{name} is no model patch that is known here. Load it with the host's Load Model"
            " Patch."
        )
    if identity.is_control:
        raise FileError(
            f"{name} is a {identity}, no model patch. Move it to models/controlnet and choose it"
            " there."
        )
    if identity.folder != PATCHES:
        raise FileError(_told(name, identity))
    raise FileError(
        f"{name} is a {identity}. It changes the model itself, so a stack cannot hold it yet: "
        f"use {identity.served_by}. It goes with a stack on the same model."
    )


def _unpickled(path: Path) -> dict[str, Any]:
    """A .pth/.ckpt/.bin read with tensors alone allowed. Raises FileError for code, damage or
    anything else in it.
    """
    try:
        with tensors_alone(path):
            state_dict = comfy.utils.load_torch_file(str(path), safe_load=True)
    except FileError as error:
        raise FileError(
            f"{error} Fetch it again, or use the safetensors version of this net."
        ) from error
    except (AttributeError, TypeError) as error:
        raise FileError(
            f"{path.name} holds no table of weights ({error}). It is no ControlNet."
        ) from error
    return state_dict


def _header_of(state_dict: dict[str, Any]) -> Header:
    return Header({key: tuple(getattr(value, "shape", ())) for key, value in state_dict.items()})


def _built(name: str, identity: Identity, state_dict: dict[str, Any]) -> Any:
    """The host's control object. Raises FileError where shapes disagree or weights are missing."""
    keys = set(state_dict)
    # The shuffle net was trained with its residuals averaged over the picture; only its name tells.
    pooled = bool(re.search(r"(^|_)shuffle(_|$)", Path(name).stem))
    try:
        net = comfy.controlnet.load_controlnet_state_dict(
            state_dict, model_options={"global_average_pooling": pooled}
        )
    except (RuntimeError, KeyError, AttributeError) as error:
        raise FileError(
            f"{name} has the keys of a {identity} but not its shapes: {error}"
        ) from error
    if net is None:
        raise FileError(
            f"{name} looks like a {identity}, but this version of the host cannot build it. Update"
            " ComfyUI."
        )
    _refuse_missing(name, identity, net, keys)
    return net


def _refuse_missing(name: str, identity: Identity, net: Any, keys: set[str]) -> None:
    """A net for a UNet must bring every weight: the host itself only logs the gaps.

    In diffusers' layout names differ, but each weight of the net comes from one of the file.
    """
    prefix = next((p for p in ("control_model.", "") if f"{p}zero_convs.0.0.weight" in keys), None)
    if prefix is None and IN_DIFFUSERS not in keys:
        return
    expected = list(net.control_model.state_dict())
    missing = [] if prefix is None else [key for key in expected if prefix + key not in keys]
    count = len(expected) - len(keys) if prefix is None else len(missing)
    if count > 0:
        first = f", the first is {missing[0]}" if missing else ""
        raise FileError(f"{name} ({identity}) lacks {count} of its weights{first}. Fetch it again.")
