"""Save a ControlNet as a file that every loader reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..control.net_info import TAG, source_of
from ..files.families import Source
from . import checkpoint_files, nets

PREFIX = "control_model."
"""Before each key, as in the original releases: diffusers tells a ControlNet by it."""
RUN = "controlstack.run"
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def save(net: Any, folder: Path, name: str, precision: str, *, overwrite: bool) -> Path:
    """Write a CONTROL_NET to `folder`/`name`.safetensors in the ldm layout; return its path.

    The net then carries the file's name. Raises ValueError for a name outside the folder, one that
    is taken (without `overwrite`) by anything but an earlier state of this net's training, another
    kind of net, and weights that are not finite; OSError where the disk is full.
    """
    path = checkpoint_files.inside(folder, name, "name")
    if path.exists() and not overwrite and not _is_earlier(path, net, precision):
        raise ValueError(_taken(path))
    weights = _finite_weights(net, DTYPES[precision])
    prefixed = {PREFIX + key: value for key, value in weights.items()}
    checkpoint_files.save(prefixed, path, _metadata(net, precision))
    if (source := source_of(net)) is not None:
        setattr(net, TAG, Source(path.relative_to(folder).as_posix(), source.identity))
    return path


def refuse_taken(folder: Path, name: str, *, run: str | None = None) -> None:
    """Raise ValueError for a name that a net cannot be saved under without overwriting.

    Asked before a training: after it would be late. `run` is the training that goes on, whose own
    file may be replaced, empty for a new one; None: not yet known, so any training's file may be.
    """
    path = checkpoint_files.inside(folder, name, "name")
    if not path.exists():
        return
    theirs = _metadata_of(path).get(RUN, "")
    if not theirs or (run is not None and theirs != run):
        raise ValueError(_taken(path))


def _taken(path: Path) -> str:
    return f"name: {path.name} is there already. Choose another name, or switch overwrite on."


def _metadata_of(path: Path) -> dict[str, str]:
    """Return what is written beside a file's weights; nothing where it is damaged."""
    try:
        return checkpoint_files.read_metadata(path)
    except ValueError:
        return {}


def _is_earlier(path: Path, net: Any, precision: str) -> bool:
    """Tell whether a file holds this state of the net's training, or an earlier one.

    One of another precision does not count: it may be kept to train further.
    """
    ours, theirs = getattr(net, nets.RECORD, {}), _metadata_of(path)
    return (
        RUN in ours
        and ours[RUN] == theirs.get(RUN)
        and precision == theirs.get("controlstack.precision")
        and int(ours["controlstack.steps"]) >= int(theirs["controlstack.steps"])
    )


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
