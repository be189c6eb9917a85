"""`python3 benchmarks`: measure what our speed claims rest on, on this machine."""

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
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class Section(NamedTuple):
    """A part of the benchmarks that can be run alone; its module has `run(args)`."""

    module: str
    description: str
    when_named: bool = False
    """Whether it runs only when it is named: it takes long."""


SECTIONS = {
    "preprocess": Section("bare_opencv", "preprocessor nodes against plain OpenCV"),
    "pose": Section("pose_drawing", "drawing skeletons against controlnet_aux"),
    "references": Section(
        "peers",
        "hints against the reference preprocessors, called frame by frame; the time to load a"
        " network has its own columns",
    ),
    "memory": Section(
        "peak_memory", "peak memory of every engine without weights, over its picture and outputs"
    ),
    "depth": Section(
        "depth_networks",
        "depth, normal and segmentation networks against controlnet_aux and transformers, frame by"
        " frame",
    ),
    "steps": Section("steps", "sampler steps: our stack against ComfyUI's chain of Apply nodes"),
    "report": Section("report_cost", "share of a sampler step that Control Report's journal takes"),
    "training": Section(
        "training_step", "training steps: our loop against a plain torch loop on ComfyUI's modules"
    ),
    "clips": Section(
        "long_clips",
        "videos of 10,000 frames: peak memory, stops, sound, the whole batch (only when named)",
        when_named=True,
    ),
    "world": Section(
        "world_adherence",
        "whether control acts: pictures of the drawn world against their hints and words (only when"
        " named)",
        when_named=True,
    ),
}
ABOUT = """\
Times this pack against ComfyUI's own nodes, plain OpenCV and the reference implementations, in one
process and in turn. Prints medians with their quartiles; a ratio below 1 means that ours is faster.
Other programs that run meanwhile widen the quartiles."""


def main() -> int:
    args = _options()
    load_workbench()
    from workbench import environment, hosts, inprocess

    environment.enter("benchmarks", tests=True)
    candidates = hosts.find()
    if not candidates:
        print("No ComfyUI was found: set COMFYUI_DIR to its folder.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as base:
        for folder in ("input", "output", "temp", "user", "models"):
            (Path(base) / folder).mkdir()
        inprocess.open_host(candidates[0], device=args.device, base=Path(base))
        inprocess.load_package(ROOT, "pack")
        inprocess.load_package(HERE, "benchmarks")
        print(_heading(args.device, candidates[0].version), flush=True)
        chosen = [name for name, section in SECTIONS.items() if not section.when_named]
        for name in args.sections or chosen:
            _run(name, args)
    return 0


def load_workbench() -> None:
    """Import the workbench by path, so that the repository's root stays off sys.path."""
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
        help="; ".join(f"{name}: {section.description}" for name, section in SECTIONS.items()),
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where models run (default: cpu)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer repetitions and sizes, for a rough result"
    )
    steps = parser.add_argument_group("of steps")
    steps.add_argument("--repeats", type=int, help="rounds of each measurement")
    steps.add_argument("--shapes", nargs="+", choices=("tiny", "full"), help="of the models")
    steps.add_argument("--nets", nargs="+", type=int, choices=(1, 2, 3, 5), help="in a chain")
    world = parser.add_argument_group("of world")
    world.add_argument(
        "--write", action="store_true", help="write its tables and pictures into docs/"
    )
    world.add_argument(
        "--sizes", nargs="+", type=int, choices=(128, 256), help="of its pictures (default: both)"
    )
    world.add_argument("--weights", type=Path, help="folder of its models (default: demo/weights)")
    clips = parser.add_argument_group("of clips")
    clips.add_argument("--methods", nargs="+", help="of canny, lineart, hed, depth, pose")
    return parser.parse_args()


def _run(name: str, args: argparse.Namespace) -> None:
    section = SECTIONS[name]
    print(f"\n{name}: {section.description}", flush=True)
    importlib.import_module(f"benchmarks.{section.module}").run(args)


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
