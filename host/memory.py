"""Tell errors of exhausted memory from all others."""

from __future__ import annotations

import sys

import torch

_TYPES = (torch.cuda.OutOfMemoryError, MemoryError)
_PHRASES = (
    "out of memory",  # CUDA, MPS and XPU of older torch versions
    "can't allocate memory",  # torch's allocator for the CPU
    "not enough memory",  # the same on Windows
    "alloc_failed",  # cuBLAS, hipBLAS and cuDNN: CUBLAS_STATUS_ALLOC_FAILED
    "allocation_failed",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
    "outofmemory",  # HIP: hipErrorOutOfMemory
    "out_of_device_memory",  # XPU: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY
    "out_of_host_memory",
    "not enough gpu video memory",  # DirectML
    "invalid buffer size",  # MPS, for one tensor that is larger than its memory
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, on a GPU or in RAM.

    torch raises a type of its own for GPUs; its CPU allocator and libraries such as cuBLAS raise a
    RuntimeError that only its text tells from others. ComfyUI's own test goes first where it has
    one: it also clears what CUDA still has to report.
    """
    own = getattr(sys.modules.get("comfy.model_management"), "is_oom", None)
    if isinstance(error, _TYPES) or (own is not None and own(error)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)
