"""Store the world's models small, and write them out as files that ComfyUI's loaders accept.

Matrices are stored as int8 with one scale for each output channel, vectors as fp16. A file is
written under another name first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

SCALE = ".scale"
LEVELS = 127
SUMS = "SHA256SUMS"
STORED = Path(__file__).resolve().parents[2] / "demo" / "weights"
"""Where the repository has the trained models."""
TOKENS = "text.text_model.embeddings.token_embedding.weight"
"""CLIP's table of tokens: random by seed, so it is made anew instead of stored."""


def save(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write a safetensors file; at every moment `file` is the old one or the new one, whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")  # two processes may train two nets
    save_file({key: value.detach().contiguous() for key, value in tensors.items()}, part)
    os.replace(part, file)


def load(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file."""
    return load_file(file)


def shrink(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return matrices as int8 with scales, everything else as fp16."""
    small: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if value.dim() < 2:
            small[key] = value.to(torch.float16)
            continue
        rows = value.float().flatten(1)
        scale = (rows.abs().amax(1) / LEVELS).to(torch.float16).float().clamp(min=1e-7)
        levels = (rows / scale[:, None]).round().clamp(-LEVELS, LEVELS)
        small[key] = levels.to(torch.int8).reshape(value.shape)
        small[key + SCALE] = scale.to(torch.float16)
    return small


def grow(small: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what `shrink` was given, as float32, rounded to its levels."""
    grown: dict[str, Tensor] = {}
    for key, value in small.items():
        if key.endswith(SCALE):
            continue
        if key + SCALE in small:
            scale = small[key + SCALE].float()
            grown[key] = value.float() * scale.reshape(-1, *[1] * (value.dim() - 1))
        else:
            grown[key] = value.float()
    return grown


def write_sums(folder: Path, note: str) -> None:
    """Write the hashes of a folder's model files, under the command that made them."""
    files = sorted(folder.glob("*.safetensors"))
    lines = [f"# {note}"]
    lines += [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in files]
    (folder / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_sums(folder: Path, needed: Iterable[str] = ()) -> None:
    """Raise ValueError where a file of `folder` is not the one whose hash stands beside it.

    `needed` are the names that must have a hash.
    """
    sums = folder / SUMS
    if not sums.is_file():
        raise ValueError(
            f"{folder}: expected stored models with their {SUMS}, found none. Check the folder out"
            " again, or train them with python3 demo/world."
        )
    lines = [line for line in sums.read_text(encoding="utf-8").splitlines() if line.strip()]
    digests = dict(line.split()[::-1] for line in lines if not line.startswith("#"))
    if missing := sorted(set(needed) - digests.keys()):
        raise ValueError(
            f"{sums}: expected a hash of {missing[0]}, found none. Check the folder out again."
        )
    for name, digest in digests.items():
        file = folder / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise ValueError(
                f"{file}: expected the file of {SUMS}, found"
                f" {'another one' if file.is_file() else 'none'}. Check the folder out again."
            )


def checkpoint(base: Mapping[str, Tensor], codec: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join UNet, text encoder and autoencoder to what CheckpointLoaderSimple reads.

    `base` has keys `unet.` and `text.`, as training gives them; `codec` those of `codec.Codec`.
    ComfyUI comes first (`inprocess.open_host`).
    """
    from ..tiny_family import world
    from . import codec as narrow

    text = {f"text.{key}": value for key, value in world.clip_text().state_dict().items()}
    names = {"unet.": "model.diffusion_model.", "text.": "cond_stage_model.transformer."}
    joined = {}
    for key, value in {**text, **base}.items():
        prefix = key[:5]
        if value.is_floating_point():
            joined[names[prefix] + key[5:]] = value.float()
    taesd = narrow.as_taesd(dict(codec))
    return {**joined, **{f"first_stage_model.{key}": value for key, value in taesd.items()}}


def write_out(weights: Path, models: Path) -> None:
    """Write the stored models as fp16 files below ComfyUI's models folder, unless they are there.

    A copy of the hashes beside them says of which stored models they are. Raises ValueError where a
    stored file is damaged or missing.
    """
    from ..tiny_family import world

    files = {models / "checkpoints" / world.CHECKPOINT: "base"}
    files |= {models / "controlnet" / world.net_file(net): net for net in world.NETS}
    check_sums(weights, [f"{name}.safetensors" for name in (*files.values(), "codec")])
    origin, sums = models / f"drawn_world.{SUMS}", (weights / SUMS).read_bytes()
    if origin.exists() and origin.read_bytes() == sums and all(map(Path.exists, files)):
        return
    codec = grow(load(weights / "codec.safetensors"))
    for file, name in files.items():
        tensors = grow(load(weights / f"{name}.safetensors"))
        whole = checkpoint(tensors, codec) if name == "base" else tensors
        save({key: value.to(torch.float16) for key, value in whole.items()}, file)
    origin.write_bytes(sums)
