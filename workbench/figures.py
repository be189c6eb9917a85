"""`python3 workbench/figures.py [TREE ...]`: measure the code of checkouts, side by side.

`--list FIGURE` prints the places behind a figure, so that they can be cured. The limits that the
project keeps are asserted in `tests/unit/test_figures.py`.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("preprocessors", "files", "control", "host", "nodes", "training")
WIDTH = 100
RIDDLES = ("found", "made", "told", "said", "known", "kept")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
UNAVOIDABLE = {"__init__.py", "__main__.py", "conftest.py"}
IS_NO = re.compile(r"(?<!here )\b(is|are) no\b(?! longer| more than)")
JS_LOCAL = re.compile(rf"\b(?:const|let|var)\s+({'|'.join(RIDDLES)})\b")
NOTES = ("Note", "MarkdownNote")


@dataclass(frozen=True)
class Place:
    """Where something stands: a file of the tree, its line, and what is there."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Source:
    """A Python file of a tree."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @property
    def is_product(self) -> bool:
        """Whether it ships as part of the pack."""
        return self.name == "__init__.py" or self.name.split("/")[0] in PRODUCT

    @property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method, nested ones too."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        return [node for node in ast.walk(self.tree) if isinstance(node, kinds)]


@dataclass(frozen=True)
class Tree:
    """A checkout."""

    path: Path

    @cached_property
    def files(self) -> list[str]:
        """Names of its files that git knows or would add."""
        words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listing = subprocess.run(words, cwd=self.path, capture_output=True, text=True, check=True)
        names = dict.fromkeys(listing.stdout.splitlines())
        return [name for name in names if (self.path / name).is_file()]

    @cached_property
    def python(self) -> list[Source]:
        """Its Python files."""
        return [Source(name, self.read(name)) for name in self.files if name.endswith(".py")]

    @property
    def product(self) -> list[Source]:
        """Its Python files that ship."""
        return [source for source in self.python if source.is_product]

    @property
    def scripts(self) -> list[str]:
        """Names of its JavaScript files."""
        return [name for name in self.files if name.endswith((".js", ".mjs"))]

    def read(self, name: str) -> str:
        """Read a file as text."""
        return (self.path / name).read_text(encoding="utf-8")

    def lines(self, names: Iterable[str]) -> Iterator[Place]:
        """Go through the lines of files."""
        for name in names:
            for number, text in enumerate(self.read(name).splitlines(), 1):
                yield Place(name, number, text)


# -- figures -------------------------------------------------------------------------------------


def lengths(tree: Tree) -> list[Place]:
    """List the product's functions, longest first; the text begins with the lines of the body."""
    measured = [
        (_body_lines(function), source.name, function)
        for source in tree.product
        for function in source.functions
    ]
    measured.sort(key=lambda entry: (-entry[0], entry[1]))
    return [Place(name, f.lineno, f"{count} lines: {f.name}") for count, name, f in measured]


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def wide_lines(tree: Tree) -> list[Place]:
    """List code lines, comments and docstrings that are too wide."""
    names = [source.name for source in tree.python] + tree.scripts
    return [place for place in tree.lines(names) if len(place.text) > WIDTH]


def nested(tree: Tree) -> list[Place]:
    """List the product's comprehensions in comprehensions and ternaries in ternaries."""
    places: list[Place] = []
    for source in tree.product:
        for node in ast.walk(source.tree):
            kinds = COMPREHENSIONS if isinstance(node, COMPREHENSIONS) else ast.IfExp
            if isinstance(node, (*COMPREHENSIONS, ast.IfExp)) and _holds(node, kinds):
                places.append(_place(source, node))
    return places


def _holds(node: ast.AST, kinds: type | tuple[type, ...]) -> bool:
    inner = (child for child in ast.walk(node) if child is not node)
    return any(isinstance(child, kinds) for child in inner)


def _place(source: Source, node: ast.expr | ast.stmt) -> Place:
    return Place(source.name, node.lineno, source.text.splitlines()[node.lineno - 1].strip())


def unverbed(tree: Tree) -> list[Place]:
    """List docstrings that do not begin with a verb in the imperative, as ruff's D401 sees them."""
    words = [sys.executable, "-m", "ruff", "check", ".", "--isolated", "--select", "D401"]
    words += ["--output-format", "json", "--exit-zero"]
    report = subprocess.run(words, cwd=tree.path, capture_output=True, text=True, check=True)
    return [
        Place(_relative(tree, entry["filename"]), entry["location"]["row"], entry["message"])
        for entry in json.loads(report.stdout)
    ]


def _relative(tree: Tree, file: str) -> str:
    return Path(file).resolve().relative_to(tree.path.resolve()).as_posix()


def riddles(tree: Tree) -> list[Place]:
    """List locals and parameters whose names do not say what they hold."""
    places = [
        Place(source.name, node.lineno, name)
        for source in tree.python
        for node, name in _bound(source.tree)
        if name in RIDDLES
    ]
    for place in tree.lines(tree.scripts):
        places += [Place(place.file, place.line, name) for name in JS_LOCAL.findall(place.text)]
    return places


