"""Write THIRD_PARTY.md: `python3 workbench/third_party.py --write`.

The page is made from the catalogue's rows (`Weights`: file, repository, licence) and from the
header of each network's module. A header names its sources in this form, in any order:

    Paper: authors, "Title", venue and year. Upstream: owner/name (licence). Weights: owner/name.

What is not a network is listed in `METHODS` below.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "THIRD_PARTY.md"
COMMAND = "python3 workbench/third_party.py --write"

LABELS = "Papers?|Upstream|Weights|Keys|Input|Source"
FORMS = {
    # until the next label: a paper's text has full stops in it
    "Papers?": rf"\bPapers?:\s(.+?)(?=\s(?:{LABELS})\b[: ]|\n\n|\Z)",
    "Upstream": r"\bUpstream:\s(.+?\.)(?=\s|\Z)",  # one sentence
}

METHODS: tuple[tuple[str, str, str], ...] = (  # what, where it is used, source
    (
        "ControlNet",
        "`control/`, `training/`",
        'L. Zhang, A. Rao, M. Agrawala, "Adding Conditional Control to Text-to-Image Diffusion'
        ' Models", ICCV 2023; guess mode and hint formats of lllyasviel/ControlNet',
    ),
    (
        "Modes `prompt` and `control`, soft weights of T2I-Adapters",
        "`control/`",
        "equal in effect to Mikubill/sd-webui-controlnet (MIT)",
    ),
    (
        "Union ControlNets",
        "`control/unions.py`",
        "Q. Xin, ControlNet++, xinsir6/ControlNetPlus; layout of diffusers' `ControlNetUnionModel`",
    ),
    (
        "Canny edges",
        "`preprocessors/edges.py`",
        'J. Canny, "A Computational Approach to Edge Detection", 1986, as in OpenCV',
    ),
    (
        "XDoG strokes",
        "`preprocessors/scribble.py`",
        'H. Winnemöller, "XDoG: Advanced Image Stylization with eXtended'
        ' Difference-of-Gaussians", 2011',
    ),
    (
        "Line segments without a network (`lsd`)",
        "`preprocessors/lines.py`",
        'R. G. von Gioi et al., "LSD: a Line Segment Detector", 2012, as in OpenCV',
    ),
    (
        "Classes and colours of ADE20K",
        "`preprocessors/palettes.py`",
        "B. Zhou et al., 2017, in the colours of ControlNet's own annotator",
    ),
    (
        "Classes and colours of COCO",
        "`preprocessors/palettes.py`",
        "A. Kirillov et al., 2019 (panoptic task)",
    ),
)
LIBRARIES: tuple[tuple[str, str, str], ...] = (  # package, licence, who installs it
    ("ComfyUI", "GPL-3.0", "you; this pack runs in it"),
    ("opencv-python", "Apache-2.0 (OpenCV), MIT (its packaging)", "`requirements.txt`"),
    ("torch, numpy, Pillow, safetensors, transformers, huggingface_hub", "their own", "ComfyUI"),
    ("onnxruntime", "MIT", "you, for the engine `dwpose_onnx` only"),
)

INTRODUCTION = f"""\
# Third-party work

<!-- Generated from preprocessors/ by: {COMMAND} -->

The networks, methods and files below are the work of their authors. The pack includes no weights:
they are downloaded on first use, from the repositories named here. A licence that restricts use
(in **bold**) is shown before the download.
"""


@dataclass
class Network:
    """A network's module with the files that fill it, and the nodes that use each file."""

    module: str
    title: str
    header: str
    files: dict[str, tuple[Any, set[str]]] = field(default_factory=dict)


def page() -> str:
    """Return the whole page. The pack must be loaded under the name `pack`."""
    from pack.preprocessors import CATALOGUE

    sections = [section(network) for network in networks(CATALOGUE)]
    methods = table(("method", "used in", "source"), METHODS)
    libraries = table(("package", "licence", "installed by"), LIBRARIES)
    return "\n".join(
        [
            INTRODUCTION,
            "## Networks and weights\n",
            *sections,
            f"## Methods and data\n\n{methods}",
            f"## Libraries\n\n{libraries}",
        ]
    )


def networks(catalogue: Iterable[Any]) -> list[Network]:
    """Collect the networks of the catalogue's rows, by the name of their module."""
    by_module: dict[str, Network] = {}
    for row in catalogue:
        for engine, weights in row.weights.items():
            for file in with_companions(weights):
                network = by_module.setdefault(module_of(file), described(module_of(file)))
                network.files.setdefault(file.file, (file, set()))[1].add(f"{row.title}: {engine}")
    for row in catalogue:
        for file in files_beside(row):
            network = by_module.setdefault(module_of(file), described(module_of(file)))
            network.files.setdefault(file.file, (file, {row.title}))
    return sorted(by_module.values(), key=lambda network: network.module)


def files_beside(row: Any) -> list[Any]:
    """List the files in the module of a row's function: an engine may have one per setting."""
    from pack.preprocessors.spec import Weights

    module = sys.modules[row.run.__module__]
    return [value for value in vars(module).values() if isinstance(value, Weights)]


def with_companions(weights: Any) -> Iterator[Any]:
    """List a file and those that its engine runs with it."""
    yield weights
    for companion in weights.beside:
        yield from with_companions(companion)


def module_of(weights: Any) -> str:
    """Return the name of the module that defines the network of a file."""
    maker = weights.module
    while isinstance(maker, partial):
        maker = maker.func
    return maker.__module__


def described(module: str) -> Network:
    """Read a network's header: its first line is the title."""
    title, _, header = (inspect.getdoc(sys.modules[module]) or "").partition("\n")
    return Network(module.rpartition(".")[2], title.strip().rstrip("."), header)


def labelled(header: str, label: str) -> str:
    """Return the text after a label of a header in one line, or ''."""
    match = re.search(FORMS[label], header, re.DOTALL)
    return " ".join(match[1].split()) if match else ""


def section(network: Network) -> str:
    """Write what is known of one network, as Markdown."""
    lines = [f"### {network.title}", ""]
    for name, label in (("Paper", "Papers?"), ("Upstream", "Upstream")):
        text = labelled(network.header, label)
        lines.append(f"- {name}: {text or f'see `preprocessors/nets/{network.module}.py`'}")
    rows = (
        (
            f"`{weights.file}`",
            f"[{weights.repo}](https://huggingface.co/{weights.repo})",
            f"**{weights.licence}**" if weights.restricted else weights.licence,
            ", ".join(sorted(uses)),
        )
        for weights, uses in (network.files[file] for file in sorted(network.files))
    )
    lines += ["", table(("file", "repository", "licence of the weights", "used by"), rows)]
    return "\n".join(lines)


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Write a Markdown table."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def load(name: str, folder: Path) -> ModuleType:
    """Import the package in `folder` under `name`; the repository's root stays off sys.path."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Print the page, or write THIRD_PARTY.md."""
    parser = argparse.ArgumentParser("python3 workbench/third_party.py", description=main.__doc__)
    parser.add_argument("--write", action="store_true", help="write THIRD_PARTY.md")
    options = parser.parse_args()
    load("workbench", ROOT / "workbench")
    from workbench import environment

    environment.enter("workbench/third_party.py")
    load("pack", ROOT)
    if options.write:
        PAGE.write_text(page(), encoding="utf-8")
        print(f"wrote {PAGE.name}")
    else:
        print(page())


if __name__ == "__main__":
    main()
