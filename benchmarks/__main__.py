"""`python3 benchmarks`: what our speed claims rest on, measured here and now."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SECTIONS = {
    "preprocess": "preprocessing nodes against bare OpenCV",
    "pose": "drawing people, against controlnet_aux",
    "references": "hints against the reference preprocessors, called frame by frame; reloads apart",
    "depth": (
        "depth, normal and segmentation networks against controlnet-aux and transformers, frame by"
        " frame"
    ),
    "steps": "sampler steps: our stack against the host's chain of Apply nodes",
    "report": "what noting for Control Report costs, of a sampler step",
    "training": "training steps: our loop against a plain torch loop over the host's own modules",
}

ABOUT = """\
Times the pack against the host's own nodes and against bare OpenCV, in one process and in turn. Prints medians with
their quartiles; a ratio below 1 means that ours is faster. Other work on the machine widens the quartiles."""


def main() -> int:
    args = _options()
    load_workbench()
    from workbench import environment, hosts, inprocess

    environment.enter("benchmarks", tests=True)
    found = hosts.find()
    if not found:
        print("no ComfyUI found: set COMFYUI_DIR to its folder", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as base:
        for folder in ("input", "output", "temp", "user"):
            (Path(base) / folder).mkdir()
        inprocess.open_host(found[0], device=args.device, base=Path(base))
        inprocess.load_package(ROOT, "pack")
        inprocess.load_package(HERE, "benchmarks")
        print(_heading(args.device, found[0].version), flush=True)
        for section in args.sections or SECTIONS:
            _run(section, args)
    return 0


def load_workbench() -> None:
    """Import the workbench by path: the repository's root never goes on sys.path."""
    folder = ROOT / "workbench"
    spec = importlib.util.spec_from_file_location(
        "workbench", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["workbench"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["workbench"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python3 benchmarks", description=ABOUT)
    parser.add_argument(
        "sections",
        nargs="*",
        choices=[[], *SECTIONS],
        help="; ".join(f"{k}: {v}" for k, v in SECTIONS.items()),
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where models run (default: cpu)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer repetitions: a look, not a claim"
    )
    return parser.parse_args()


def _run(section: str, args: argparse.Namespace) -> None:
    print(f"\n{section}: {SECTIONS[section]}", flush=True)
    importlib.import_module(f"benchmarks.{section}").run(args)


def _heading(device: str, host_version: str) -> str:
    import cv2
    import torch

    where = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"CPU, {os.cpu_count()} cores, {platform.machine()}"
    )
    python = platform.python_version()
    return (
        f"{datetime.now():%Y-%m-%d %H:%M}  {where}  commit {_commit()}\nComfyUI {host_version},"
        f" torch {torch.__version__}, OpenCV {cv2.__version__}, Python {python}"
    )


def _commit() -> str:
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