def _bound(tree: ast.Module) -> Iterator[tuple[ast.Name | ast.arg, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node, node.id
        elif isinstance(node, ast.arg):
            yield node, node.arg


def is_no(tree: Tree) -> list[Place]:
    """List sentences that say that X is (or are) "no" Y, where "is not a Y" is meant."""
    return [
        Place(place.file, place.line, place.text[:160])
        for place in _sentences(tree)
        if IS_NO.search(place.text)
    ]


def _sentences(tree: Tree) -> Iterator[Place]:
    for source in tree.python:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield Place(source.name, node.lineno, " ".join(node.value.split()))
        comments = (place for place in tree.lines([source.name]) if "#" in place.text)
        yield from (Place(c.file, c.line, c.text.partition("#")[2]) for c in comments)
    texts = [name for name in tree.files if name.endswith((".md", ".js", ".mjs"))]
    texts += [name for name in tree.files if name.startswith("locales/")]
    yield from tree.lines(texts)
    yield from _notes(tree)


def _notes(tree: Tree) -> Iterator[Place]:
    for name in tree.files:
        if re.fullmatch(r"example_workflows/[^/]+\.json", name):
            workflow = json.loads(tree.read(name))
            for node in workflow["nodes"] if isinstance(workflow, dict) else []:
                if node["type"] in NOTES:
                    yield Place(name, 1, " ".join(map(str, node["widgets_values"])))


def twins(tree: Tree) -> list[Place]:
    """List files that share their base name with another of the same language."""
    by_name: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for name in (source.name for source in tree.python):
        by_name[True, Path(name).name].append(name)
    for name in tree.scripts:
        by_name[False, Path(name).stem].append(name)
    groups = [names for (_, base), names in by_name.items() if base not in UNAVOIDABLE]
    return [Place(name, 1, " ".join(names)) for names in groups if len(names) > 1 for name in names]


def circles(tree: Tree) -> list[Place]:
    """List the product's modules that reach themselves over imports at module level."""
    modules = {_module(source.name): source for source in tree.product}
    arrows = {module: _imported(module, source, modules) for module, source in modules.items()}
    return [
        Place(source.name, 1, "imports itself over others")
        for module, source in modules.items()
        if module in _reached(module, arrows)
    ]


def _module(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(module: str, source: Source, modules: Iterable[str]) -> set[str]:
    package = module.split(".")
    if not source.name.endswith("__init__.py"):
        package = package[:-1]
    targets: set[str] = set()
    for node in source.tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - node.level + 1]
            base = [*above, *(node.module or "").split(".")] if node.module else above
            targets |= {".".join(base), *(".".join([*base, alias.name]) for alias in node.names)}
    own = {module} if source.name.endswith("__init__.py") else set[str]()
    return (targets & set(modules)) - own


def _reached(start: str, arrows: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(arrows[start])
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += arrows[module]
    return seen


# -- the table ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A row of the table: `places` are what it is computed from by `value`."""

    name: str
    places: Callable[[Tree], list[Place]]
    value: Callable[[Tree, list[Place]], float | str] = lambda _tree, places: len(places)


def _counts(places: list[Place]) -> list[int]:
    return [int(place.text.split()[0]) for place in places]


def _distribution(_tree: Tree, places: list[Place]) -> str:
    counts = sorted(_counts(places))
    return f"{statistics.median(counts):g} / {counts[int(0.9 * len(counts))]} / {counts[-1]}"


def _per_100_functions(tree: Tree, places: list[Place]) -> float:
    return round(100 * len(places) / len(lengths(tree)), 1)


def _longest_file(tree: Tree) -> list[Place]:
    sized = sorted((-source.text.count("\n"), source.name) for source in tree.python)
    return [Place(name, 1, f"{-lines} lines") for lines, name in sized]


FIGURES = (
    Figure("functions", lengths),
    Figure("lines of a function: median / p90 / max", lengths, _distribution),
    Figure("lines over 100 columns", wide_lines),
    Figure("nested comprehensions or ternaries per 100 functions", nested, _per_100_functions),
    Figure("D401", unverbed),
    Figure("locals named found, made, told, said, known, kept", riddles),
    Figure("sentences with 'is' and then 'no'", is_no),
    Figure("files that share a base name", twins),
    Figure("modules in import circles", circles),
    Figure("lines of the longest file", _longest_file, lambda _tree, p: _counts(p)[0]),
)


def measure(path: Path) -> dict[str, float | str]:
    """Compute every figure of a checkout."""
    tree = Tree(path)
    return {figure.name: figure.value(tree, figure.places(tree)) for figure in FIGURES}


def main() -> None:
    """Print the table, or the places of one figure."""
    parser = argparse.ArgumentParser("python3 workbench/figures.py", description=__doc__)
    parser.add_argument("trees", nargs="*", type=Path, default=[ROOT], metavar="TREE")
    parser.add_argument("--list", dest="listed", metavar="FIGURE", help="the beginning of a name")
    options = parser.parse_args()
    if options.listed:
        figures = (figure for figure in FIGURES if figure.name.startswith(options.listed))
        for place in (
            place for figure in figures for place in figure.places(Tree(options.trees[0]))
        ):
            print(place)
        return
    columns = [measure(path) for path in options.trees]
    print(f"{'':54}", *(f"{path.resolve().name:>14}" for path in options.trees))
    for figure in FIGURES:
        print(f"{figure.name:54}", *(f"{column[figure.name]:>14}" for column in columns))


if __name__ == "__main__":
    main()
