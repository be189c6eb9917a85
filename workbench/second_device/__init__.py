"""A second device for tests: what a graphics card refuses, it refuses, and a CPU is enough for it.

`device.cpp` is built once for each version of torch and of itself. ComfyUI takes the device through
its door for DirectML (`inprocess.open_host(..., device="second")`).
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "second"
SOURCE = Path(__file__).with_name("device.cpp")
BUILDS = Path(__file__).resolve().parents[2] / "tests" / "output" / "second_device"


class CannotBuildError(RuntimeError):
    """There is no compiler here that builds the device."""


def open_device() -> Any:
    """Build and register the device, once for each process; → the `torch.device`.

    Raises CannotBuildError with the reason where it cannot be built.
    """
    import torch

    if not hasattr(torch, NAME):
        torch.ops.load_library(str(build()))
        torch.utils.rename_privateuse1_backend(NAME)
        torch._register_device_module(NAME, _module())
    return torch.device(NAME, 0)


def as_directml() -> types.ModuleType:
    """Return what ComfyUI asks of the package torch_directml, with this device in it.

    ComfyUI takes any device through it that torch knows by another name than its own.
    """
    place = open_device()
    module: Any = types.ModuleType("torch_directml")
    module.device = lambda _index=0: place
    module.device_name = lambda _index=0: NAME
    return module


def build() -> Path:
    """Compile the device unless a build of it is there; → the library.

    Processes that ask at the same time wait for the first. Raises CannotBuildError.
    """
    import torch

    if sys.platform != "linux":
        raise CannotBuildError("it is built on Linux alone")
    import fcntl

    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise CannotBuildError("it needs a C++ compiler: g++, clang++ or the one that CXX names")
    words = _command(compiler)
    content = SOURCE.read_bytes() + repr((torch.__version__, words)).encode()
    library = BUILDS / f"{hashlib.sha256(content).hexdigest()[:16]}.so"
    BUILDS.mkdir(parents=True, exist_ok=True)
    with (BUILDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            part = library.with_suffix(".part")
            ended = subprocess.run([*words, "-o", str(part)], capture_output=True, text=True)
            if ended.returncode:
                errors = [line for line in ended.stderr.splitlines() if "error" in line]
                raise CannotBuildError(f"{compiler} refuses it: {' '.join(errors[:1])}")
            part.rename(library)
    return library


def _command(compiler: str) -> list[str]:
    import torch
    from torch.utils import cpp_extension

    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"
    include = [f"-I{path}" for path in cpp_extension.include_paths()]
    link = [f"-L{path}" for path in cpp_extension.library_paths()]
    words = [compiler, "-shared", "-fPIC", "-std=c++20", "-O1", "-w", abi, *include, str(SOURCE)]
    return [*words, *link, "-lc10", "-ltorch_cpu", "-ltorch"]


def _module() -> types.ModuleType:
    """Make `torch.second`: what torch asks the module of a device."""
    import torch

    place, own = torch.device(NAME, 0), torch.ops.second_device
    module: Any = types.ModuleType(f"torch.{NAME}")
    module.is_available = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module.set_device = lambda _device: None
    module.device = lambda _device: nullcontext()
    module._is_in_bad_fork = lambda: False
    module._lazy_init = lambda: None
    module.manual_seed = module.manual_seed_all = lambda seed: own.seed(int(seed) % 2**63)
    module.get_rng_state = lambda _device=None: own.random_state()
    module.set_rng_state = lambda state, _device=None: own.set_random_state(state)
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    module.synchronize = lambda _device=None: torch.Stream(device=place).synchronize()
    module.Event = functools.partial(torch.Event, device=NAME)
    return module


@contextmanager
def budget(free_bytes: int) -> Iterator[None]:
    """Let so many more bytes be allocated on the device; then it runs out of memory."""
    import torch

    own = torch.ops.second_device
    own.set_limit(own.used() + free_bytes)
    try:
        yield
    finally:
        own.set_limit(0)


@dataclass
class Traffic:
    """What crossed to the CPU (each makes it wait) and from the CPU, and the most bytes in use."""

    reads: int = 0
    writes: int = 0
    peak_bytes: int = 0


@contextmanager
def traffic() -> Iterator[Traffic]:
    """Count copies between CPU and device, filled in when the block ends."""
    import torch

    own, counted = torch.ops.second_device, Traffic()
    own.forget()
    began = own.used()
    yield counted
    counted.reads, counted.writes = own.reads(), own.writes()
    counted.peak_bytes = own.peak() - began
