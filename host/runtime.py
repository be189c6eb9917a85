"""Where preprocessors meet the host: its models and memory, its progress bar, its stop button, its
preview.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path

import comfy.model_management as host
import comfy.model_patcher
import comfy.utils
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..preprocessors.build import filled, joined
from ..preprocessors.spec import Forward, Outputs, Progress, Weights
from .downloads import fetch
from .weights import WeightsError, check, find, folders, read, remedy

PREVIEW_FRAMES = 1
"""Frames of a batch that a node shows. Writing a PNG takes longer than drawing a scribble, so not
all of them.
"""
CHUNK_PX = {"cpu": 512 * 512}
"""What one chunk may have on a kind of device, so that the bar moves and stop is heard."""
CHUNK_PX_ELSEWHERE = 16 * 512 * 512
FREE_SHARE = 0.7
"""The part of free memory that a chunk may plan with."""
RAM_RESERVE_BYTES = 4 << 30
"""Free memory of the machine below which a network that the host unloads is let go altogether."""


def progress() -> Progress:
    """`report(done, total)` for the host's progress bar; raises the host's own exception once stop
    has been pressed.
    """
    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        host.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report


def preview(hint: Tensor, cls: type[io.ComfyNode], *, grey: bool = False) -> ui.PreviewImage:
    """The first of the hints (B,H,W,3) as the picture under the node; `grey` writes one channel, in
    half the time.
    """
    shown = hint[:PREVIEW_FRAMES]
    return ui.PreviewImage(shown[..., 0] if grey else shown, cls=cls)


def say(line: str) -> None:
    """In the log, and as text under the node that runs."""
    logging.info("[ControlStack] %s", line)
    from comfy_execution.utils import get_executing_context

    # Looked up, not imported: without a server (in tests, in scripts) there is nobody to tell.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    context = get_executing_context()
    if server is not None and context is not None:
        server.send_progress_text(line, context.node_id)


class Whole(comfy.model_patcher.ModelPatcher):
    """A network that is on its device whole or not at all: of torch's own layers, which the host
    cannot run in pieces.

    What the host unloads waits in the machine's memory, unless that is where it ran or is scarce:
    then it is let go, and `is_empty`. The object itself stays, because the host goes on speaking to
    it while it unloads.
    """

    def partially_load(self, device_to, extra_memory=0, force_patch_weights=False):
        return super().partially_load(device_to, 1e32, force_patch_weights)

    def partially_unload(self, device_to, memory_to_free=0, force_patch_weights=False):
        return 0  # so that the host unloads it whole

    def detach(self, unpatch_all=True):
        network = super().detach(unpatch_all)
        if unpatch_all and (self.offload_device == self.load_device or _ram_is_scarce()):
            network.to("meta")
        return network

    @property
    def is_empty(self) -> bool:
        return any(parameter.is_meta for parameter in self.model.parameters())


def _ram_is_scarce() -> bool:
    return host.get_free_memory(torch.device("cpu")) < RAM_RESERVE_BYTES


@dataclass
class _Warm:
    patcher: Whole
    path: Path
    stamp: tuple[int, int]


@dataclass
class HostNetworks:
    """Networks under the host's memory management, each loaded once and shared by all nodes. See
    spec.Networks.
    """

    warm: dict[Weights, _Warm] = field(default_factory=dict)

    def run(
        self,
        weights: Weights,
        frames: Tensor,
        forward: Forward,
        *,
        px_per_frame: int = 0,
        progress: Progress | None = None,
    ) -> Outputs:
        patcher = self._patcher(weights)
        px = px_per_frame or frames[0].numel()
        dtype = next(patcher.model.parameters()).dtype
        bytes_per_frame = weights.bytes_per_px * px * dtype.itemsize // 4
        host.load_models_gpu([patcher], memory_required=bytes_per_frame, force_full_load=True)
        size = _chunk_size(px, bytes_per_frame, patcher.load_device)
        return _in_chunks(patcher, frames, forward, size, progress or _heed_stop)

    def _patcher(self, weights: Weights) -> Whole:
        """The warm network, loaded where it is not, or where its file has been replaced since."""
        known = self.warm.get(weights)
        if known and not known.patcher.is_empty and _stamp(known.path) in (known.stamp, None):
            return known.patcher
        _refuse_without_package(weights)
        path = find(weights) or fetch(weights, folders()[0], progress(), say)
        self.warm[weights] = loaded = _Warm(_loaded(weights, path), path, _stamp(path) or (0, 0))
        return loaded.patcher


def _refuse_without_package(weights: Weights) -> None:
    """Before anything is fetched that could not be read."""
    if weights.package and importlib.util.find_spec(weights.package) is None:
        raise WeightsError(
            f"{weights.file} can only be read by the package {weights.package}, which is not"
            " installed and which nothing else here needs: choose another engine, or run `pip"
            f" install {weights.package}` with the Python that runs ComfyUI and restart it"
        )


networks = HostNetworks()
"""The one registry of warm models."""


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None where it is gone."""
    try:
        told = path.stat()
    except FileNotFoundError:
        return None
    return told.st_mtime_ns, told.st_size


