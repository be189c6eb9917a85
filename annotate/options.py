"""Read the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from .job import Job, method, refuse_twice, usable
from .shard_forms import FORMS

ABOUT = """\
Annotates the pictures of a data set with preprocessors of the catalogue, without ComfyUI. IN is a
folder, a glob in quotes or a file, of pictures (each with its caption in NAME.txt), webdataset tars
or parquet files. OUT gets webdataset tars with picture, caption, one hint for each method and a
JSON that says how it came about. It may be killed at any moment: the same command makes what is
missing, and each picture is there exactly once."""


class _Params(argparse.Action):
    """Attach parameters to the method before them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        del option_string
        if not namespace.method:
            parser.error("--params stands behind the --method that it belongs to")
        namespace.method[-1][1].extend(values)


class _Method(argparse.Action):
    """Add a method without parameters yet."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        del parser, option_string
        namespace.method = [*(namespace.method or []), (values, [])]


def parse(arguments: Sequence[str]) -> tuple[Job, dict[str, Any]]:
    """Return the job, and who works: workers, ray, gpus.

    Raises ValueError for what cannot be done.
    """
    given = _parser().parse_args(arguments)
    methods = tuple(method(key, texts) for key, texts in given.method)
    refuse_twice(methods)
    if given.form == "folder" and len(methods) > 1:
        raise ValueError(
            "--form folder holds the hints of one method, as ControlNet's tutorial has it: give one"
            " --method, or leave --form out"
        )
    names = {role: getattr(given, f"{role}_column") for role in ("picture", "caption", "key")}
    job = Job(
        source=os.path.abspath(given.source),
        to=os.path.abspath(given.to),
        methods=methods,
        resolution=_at_least(0, given.resolution, "--resolution"),
        form=given.form,
        per_shard=_at_least(1, given.per_shard, "--per-shard"),
        columns={role: name for role, name in names.items() if name},
        weights=os.path.abspath(given.weights) if given.weights else "",
        device=given.device,
    )
    _refuse_inside(job)
    workers = given.workers if given.workers is not None else int(not given.ray)
    return job, {
        "workers": _at_least(0, workers, "--workers"),
        "ray": given.ray,
        "gpus": given.gpus,
    }


def _at_least(least: int, value: int, name: str) -> int:
    if value < least:
        raise ValueError(f"{name} {value}: expected a whole number from {least} on")
    return value


def _refuse_inside(job: Job) -> None:
    """Raise ValueError where the output would become input of the next run."""
    if os.path.isdir(job.source) and job.folder.is_relative_to(job.source):
        raise ValueError(
            f"{job.to} lies in {job.source}: what is written there would be annotated too"
        )


def _parser() -> argparse.ArgumentParser:
    keys = ", ".join(row.key for row in usable())
    parser = argparse.ArgumentParser(
        "python3 annotate",
        description=ABOUT,
        epilog=f"Methods: {keys}. Parameters and their values are those of the nodes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="IN", help="folder, glob or file")
    add("to", metavar="OUT", help="folder that is empty or was begun by the same command")
    add("--method", action=_Method, required=True, metavar="KEY", help="may be given several times")
    add(
        "--params",
        action=_Params,
        nargs="+",
        metavar="NAME=VALUE",
        help="parameters of the --method before it",
    )
    add("--resolution", type=int, default=0, metavar="PX", help="short side of hints; 0 keeps it")
    add("--form", choices=tuple(FORMS), default="webdataset", help="folder: ControlNet's tutorial")
    add("--per-shard", type=int, default=1000, metavar="N", help="pictures of a shard")
    add("--workers", type=int, metavar="N", help="processes (default 1); with --ray, actors")
    add("--ray", default="", metavar="ADDRESS", help="a Ray cluster: auto, HOST:PORT, or local")
    add("--gpus", type=float, metavar="G", help="with --ray: cards for an actor, such as 0.25")
    add("--device", default="", help="of networks: cpu, cuda, cuda:1 (default: a card, else cpu)")
    add("--weights", default="", metavar="FOLDER", help="where files of weights are looked for")
    add("--picture-column", default="", metavar="NAME", help="of a parquet file (default: guessed)")
    add("--caption-column", default="", metavar="NAME", help="likewise")
    add("--key-column", default="", metavar="NAME", help="likewise")
    return parser
