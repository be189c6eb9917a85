"""`python3 workbench/compare.py OLD [NEW]`: show that two checkouts of the pack do the same.

Only this tree's workbench is used; the two trees are packs, linked into the `custom_nodes` of every
ComfyUI found, one after the other. Texts for readers may differ, nothing else may.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import runpy
import shutil
import sys
import tempfile
import time
import zlib
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

HERE = Path(__file__).resolve().parent
# The host imports modules named `server` and `nodes`: neither this folder nor the root may stay.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
sys.path.insert(0, str(HERE.parent))
from workbench import environment, hosts, server, workflow  # noqa: E402

sys.path.pop(0)

ABOUT = """\
Starts every ComfyUI found (COMFYUI_DIR names others) once with OLD and once with NEW, and compares
what it tells of our nodes in /object_info (without texts), the prompt of every template and saved
workflow, and every image that they give, bit for bit. Ends with 1 when anything differs."""
NODE_TEXTS = {"display_name", "description", "search_aliases", "output_tooltips"}
INPUT_TEXTS = {"display_name", "tooltip", "description", "placeholder"}
# What makes a workflow run, and quickly, on tiny nets; its prompt is compared as it is in the file.
SHORTER: Mapping[str, Mapping[str, Any]] = {
    "EmptyLatentImage": {"width": 256, "height": 256},
    "KSampler": {"steps": 8},
    "ControlStackDataset": {"width": 64, "height": 64},
    "ControlStackTrain": {
        **{"steps": 4, "batch_size": 1, "accumulation": 1, "validate_every": 2},
        **{"learning_rate": 1e-3, "precision": "fp32"},
    },
    "ControlStackSave": {"precision": "fp32"},
    "ControlStackAdd": {"union_type": "auto"},  # tiny nets are of one type: another is refused
}
# Rows at the lower end of a shown image that carry words: a plot of the training.
WORDS_BELOW = {"ControlStackTrain": 640}
TINY_NETS = ("canny", "scribble")  # written by tiny_family as control_v11p_sd15_NAME_fp16
PICTURE, TRAINED_ON = "example.png", "my_pictures"
LINKS = {"IMAGE": ["1", 0], "MASK": ["1", 1]}  # outputs of the LoadImage that feeds a single node
# With several, sums of a training's gradients are added up in an order that changes.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SHOWN_DIFFERENCES = 5
SINGLE = "single nodes"
FOLDERS = {"templates": "example_workflows", "saved workflows": "tests/fixtures/workflows"}


@dataclass(frozen=True)
class Job:
    """Something to queue: `prompt` is compared, `shortened` is run; `graph` is the page's form."""

    kind: str
    name: str
    prompt: dict[str, Any]
    covers: str
    graph: dict[str, Any] | None = None

    @property
    def shortened(self) -> dict[str, Any]:
        short = copy.deepcopy(self.prompt)
        for node in short.values():
            wanted = SHORTER.get(node["class_type"], {})
            node["inputs"] |= {key: wanted[key] for key in wanted.keys() & node["inputs"].keys()}
        return short


