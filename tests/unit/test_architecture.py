"""Check house rules that a linter cannot: which room imports which, and how long files are."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACK = ("preprocessors", "files", "control", "host", "nodes", "training")
ROOMS = (*PACK, "workbench", "tests", "demo", "benchmarks", "annotate")
HOST = {
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfy_extras",
    "folder_paths",
    "nodes",
    "server",
    "execution",
}
MEET_THE_SAMPLER = ("net_info", "adapter", "hint_cache", "attach", "checks", "patches", "flux2_fun")
MAY_IMPORT_HOST = (
    "nodes/",
    "host/",
    "training/",
    *(f"control/{file}.py" for file in MEET_THE_SAMPLER),
)
BELOW = {
    "__init__.py": {"nodes"},
    "preprocessors": set(),
    "files": set(),
    "control": {"files"},
    "training": {"preprocessors", "files", "control", "host"},
    "host": {"preprocessors", "files", "control"},
    "nodes": {"preprocessors", "files", "control", "host", "training"},
    "annotate": {"preprocessors", "files", "host", "training"},
}
WITHOUT_HOST = {
    f"host/{name}.py"
    for name in (
        "addresses",
        "atomic",
        "downloads",
        "folders",
        "locks",
        "memory",
        "pickles",
        "picture_files",
        "streams",
        "weight_files",
    )
}
LAZY = {"cv2", "transformers", "huggingface_hub", "pyarrow", "ray"}
FUNCTION_LINES, FILE_LINES = 30, 600


def sources(*rooms: str) -> list[Path]:
    return [
        ROOT / "__init__.py",
        *(p for room in rooms for p in sorted((ROOT / room).rglob("*.py"))),
    ]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def every(paths: list[Path]):
    return pytest.mark.parametrize("path", paths, ids=name)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield what a file imports.

    ("room", name) for each of our folders, ("outside", name) for each other module.
    """
    folder = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (("outside", alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield "outside", (node.module or "").partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1]
            named = (node.module or "").split(".") if node.module else []
            for alias in node.names:
                whole = (*above, *named, alias.name)
                yield "room", whole[0]


@every(sources(*PACK, "annotate"))
def test_rooms_import_only_what_lies_below_them(path):
    seen = set(imports(path, parsed(path)))
    rooms = {imported for kind, imported in seen if kind == "room" and imported in ROOMS}
    assert rooms <= {room_of(path)} | BELOW[room_of(path)]
    outside = {imported for kind, imported in seen if kind == "outside"}
    assert not outside & set(ROOMS) - HOST, (
        "a room of ours is imported relatively; by name it is another project's"
    )
    assert not outside & {"torchvision", "onnxruntime", "mediapipe", "timm", "matplotlib"}
    if name(path) in WITHOUT_HOST or not name(path).startswith(MAY_IMPORT_HOST):
        assert not outside & HOST
    if room_of(path) == "files":
        assert outside <= sys.stdlib_module_names, "files/ needs the standard library only"


@every(sources(*PACK, "annotate"))
def test_heavy_libraries_are_imported_where_they_are_used(path):
    module = parsed(path)
    at_import = [
        node for node in module.body if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    top = {
        imported
        for node in at_import
        if not isinstance(node, ast.ClassDef)
        for _, imported in imports(path, node)
    }
    assert not top & LAZY


@every(sources(*ROOMS))
def test_no_wildcard_no_bare_except_no_giant_file(path):
    for node in ast.walk(parsed(path)):
        assert not (isinstance(node, ast.ImportFrom) and node.names[0].name == "*"), (
            f"line {node.lineno}"
        )
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), (
            f"line {node.lineno}"
        )
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES


def test_functions_are_short():
    lengths = {
        f"{name(path)}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in sources(*PACK, "workbench")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    long = {function: lines for function, lines in lengths.items() if lines > FUNCTION_LINES}
    assert len(long) <= 0.1 * len(lengths), (
        f"more than a tenth are over {FUNCTION_LINES} lines: {long}"
    )


def test_the_root_is_not_on_the_path():
    assert ROOT not in {Path(entry or ".").resolve() for entry in sys.path}, (
        "our nodes/ would shadow the host's nodes"
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from ..control import stack", ("room", "control")),
        ("from .. import control", ("room", "control")),
        ("from . import runtime", ("room", "nodes")),
        ("import comfy.utils", ("outside", "comfy")),
        ("def f():\n    from comfy.utils import load", ("outside", "comfy")),
    ],
)
def test_imports_of_every_form_are_seen(source, expected):
    assert expected in set(imports(ROOT / "nodes" / "preprocess.py", ast.parse(source)))