def _loaded(weights: Weights, path: Path) -> Whole:
    """Raises WeightsError where the file does not hold this network, or cannot be opened as one."""
    device = host.get_torch_device()
    try:
        network = _opened(weights, path) if weights.opened else filled(weights, read(weights, path))
    except ValueError as error:
        raise WeightsError(f"{str(error).rstrip('.')}. {remedy(weights, path)}") from error
    return Whole(network.to(_dtype(weights, device)), device, host.unet_offload_device())


def _opened(weights: Weights, path: Path) -> torch.nn.Module:
    """The network that a file with a graph of its own holds. Raises ValueError where it is not the
    published one.
    """
    assert weights.opened is not None
    check(weights, path)
    return weights.opened(str(path)).eval()


def _dtype(weights: Weights, device: torch.device) -> torch.dtype:
    """fp16 where it is fast and close enough; never bf16, which costs HED more than two 8-bit
    levels.
    """
    return torch.float16 if weights.half and host.should_use_fp16(device) else torch.float32


def _heed_stop(done: int, total: int) -> None:
    host.throw_exception_if_processing_interrupted()


def _chunk_size(px_per_frame: int, bytes_per_frame: int, device: torch.device) -> int:
    """Frames at once: as many as fit into free memory, few enough for the bar to move."""
    fit = int(host.get_free_memory(device) * FREE_SHARE / max(1, bytes_per_frame))
    return max(1, min(fit, CHUNK_PX.get(device.type, CHUNK_PX_ELSEWHERE) // max(1, px_per_frame)))


def _in_chunks(
    patcher: Whole, frames: Tensor, forward: Forward, size: int, report: Progress
) -> Outputs:
    """All frames, `size` at a time. Where memory runs out, half as many; for a single one, all else
    is unloaded.
    """
    parts, done, freed = list[Outputs](), 0, False
    while done < len(frames):
        report(done, len(frames))
        size = min(size, len(frames) - done)
        made = _tried(patcher, frames[done : done + size], forward)
        if made is not None:
            parts.append(made)
            done += size
            continue
        if size == 1 and freed:
            raise WeightsError(
                f"{type(patcher.model).__name__} runs out of memory on one frame of"
                f" {tuple(frames.shape[1:])} on {patcher.load_device}: lower the resolution."
            )
        freed = size == 1 and _free_all_but(patcher)
        size = max(1, size // 2)
    report(len(frames), len(frames))
    return joined(parts)


def _tried(patcher: Whole, chunk: Tensor, forward: Forward) -> Outputs | None:
    """The outputs on the CPU; None where memory ran out."""
    try:
        with torch.inference_mode():
            return joined([forward(patcher.model, chunk.to(patcher.load_device, torch.float32))])
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
    host.soft_empty_cache()  # here, where the error no longer holds on to what was allocated
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    """torch's own kind for GPUs; on the CPU and elsewhere it is a RuntimeError that says so."""
    kinds = (torch.cuda.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or any(
        words in str(error).lower()
        for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def _free_all_but(patcher: Whole) -> bool:
    ours = [loaded for loaded in host.current_loaded_models if loaded.model is patcher]
    host.free_memory(1e30, patcher.load_device, keep_loaded=ours)
    return True