@dataclass(frozen=True)
class Outcome:
    """What a run left: arrays by `node/number` or file, or the node at which it failed."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    failure: str = ""
    message: str = ""


@dataclass(frozen=True)
class Visit:
    """One host with one tree."""

    info: dict[str, Any]
    jobs: dict[tuple[str, str], Job]
    outcomes: dict[tuple[str, str], Outcome]


@dataclass(frozen=True)
class Row:
    """One line of the table; `differences` says in words what is not equal."""

    kind: str
    name: str
    prompt: str
    images: str
    covers: str
    differences: tuple[str, ...]


def main() -> int:
    options = _options()
    environment.enter("workbench/compare.py")
    os.environ.update(ONE_THREAD)
    hosts_here = hosts.find()
    if not hosts_here:
        print("no ComfyUI was found: set COMFYUI_DIR to its folder", file=sys.stderr)
        return 2
    started = time.monotonic()
    rows = [row for host in hosts_here for row in _on(host, options)]
    wrong = [row for row in rows if row.differences]
    names = ", ".join(host.version for host in hosts_here)
    print(f"\n{len(rows)} comparisons on ComfyUI {names} in {time.monotonic() - started:.0f} s")
    print(f"{len(wrong)} of them differ" if wrong else "all are equal: prompts, images and nodes")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python3 workbench/compare.py",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", type=Path, help="the checkout to compare with")
    parser.add_argument(
        "new", type=Path, nargs="?", default=HERE.parent, help="default: the tree of this script"
    )
    only = "run only what matches this pattern (default: all)"
    parser.add_argument("--only", default="*", metavar="PATTERN", help=only)
    options = parser.parse_args()
    for tree in (options.old, options.new):
        if not (tree / "example_workflows").is_dir():
            parser.error(f"{tree} has no example_workflows: expected a checkout of the pack")
    return options


def _on(host: hosts.Host, options: argparse.Namespace) -> list[Row]:
    """Visit `host` with both trees and print what was seen there."""
    print(f"\n=== ComfyUI {host.version} ({host.path})", flush=True)
    trees = (options.old.resolve(), options.new.resolve())
    try:
        old, new = (visit(host, tree, options.only) for tree in trees)
    except server.HostError as error:
        return _printed([Row("pack", "starts", "-", "-", "", (str(error),))])
    return _printed([compare_nodes(old.info, new.info), *compare_jobs(old, new)])


def _printed(rows: list[Row]) -> list[Row]:
    single = [row for row in rows if row.kind == SINGLE]
    table = [row for row in rows if row.kind != SINGLE]
    width = max(len(row.name) for row in table)
    print(f"{'':{width}}  prompt   images     covers")
    for row in table:
        print(f"{row.name:{width}}  {row.prompt:7}  {row.images:9}  {row.covers}")
    failing = sum(row.images == "both fail" for row in single)
    equal = sum(not row.differences for row in single) - failing
    print(
        f"{len(single)} runs of a single node, one for every combination of choices in its lists:"
    )
    print(f"  {equal} give equal images, {failing} fail in both (mostly: weights are not here)")
    for row in rows:
        for difference in row.differences[:SHOWN_DIFFERENCES]:
            print(f"DIFFERS {row.name}: {difference}")
        if len(row.differences) > SHOWN_DIFFERENCES:
            print(f"DIFFERS {row.name}: and in {len(row.differences) - SHOWN_DIFFERENCES} more")
    sys.stdout.flush()
    return rows


# One host with one tree


def visit(host: hosts.Host, tree: Path, only: str) -> Visit:
    """Run everything in `tree` on `host`, in a base directory that is removed afterwards."""
    print(f"running {tree} ...", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        base = Path(folder)
        furnish(base, tree)
        packs = {**server.PACKS, "controlstack": tree}
        with server.running(host, base, packs=packs) as running:
            info = running.ask("/object_info")
            jobs = [job for job in jobs_of(tree, info) if fnmatch(job.name, only)]
            provide_nets(base / "models" / "controlnet", jobs)
            outcomes = {(job.kind, job.name): run(running, job) for job in jobs}
    print(f"  {len(jobs)} runs in {time.monotonic() - started:.0f} s", flush=True)
    return Visit(info, {(job.kind, job.name): job for job in jobs}, outcomes)


def furnish(base: Path, tree: Path) -> None:
    """Write what templates read: a picture, the templates' own inputs, and three pairs to train."""
    import numpy as np
    from PIL import Image

    draw = runpy.run_path(str(HERE.parent / "demo" / "picture.py"))["draw"]
    draw(base / "input" / PICTURE)
    for file in (tree / "example_workflows" / "inputs").iterdir():
        shutil.copy(file, base / "input" / file.name)  # where older versions read them
    pictures = base / "input" / TRAINED_ON
    pictures.mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), np.uint8)
        Image.fromarray(noise).save(pictures / f"{seed}.png")
        (pictures / f"{seed}.txt").write_text(f"noise {seed}")


def provide_nets(folder: Path, jobs: Iterable[Job]) -> None:
    """Link every net that a job names and that is missing to one of the tiny ones, by its name."""
    nodes = [node for job in jobs for node in job.prompt.values()]
    for name in {str(node["inputs"].get("control_net_name", "")) for node in nodes} - {""}:
        file = folder / name
        tiny = TINY_NETS[zlib.crc32(name.encode()) % len(TINY_NETS)]
        if not file.exists():
            os.link(folder / f"control_v11p_sd15_{tiny}_fp16.safetensors", file)


def ours(info: Mapping[str, Any]) -> dict[str, Any]:
    """Select the pack's nodes by the module that the host loaded them from."""
    module = "custom_nodes.controlstack"
    return {name: node for name, node in info.items() if node.get("python_module") == module}


def run(running: server.Server, job: Job) -> Outcome:
    """Run a job on a host that remembers nothing of those before it."""
    import numpy as np
    from PIL import UnidentifiedImageError

    running.free()
    folder = running.base / "models" / "controlnet"
    before = set(folder.iterdir())
    prompt = job.shortened
    try:
        result = running.run(prompt)
    except server.HostError as error:
        words = str(error).split()
        is_refused = isinstance(error, server.RefusedError)
        refused = sorted(error.node_errors) if is_refused else words[1:2]
        return Outcome(failure=f"node {' '.join(refused)}", message=str(error).partition("\n")[0])
    arrays = {}
    for node in result.outputs:
        below = WORDS_BELOW.get(prompt.get(node, {}).get("class_type", ""), 0)
        for index, record in enumerate(result.images(node)):
            with suppress(UnidentifiedImageError):
                image = np.asarray(running.image(record))
                arrays[f"{node}/{index}"] = image[: len(image) - below]
    for file in sorted(set(folder.iterdir()) - before):
        arrays |= tensors_of(file)
    return Outcome(arrays)


