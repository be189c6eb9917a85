"""Check that `python3 tests --quick` runs at least one case of every unit and host test file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FILES = sorted(file for folder in ("unit", "host") for file in (TESTS / folder).rglob("test_*.py"))


def has_mark(node: ast.AST, mark: str) -> bool:
    return any(ast.unparse(part) == f"pytest.mark.{mark}" for part in ast.walk(node))


def is_decorated(test: ast.FunctionDef, mark: str) -> bool:
    return any(ast.unparse(decorator) == f"pytest.mark.{mark}" for decorator in test.decorator_list)


def quick_cases(module: ast.Module) -> list[str]:
    """Return the tests that `-m "quick or not slow"` selects; marks of single parameters aside."""
    assigned = [node for node in module.body if isinstance(node, ast.Assign)]
    is_slow = any(
        ast.unparse(node.targets[0]) == "pytestmark" and has_mark(node.value, "slow")
        for node in assigned
    )
    tests = [
        node
        for node in module.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    return [
        test.name
        for test in tests
        if is_decorated(test, "quick") or not (is_slow or is_decorated(test, "slow"))
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(TESTS).as_posix())
def test_every_file_has_a_quick_case(file):
    assert quick_cases(ast.parse(file.read_text(encoding="utf-8"))), (
        f"--quick runs nothing of {file.name}: mark its fastest case with @pytest.mark.quick"
    )


SLOW_FILE = "pytestmark = pytest.mark.slow\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def test_a(): pass", ["test_a"]),
        ("@pytest.mark.slow\ndef test_a(): pass", []),
        (SLOW_FILE + "def test_a(): pass", []),
        (SLOW_FILE + "@pytest.mark.quick\ndef test_a(): pass\ndef test_b(): pass", ["test_a"]),
        ("pytestmark = [pytest.mark.slow]\ndef test_a(): pass", []),
    ],
)
def test_quick_cases_are_told_from_slow_ones(source, expected):
    assert quick_cases(ast.parse(source)) == expected
