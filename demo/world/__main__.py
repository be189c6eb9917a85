"""`python3 demo/world`: train the drawn world's models, from nothing, on one CPU thread."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))
from workbench import environment, hosts, inprocess  # noqa: E402

sys.path.remove(str(ROOT))  # the root's nodes/ would shadow the host's module of that name

import plan  # noqa: E402

ABOUT = """\
Trains everything that the drawn world needs: an autoencoder, a reader of classes and depth, a base
model at 64, 128 and 256 pixels, and ControlNets for edges, scribbles, segmentation and depth by the
pack's own training loop. All of it is a function of the seed. It may be killed at any moment: the
same command goes on where it was. With --only, two processes may train two nets at a time once the
base is there. At the end the models are stored small in the folder of
--weights, with their hashes beside them."""


def main() -> int:
    options = _options()
    stages = plan.chosen(options.only)
    print(plan.table(stages, options.scale), flush=True)
    if options.plan:
        return 0
    environment.enter("demo/world")
    installed = hosts.find()
    if not installed:
        print("no ComfyUI was found: set COMFYUI_DIR to its folder, or run python3 demo once")
        return 1
    import torch

    torch.set_num_threads(1)
    base = options.to.resolve() / "base"
    for folder in ("input", "output", "temp", "user", "models"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    inprocess.open_host(installed[0], base=base)
    inprocess.load_package(ROOT, "pack")
    import run

    try:
        run.everything(stages, run.Place(options.to.resolve(), options.weights.resolve()), options)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here")
        return 130
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python3 demo/world",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=HERE.parent / "base" / "world",
        help="folder of everything unfinished (default: demo/base/world, which git ignores)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        default=HERE.parent / "weights",
        help="folder that the stored models are written to (default: demo/weights)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="*", default=None, metavar="STAGE", help="run these stages of the plan"
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="share of the steps and pictures: 0.02 tries the whole way out in minutes",
    )
    parser.add_argument(
        "--save-every",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how much a kill may cost (default: 60)",
    )
    parser.add_argument("--plan", action="store_true", help="print the plan and its minutes, only")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