def tensors_of(file: Path) -> dict[str, np.ndarray]:
    """Read a net that a run saved; its metadata holds texts and is left out."""
    from safetensors.numpy import load_file

    return {f"{file.name}:{key}": value for key, value in load_file(file).items()}


# What is run


def jobs_of(tree: Path, info: Mapping[str, Any]) -> list[Job]:
    """Collect every template, every saved workflow, and every node that turns an image into one."""
    graphs = [
        _workflow_job(kind, name, graph, info)
        for kind in FOLDERS
        for name, graph in graphs_of(tree, kind).items()
    ]
    return [*graphs, *single_nodes(ours(info))]


def graphs_of(tree: Path, kind: str) -> dict[str, Any]:
    """Read the page's form of every workflow of a kind."""
    files = sorted((tree / FOLDERS[kind]).glob("*.json"))
    texts = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    return {name: text.get("workflow", text) for name, text in texts.items()}


def _workflow_job(kind: str, name: str, graph: dict[str, Any], info: Mapping[str, Any]) -> Job:
    prompt = workflow.to_prompt(graph, info)
    off = (workflow.MUTED, workflow.BYPASSED)
    muted = [node["type"] for node in graph["nodes"] if node.get("mode") in off]
    covers = f"{len(prompt)} nodes" + (f"; muted: {', '.join(muted)}" if muted else "")
    trained = any(node["class_type"] == "ControlStackTrain" for node in prompt.values())
    covers += "; the saved net, not the plot" if trained else ""
    return Job(kind, name, prompt, covers, graph)


def single_nodes(nodes: Mapping[str, Any]) -> Iterator[Job]:
    """Ask every image-to-image node once for every combination of choices in its lists."""
    for name, node in nodes.items():
        links = links_of(node["input"])
        if links and "IMAGE" in node["output"]:
            for widgets in variants(node["input"], ""):
                words = " ".join(f"{key}={value}" for key, value in widgets.items())
                prompt = _single(name, {**links, **widgets}, node["output"].index("IMAGE"))
                yield Job(SINGLE, f"{name} {words}", prompt, "one node")


def links_of(groups: Mapping[str, Any]) -> dict[str, Any]:
    """Link a node's images and masks; nothing where it needs something else, or no image."""
    needed = {
        key: _type(of) for key, of in groups.get("required", {}).items() if not _is_widget(of)
    }
    offered = {key: _type(of) for key, of in groups.get("optional", {}).items()}
    if "IMAGE" not in needed.values() or set(needed.values()) - LINKS.keys():
        return {}
    wanted = needed | {key: kind for key, kind in offered.items() if kind in LINKS}
    return {key: LINKS[kind] for key, kind in wanted.items()}


def _single(name: str, inputs: dict[str, Any], output: int) -> dict[str, Any]:
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": PICTURE}},
        "2": {"class_type": name, "inputs": inputs},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", output]}},
    }


