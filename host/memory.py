"""Tell errors of exhausted memory from all others."""

from __future__ import annotations

import torch

_TYPES = (torch.cuda.OutOfMemoryError, MemoryError)
_PHRASES = (
    "out of memory",  # CUDA, MPS and XPU of older torch versions
    "can't allocate memory",  # torch's allocator for the CPU
    "not enough memory",  # the same on Windows
    "alloc_failed",  # cuBLAS and cuDNN: CUBLAS_STATUS_ALLOC_FAILED
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, on a GPU or in RAM.

    torch raises a type of its own for GPUs; its CPU allocator and libraries such as cuBLAS raise a
    RuntimeError that only its text tells from others.
    """
    if isinstance(error, _TYPES):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)
