"""Save a ControlNet as a file that every loader reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..control.net_info import TAG, source_of
from ..files.families import Source
from . import checkpoint_files, nets

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def save(net: Any, folder: Path, name: str, precision: str, *, overwrite: bool) -> Path:
    """Write a CONTROL_NET to `folder`/`name`.safetensors in the ldm layout; return its path.

    The net then carries the file's name. Raises ValueError for a name outside the folder, one that
    is taken (without `overwrite`), another kind of net, and weights that are not finite; OSError
    where the disk is full.
    """
    path = checkpoint_files.inside(folder, name, "name")
    if path.exists() and not overwrite:
        raise ValueError(
            f"name: {path.name} is there already. Choose another name, or switch overwrite on."
        )
    weights = _finite_weights(net, DTYPES[precision])
    checkpoint_files.save(weights, path, _metadata(net, precision))
    if (source := source_of(net)) is not None:
        setattr(net, TAG, Source(path.relative_to(folder).as_posix(), source.identity))
    return path


def _finite_weights(net: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    nets.refuse_other_nets(net)
    weights = {key: value.to("cpu", dtype) for key, value in nets.current_weights(net).items()}
    broken = [key for key, value in weights.items() if not bool(value.isfinite().all())]
    if broken:
        raise ValueError(
            f"control_net: {len(broken)} of its weights are not finite in {dtype}, such as"
            f" {broken[0]}. Choose precision fp32; if that is refused too, the training diverged:"
            " lower its learning_rate."
        )
    return weights


def _metadata(net: Any, precision: str) -> dict[str, str]:
    source = source_of(net)
    norms = nets.zero_convolution_norms(nets.current_weights(net))
    return checkpoint_files.as_text(
        {
            "controlstack.base": source.identity.base if source else "",
            "controlstack.precision": precision,
            **getattr(net, nets.RECORD, {}),
            "controlstack.zero_convolution_norms": {
                key: round(value, 6) for key, value in norms.items()
            },
        }
    )