def variants(groups: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """List widget values: every combination of choices, all defaults first."""
    columns = [
        choices(prefix + name, declared)
        for group in ("required", "optional")
        for name, declared in groups.get(group, {}).items()
        if _is_widget(declared)
    ]
    return [dict(ChainMap(*row)) for row in itertools.product(*columns)]


def choices(name: str, declared: Any) -> list[dict[str, Any]]:
    """List what one widget can be set to, its default first; a number has its default alone."""
    options = _options_of(declared)
    if _type(declared) == workflow.DYNAMIC:
        return [
            {name: choice["key"], **more}
            for choice in options["options"]
            for more in variants(choice["inputs"], f"{name}.")
        ]
    if _type(declared) == "COMBO":
        values = declared[0] if isinstance(declared[0], list) else options["options"]
        default = options.get("default", next(iter(values), None))
        return [{name: default}, *({name: value} for value in values if value != default)]
    return [{name: options.get("default", "")}]


def _type(declared: Any) -> str:
    return "COMBO" if isinstance(declared[0], list) else declared[0]


def _options_of(declared: Any) -> dict[str, Any]:
    return declared[1] if len(declared) > 1 else {}


def _is_widget(declared: Any) -> bool:
    shown_as = _options_of(declared).get("widgetType", _type(declared))
    forced = _options_of(declared).get("forceInput", False)
    return shown_as in workflow.PLAIN | {workflow.DYNAMIC} and not forced


# Comparison


def compare_nodes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Row:
    """Compare /object_info of our nodes without the texts for readers."""
    before, after = (
        {name: node_of(node) for name, node in ours(info).items()} for info in (old, new)
    )
    differences = tuple(different(before, after, ""))
    covers = f"{len(before)} nodes: names, order, types, defaults, options; no texts"
    return Row("nodes", "/object_info", "-", "-", covers, differences)


def node_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce a node to what workflows rely on, its inputs as a list, because order counts."""
    rest = {key: value for key, value in node.items() if key not in NODE_TEXTS | {"input"}}
    return {**rest, "inputs": _inputs_of(node["input"])}


def _inputs_of(groups: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "group": group, "type": declared[0], **_kept_options(_options_of(declared))}
        for group, inputs in groups.items()
        for name, declared in inputs.items()
    ]


def _kept_options(options: Mapping[str, Any]) -> dict[str, Any]:
    kept_options = {key: value for key, value in options.items() if key not in INPUT_TEXTS}
    listed = kept_options.get("options")
    if listed and isinstance(listed[0], dict):  # a dynamic combo: each choice brings inputs
        kept_options["options"] = [
            {**choice, "inputs": _inputs_of(choice["inputs"])} for choice in listed
        ]
    return kept_options


def different(old: Any, new: Any, path: str) -> Iterator[str]:
    """Say in which places two values of JSON differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            if key in old and key in new:
                yield from different(old[key], new[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is only in {'OLD' if key in old else 'NEW'}"
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from different(one, other, f"{path}[{index}]")
    elif type(old) is not type(new) or old != new:
        yield f"{path}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."


def compare_jobs(old: Visit, new: Visit) -> Iterator[Row]:
    """Compare prompt and images of each job; what only NEW has is shown and is not a difference."""
    for key in [*old.jobs, *(key for key in new.jobs if key not in old.jobs)]:
        kind, name = key
        if key not in new.jobs:
            yield Row(kind, name, "-", "-", "", ("it is only in OLD",))
        elif key not in old.jobs:
            yield Row(kind, name, "new", "new", new.jobs[key].covers, ())
        else:
            yield compare_job(old, new, key)


def compare_job(old: Visit, new: Visit, key: tuple[str, str]) -> Row:
    """Compare one job's prompts without titles, what NEW makes of OLD's file, and the arrays."""
    before, after = old.jobs[key], new.jobs[key]
    prompts = [*different(_untitled(before.prompt), _untitled(after.prompt), "prompt")]
    if before.graph is not None:
        again = _untitled(workflow.to_prompt(before.graph, new.info))
        prompts += different(_untitled(before.prompt), again, "prompt of OLD's file in NEW")
    images, arrays = compare_outcomes(old.outcomes[key], new.outcomes[key])
    if before.kind != SINGLE and images == "both fail":
        arrays = [f"it fails in both: {new.outcomes[key].message}"]
    prompt = "differs" if prompts else "equal"
    return Row(before.kind, before.name, prompt, images, after.covers, (*prompts, *arrays))


def _untitled(prompt: Mapping[str, Any]) -> dict[str, Any]:
    return {
        node: {key: value for key, value in words.items() if key != "_meta"}
        for node, words in prompt.items()
    }


def compare_outcomes(old: Outcome, new: Outcome) -> tuple[str, list[str]]:
    """Return a word for the table, and what differs."""
    if old.failure or new.failure:
        if old.failure == new.failure:
            return "both fail", []
        sides = {"OLD": old, "NEW": new}
        return "differ", [f"{name} fails: {o.message}" for name, o in sides.items() if o.failure]
    differences = [
        f"{name} is only in {'OLD' if name in old.arrays else 'NEW'}"
        for name in sorted(old.arrays.keys() ^ new.arrays.keys())
    ]
    shared = [name for name in old.arrays if name in new.arrays]
    differences += [
        f"{name}: {words}"
        for name in shared
        if (words := compare_arrays(old.arrays[name], new.arrays[name]))
    ]
    if not shared:
        differences.append("it gave no image at all")
    return ("differ" if differences else f"{len(shared)} equal"), differences


def compare_arrays(old: np.ndarray, new: np.ndarray) -> str:
    """Return what differs between two arrays, or nothing where every bit is equal."""
    import numpy as np

    if old.shape != new.shape or old.dtype != new.dtype:
        return f"{old.dtype} {old.shape} → {new.dtype} {new.shape}"
    if old.tobytes() == new.tobytes():
        return ""
    gap = np.abs(old.astype(np.float64) - new.astype(np.float64))
    return f"{np.count_nonzero(gap)} of {gap.size} values differ, by at most {gap.max():g}"


if __name__ == "__main__":
    sys.exit(main())
