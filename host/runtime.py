"""Hold the networks of preprocessors under ComfyUI's memory management, and run them in chunks."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

import comfy.model_management as host
import comfy.model_patcher
import torch
from torch import Tensor

from ..preprocessors.build import filled, joined
from ..preprocessors.images import available_bytes
from ..preprocessors.spec import Forward, Outputs, Progress, Weights
from .downloads import fetch
from .memory import is_out_of_memory
from .progress import check_interrupt, progress, say
from .weight_files import WeightsError, check_graph
from .weights import find, folders, read, remedy, writable

CHUNK_PX = {"cpu": 512 * 512}
"""Pixels of one chunk by type of device: keeps progress and interrupts responsive."""
CHUNK_PX_ELSEWHERE = 16 * 512 * 512
FREE_SHARE = 0.7
"""Share of free memory that a chunk may use."""
RAM_RESERVE_BYTES = 4 << 30
"""Free RAM below which an unloaded network is dropped instead of moved there."""


class Held(torch.nn.Module):
    """Holds a network. ComfyUI notes things at a model, `device` too, which some have fixed."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network


def held(network: torch.nn.Module) -> Held:
    """Hold a network, by a class that is called as its own: ComfyUI's log names it."""
    return type(type(network).__name__, (Held,), {})(network)


class UnsplittableModel(comfy.model_patcher.ModelPatcher):
    """A network that is loaded completely or not at all: ComfyUI cannot stream torch's own layers.

    An unloaded network waits in RAM, unless it ran there or RAM is scarce: then its weights are
    dropped and `is_empty` is true. The object stays, because ComfyUI still calls it while it
    unloads.
    """

    def partially_load(self, device_to, extra_memory=0, force_patch_weights=False):
        """Load all of it, whatever memory ComfyUI grants."""
        del extra_memory
        return super().partially_load(device_to, 1e32, force_patch_weights)

    def partially_unload(self, device_to, memory_to_free=0, force_patch_weights=False):
        """Free nothing, so that ComfyUI unloads all of it."""
        del device_to, memory_to_free, force_patch_weights
        return 0

    def detach(self, unpatch_all=True):
        """Unload, and drop the weights where RAM is short."""
        network = super().detach(unpatch_all)
        if unpatch_all and (self.offload_device == self.load_device or _ram_is_scarce()):
            network.to("meta")
        return network

    @property
    def network(self) -> torch.nn.Module:
        """The network itself."""
        return self.model.network

    @property
    def is_empty(self) -> bool:
        """Whether the weights were dropped."""
        return any(parameter.is_meta for parameter in self.model.parameters())


def _ram_is_scarce() -> bool:
    return host.get_free_memory(torch.device("cpu")) < RAM_RESERVE_BYTES


@dataclass
class _Warm:
    patcher: UnsplittableModel
    path: Path
    stamp: tuple[int, int]


@dataclass
class HostNetworks:
    """Networks, each loaded once and shared by all nodes. Implements spec.Networks."""

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
        """Run `forward` over all frames, loading or downloading the network where needed.

        Raises WeightsError where its weights cannot be had, or where they or one frame do not fit
        into memory.
        """
        patcher = self._patcher(weights)
        px = px_per_frame or frames[0].numel()
        dtype = next(patcher.model.parameters()).dtype
        if patcher.load_device.type == "cpu":
            _refuse_oversize(weights, px)
        bytes_per_frame = weights.bytes_per_px * px * dtype.itemsize // 4
        _load(patcher, bytes_per_frame)
        size = _chunk_size(px, bytes_per_frame, patcher.load_device)
        return _in_chunks(patcher, frames, forward, size, progress or check_interrupt)

    def _patcher(self, weights: Weights) -> UnsplittableModel:
        """Return the network, loaded again where its weights were dropped or its file replaced."""
        warm = self.warm.get(weights)
        if warm and not warm.patcher.is_empty and _stamp(warm.path) in (warm.stamp, None):
            return warm.patcher
        _refuse_without_package(weights)
        path = find(weights) or fetch(weights, writable(folders()), progress(), say)
        self.warm[weights] = loaded = _Warm(_loaded(weights, path), path, _stamp(path) or (0, 0))
        return loaded.patcher


def _load(patcher: UnsplittableModel, bytes_beside: int) -> None:
    """Load a network onto its device, if need be in the place of all other models.

    Raises WeightsError where it does not fit there alone.
    """
    for is_last in (False, True):
        try:
            host.load_models_gpu([patcher], memory_required=bytes_beside, force_full_load=True)
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            sentence = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        patcher.detach()  # what was loaded in part would be on two devices
        host.free_memory(1e30, patcher.load_device)
        host.soft_empty_cache()
        if is_last:
            raise WeightsError(
                f"{type(patcher.network).__name__} does not fit into the memory of"
                f" {patcher.load_device}: free memory there, or choose another engine ({sentence})"
            )


