"""Check that the benchmarks' sections are there and match the pack, without running ComfyUI."""

from __future__ import annotations

import ast
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"
SECTIONS = runpy.run_path(str(FOLDER / "__main__.py"), run_name="benchmarks_table")["SECTIONS"]
NAMES = (
    "preprocess",
    "pose",
    "references",
    "memory",
    "depth",
    "steps",
    "report",
    "training",
    "clips",
    "world",
)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def defined(path: Path) -> set[str]:
    """Return the names that a module defines or imports at its top level."""
    names = set()
    for node in parsed(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            stored = [name for target in targets for name in ast.walk(target)]
            names |= {name.id for name in stored if isinstance(name, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def pack_imports() -> Iterator[tuple[str, str]]:
    """Yield (module, name) of every `from pack.… import …` in the benchmarks."""
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pack."):
                yield from ((node.module or "", alias.name) for alias in node.names)


def constant(path: Path, name: str) -> tuple[str, ...]:
    """Return the literal that a module assigns to `name`."""
    for node in parsed(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path.name} does not assign {name}")


def test_sections_keep_their_names():
    assert tuple(SECTIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_section_has_a_module_that_can_run(name):
    path = FOLDER / f"{SECTIONS[name].module}.py"
    assert path.is_file()
    (run,) = [
        node
        for node in parsed(path).body
        if isinstance(node, ast.FunctionDef) and node.name == "run"
    ]
    assert [argument.arg for argument in run.args.args] == ["args"]
    assert SECTIONS[name].description


def test_every_module_that_can_run_is_a_section():
    runnable = {path.stem for path in FOLDER.glob("[!_]*.py") if "run" in defined(path)}
    assert runnable == {section.module for section in SECTIONS.values()}


@pytest.mark.parametrize(("module", "name"), sorted(set(pack_imports())))
def test_what_the_benchmarks_import_from_the_pack_exists(module, name):
    place = ROOT.joinpath(*module.split(".")[1:])
    if place.is_dir():
        submodule = (place / f"{name}.py").is_file() or (place / name / "__init__.py").is_file()
        assert submodule or name in defined(place / "__init__.py")
    else:
        assert name in defined(place.with_suffix(".py"))


def methods_of(path: Path, name: str) -> set[str]:
    """Return the methods of a class."""
    (body,) = [
        node.body
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and node.name == name
    ]
    return {method.name for method in body if isinstance(method, ast.FunctionDef)}


def test_timed_parts_of_the_journal_exist():
    report, timed = ROOT / "control" / "report", FOLDER / "report_cost.py"
    blocks = report / "model_blocks.py"
    assert {*constant(timed, "PATCHES"), "Recorder"} <= defined(blocks)
    assert set(constant(timed, "METHODS")) <= methods_of(report / "journal.py", "Journal")
    assert {*constant(timed, "INSIDE"), "around"} <= methods_of(report / "inside.py", "Inside")