def _refuse_oversize(weights: Weights, px_per_frame: int) -> None:
    """Raise WeightsError for a frame beyond the RAM: Linux grants it, and ends ComfyUI for it."""
    needed, free = weights.least_bytes_per_px * px_per_frame, available_bytes()
    if free is not None and needed > free:
        raise WeightsError(
            f"one frame of {px_per_frame / 1e6:.0f} million pixels takes the network of"
            f" {weights.file} at least {needed / 1e9:.0f} GB of memory, and {free / 1e9:.1f} GB are"
            " free: lower the resolution"
        )


def _refuse_without_package(weights: Weights) -> None:
    """Raise WeightsError before a file is downloaded that could not be read."""
    if weights.package and importlib.util.find_spec(weights.package) is None:
        raise WeightsError(
            f"{weights.file} can only be read by the package {weights.package}, which is not"
            " installed and which nothing else here needs: choose another engine, or run `pip"
            f" install {weights.package}` with the Python that runs ComfyUI and restart it"
        )


networks = HostNetworks()
"""The registry that all nodes share."""


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return time and size, which change when a file is replaced; None where it is gone."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _loaded(weights: Weights, path: Path) -> UnsplittableModel:
    """Load a network from its file.

    Raises WeightsError where the file does not hold this network, or cannot be opened as one.
    """
    device = host.get_torch_device()
    try:
        network = _opened(weights, path) if weights.opened else filled(weights, read(weights, path))
    except ValueError as error:
        raise WeightsError(f"{str(error).rstrip('.')}. {remedy(weights, path)}") from error
    network = network.to(_dtype(weights, device))
    return UnsplittableModel(held(network), device, host.unet_offload_device())


def _opened(weights: Weights, path: Path) -> torch.nn.Module:
    """Open a file that holds a graph of its own.

    Raises ValueError where it is not the published one, byte for byte.
    """
    assert weights.opened is not None
    check_graph(weights, path)
    return weights.opened(str(path)).eval()


def _dtype(weights: Weights, device: torch.device) -> torch.dtype:
    """Choose fp16 where it is fast and close enough.

    Never bf16, which costs HED more than two 8-bit levels.
    """
    return torch.float16 if weights.half and host.should_use_fp16(device) else torch.float32


def _chunk_size(px_per_frame: int, bytes_per_frame: int, device: torch.device) -> int:
    """Return how many frames fit into free memory and still keep progress responsive."""
    fit = int(host.get_free_memory(device) * FREE_SHARE / max(1, bytes_per_frame))
    return max(1, min(fit, CHUNK_PX.get(device.type, CHUNK_PX_ELSEWHERE) // max(1, px_per_frame)))


def _in_chunks(
    patcher: UnsplittableModel, frames: Tensor, forward: Forward, size: int, report: Progress
) -> Outputs:
    """Run all frames, `size` at a time.

    Where memory runs out the size is halved; for a single frame all other models are unloaded.
    """
    parts, done, freed = list[Outputs](), 0, False
    while done < len(frames):
        report(done, len(frames))
        size = min(size, len(frames) - done)
        outputs = _tried(patcher, frames[done : done + size], forward)
        if outputs is not None:
            parts.append(outputs)
            done += size
            continue
        if size == 1 and freed:
            raise WeightsError(
                f"{type(patcher.network).__name__} runs out of memory on one frame of"
                f" {tuple(frames.shape[1:])} on {patcher.load_device}: lower the resolution."
            )
        freed = size == 1 and _free_all_but(patcher)
        size = max(1, size // 2)
    report(len(frames), len(frames))
    return joined(parts)


def _tried(patcher: UnsplittableModel, chunk: Tensor, forward: Forward) -> Outputs | None:
    """Return the outputs on the CPU; None where memory ran out."""
    try:
        with torch.inference_mode():
            return joined([forward(patcher.network, chunk.to(patcher.load_device, torch.float32))])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    host.soft_empty_cache()  # here, where the error no longer holds on to what was allocated
    return None


def _free_all_but(patcher: UnsplittableModel) -> bool:
    ours = [loaded for loaded in host.current_loaded_models if loaded.model is patcher]
    host.free_memory(1e30, patcher.load_device, keep_loaded=ours)
    return True
