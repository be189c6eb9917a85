"""`python3 tests/recipes.py [RECIPE ...]`: follow CONTRIBUTING's recipes on a copy of the tree.

Each recipe is followed to the letter: it may touch so many files and no more, and the tests pass.
Then it is followed again with one step left out, once for each step: a test must fail and say which
step is missing. `--suite` runs all of `python3 tests` where the whole recipe was followed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ACCEPT = "python3 tests --accept"
INSIDE = "CONTROLSTACK_RECIPE"  # set where tests run in a copy that follows a recipe already
PYTEST = (sys.executable, "-m", "pytest", "--no-header", "-m", "not slow or quick")
RUFF = (sys.executable, "-m", "ruff")
NODE = ("node", "--test", "tests/js/grammar.test.mjs")


@dataclass(frozen=True)
class Step:
    """One step of a recipe: `edit` changes the text of `file` ("" where it is new).

    `reminder` are words of the message that a contributor gets who leaves the step out.
    """

    file: str
    edit: Callable[[str], str]
    reminder: str

    def follow(self, tree: Path) -> None:
        """Take the step in a copy of the tree."""
        path = tree / self.file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(self.edit(text), encoding="utf-8")


@dataclass(frozen=True)
class Recipe:
    """A recipe of CONTRIBUTING: `accepts` where its last step is `python3 tests --accept`.

    `removed`: where its example stands in the tree already, what is taken out of it first.
    `needs_host`: its tests run in ComfyUI.
    """

    steps: tuple[Step, ...]
    most_files: int
    tests: tuple[tuple[str, ...], ...]
    accepts: bool = False
    removed: tuple[tuple[str, str], ...] = ()
    needs_host: bool = False

    def take_out(self, tree: Path) -> None:
        """Take the example out of a copy of the tree. Raises AssertionError where it is not in."""
        for file, text in self.removed:
            path = tree / file
            start, example, end = path.read_text(encoding="utf-8").partition(text)
            assert example, f"CONTRIBUTING shows other lines than {file}:\n{text}"
            path.write_text(start + end, encoding="utf-8")
        _output(("git", "add", "-A"), tree)


def after(anchor: str, addition: str) -> Callable[[str], str]:
    """Put `addition` behind the first `anchor`, which must be there."""

    def edit(text: str) -> str:
        assert anchor in text, f"the recipe's anchor {anchor!r} is gone"
        return text.replace(anchor, anchor + addition, 1)

    return edit


def before(anchor: str, addition: str) -> Callable[[str], str]:
    """Put `addition` before the last `anchor`, which must be there."""

    def edit(text: str) -> str:
        start, middle, end = text.rpartition(anchor)
        assert middle, f"the recipe's anchor {anchor!r} is gone"
        return start + addition + middle + end

    return edit


def both(*edits: Callable[[str], str]) -> Callable[[str], str]:
    """Make several changes to one file."""

    def edit(text: str) -> str:
        for change in edits:
            text = change(text)
        return text

    return edit


def code(heading: str) -> list[str]:
    """Read the code blocks under a heading of CONTRIBUTING.md, without their indentation."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, below = page.partition(f"\n## {heading}\n")
    assert below, f"CONTRIBUTING.md has no heading {heading!r}"
    blocks = re.findall(
        r"^ +```\w+\n(.*?)^ +```$", below.split("\n## ")[0], re.MULTILINE | re.DOTALL
    )
    return [textwrap.dedent(block) for block in blocks]


def rows(block: str, depth: int) -> str:
    """Take the rows out of a block that shows them as a tuple, indented `depth` levels."""
    lines = block.strip().removeprefix("(").removesuffix(")").strip("\n")
    lines = lines if lines.endswith(",") else f"{lines},"
    return textwrap.indent(textwrap.dedent(lines), "    " * depth) + "\n"


def preprocessor() -> Recipe:
    """Read the recipe of a preprocessor."""
    function, row, help_page, test = code("A preprocessor")[:4]
    return Recipe(
        (
            Step(
                "preprocessors/scribble.py",
                both(
                    before("ROWS = (", f"{function}\n\n"),
                    before(")\n", rows(row, 1)),
                ),
                "add the row of ControlStackBinary to its file in preprocessors/",
            ),
            Step("js/docs/ControlStackBinary.md", lambda _: help_page, "ControlStackBinary.md"),
            Step(
                "tests/unit/test_edges_and_scribbles.py",
                lambda text: f"{text}\n\n{test}",
                "add a test of scribble.binary to a file of tests/unit",
            ),
        ),
        most_files=4,
        tests=(
            (*RUFF, "check", "."),
            (*RUFF, "format", "--check", "."),
            (
                *PYTEST,
                "tests/unit/test_preprocessors.py",
                "tests/unit/test_edges_and_scribbles.py",
                "tests/unit/test_repository.py",
            ),
            (*PYTEST, "tests/http/test_pack.py"),
        ),
        accepts=True,
    )


def layers_profile() -> Recipe:
    """Read the recipe of a layers profile."""
    functions, row, script_row, script, cases, line = code("A layers profile")
    return Recipe(
        (
            Step(
                "control/layers.py",
                both(
                    before("PROFILES: dict[str, Profile] = {", f"{functions}\n\n"),
                    before("    )\n}\nEXAMPLES", rows(row, 2)),
                ),
                "a row in Python for ['peak']",
            ),
            Step(
                "js/lib/layers.js",
                both(
                    before("};\n\n// Reads a profile", textwrap.indent(script_row, "  ")),
                    lambda text: f"{text}\n{script}",
                ),
                "js/lib/layers.js: a row is needed",
            ),
            Step(
                "tests/fixtures/grammar.json",
                before('\n],\n"union_names"', f",\n{textwrap.indent(cases.rstrip(), '  ')}"),
                "tests/fixtures/grammar.json",
            ),
            Step(
                "js/docs/ControlStackAdd.md",
                before("- `resolution`: ", line),
                "js/docs/ControlStackAdd.md",
            ),
        ),
        most_files=4,
        tests=(
            (*RUFF, "check", "control"),
            (*PYTEST, "tests/unit/test_schedule_and_layers.py"),
            NODE,
        ),
    )


def family() -> Recipe:
    """Read the recipe of a ControlNet family."""
    rule, case, article = code("A ControlNet family")
    return Recipe(
        (
            Step(
                "files/families.py",
                after("RULES: tuple[Rule, ...] = (\n", rows(rule, 1)),
                "add a rule to RULES in files/families.py",
            ),
            Step(
                "tests/unit/test_families.py",
                both(
                    after("CASES = [\n", rows(case, 1)),
                    after('ARTICLES = {\n    "an": (\n', rows(article, 2)),
                ),
                "tests/unit/test_families.py",
            ),
        ),
        most_files=2,
        tests=((*RUFF, "check", "files"), (*PYTEST, "tests/unit/test_families.py")),
    )


def model_patch() -> Recipe:
    """Read the recipe of a model patch, whose example stands in the tree."""
    function, row, net, tiny = code("A model patch")
    engine, bench = "control/patches.py", "workbench/tiny_patches.py"
    functions = f"{function.rstrip()}\n\n\n"
    nets = [f"{part.strip()}\n\n\n" for part in net.split("\n\n\n")]
    entry, tiny_entry = (textwrap.indent(block.rstrip(), "    ") + "\n" for block in (row, tiny))
    host_tests = tuple(
        (
            sys.executable,
            "-m",
            "pytest",
            "--no-header",
            f"tests/host/control/{file}.py",
            "-k",
            words,
        )
        for file, words in (
            ("test_units", "test_every_model_patch"),
            ("test_model_patches", "a_tiny_net or (Uni3C and (plain or layers or cond_only))"),
        )
    )
    return Recipe(
        (
            Step(
                engine,
                both(
                    before("PATCHES: Mapping[str, Patch] = {", functions),
                    before("}\nFAMILIES = ", entry),
                ),
                "add a row to PATCHES",
            ),
            Step(
                bench,
                both(
                    before("BASES: dict[str", "".join(nets)),
                    lambda text: text.rstrip().removesuffix("}") + tiny_entry + "}\n",
                ),
                "add a tiny net to PATCHES of workbench/tiny_patches.py",
            ),
        ),
        most_files=2,
        tests=((*RUFF, "check", "control", "workbench"), *host_tests),
        removed=(
            (engine, functions),
            (engine, entry),
            *((bench, part) for part in nets),
            (bench, tiny_entry),
        ),
        needs_host=True,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "preprocessor": preprocessor,
    "layers profile": layers_profile,
    "family": family,
    "model patch": model_patch,
}


@contextmanager
def copied() -> Iterator[Path]:
    """Copy the tree as git sees it into a repository of its own."""
    words = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    with tempfile.TemporaryDirectory(prefix="controlstack-") as folder:
        tree = Path(folder) / "controlstack"
        for name in dict.fromkeys(_output(words, ROOT).splitlines()):
            if (ROOT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, tree / name)
        _output(("git", "init", "-q"), tree)
        _output(("git", "add", "-A"), tree)
        yield tree


def follow(recipe: Recipe, tree: Path, left_out: Step | None = None, *, accept: bool) -> list[str]:
    """Follow a recipe in `tree`, but for one step; return the files that it touched."""
    for step in recipe.steps:
        if step is not left_out:
            step.follow(tree)
    if recipe.accepts and accept:
        _output((sys.executable, "tests", "--accept"), tree)
    status = _output(("git", "status", "--porcelain", "--untracked-files=all"), tree)
    changed = [line for line in status.splitlines() if line[1] in "M?"]
    return [line[3:] for line in changed if not line.startswith("??") or _is_new(line[3:], tree)]


def _is_new(name: str, tree: Path) -> bool:
    return "__pycache__" not in name and (tree / name).is_file()


def _output(words: Iterable[str], folder: Path) -> str:
    ended = subprocess.run(
        tuple(words), cwd=folder, env=_surroundings(), capture_output=True, text=True
    )
    assert ended.returncode == 0, f"{' '.join(words)} failed:\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def _surroundings() -> dict[str, str]:
    # The copy has no environment of its own, and needs none.
    venv = os.environ.get("CONTROLSTACK_VENV", str(Path(sys.prefix)))
    more = {"CONTROLSTACK_VENV": venv, "PYTHONDONTWRITEBYTECODE": "1", INSIDE: "1"}
    return {**os.environ, **more}


def failure(recipe: Recipe, tree: Path, *, suite: bool = False) -> str:
    """Run the recipe's tests in `tree`; return what the first that failed printed, "" if none."""
    commands = ((sys.executable, "tests"),) if suite else recipe.tests
    for words in commands:
        ended = subprocess.run(words, cwd=tree, env=_surroundings(), capture_output=True, text=True)
        if ended.returncode:
            return ended.stdout + ended.stderr
    return ""


def check(name: str, *, suite: bool = False) -> None:
    """Follow a recipe wholly, then with each step left out. Raises AssertionError with a reason."""
    recipe = RECIPES[name]()
    with copied() as tree:
        recipe.take_out(tree)
        touched = follow(recipe, tree, accept=True)
        assert len(touched) <= recipe.most_files, f"{name} touches {touched}"
        printed = failure(recipe, tree, suite=suite)
        assert not printed, f"{name}: followed to the letter, but the tests fail:\n{printed}"
        print(f"{name}: {len(touched)} files ({', '.join(touched)}); the tests pass", flush=True)
    for step in recipe.steps:
        with copied() as tree:
            recipe.take_out(tree)
            follow(recipe, tree, step, accept=True)
            _check_reminder(name, step.file, step.reminder, failure(recipe, tree))
    if recipe.accepts:
        with copied() as tree:
            follow(recipe, tree, accept=False)
            _check_reminder(name, ACCEPT, ACCEPT, failure(recipe, tree))


def _check_reminder(name: str, step: str, reminder: str, printed: str) -> None:
    assert printed, f"{name}: without {step} no test fails"
    lines = [line for line in printed.splitlines() if reminder in line and line.startswith("E ")]
    lines = lines or [line.strip() for line in printed.splitlines() if reminder in line]
    assert lines, f"{name}: without {step} no message names {reminder!r}:\n{printed[-3000:]}"
    print(f"{name}: without {step} a test says: {lines[0][:160]}", flush=True)


def main() -> None:
    """Check the recipes that are named, or all."""
    parser = argparse.ArgumentParser("python3 tests/recipes.py", description=__doc__)
    parser.add_argument("recipes", nargs="*", choices=[[], *RECIPES], metavar="RECIPE")
    parser.add_argument("--suite", action="store_true", help="run all of `python3 tests` once")
    options = parser.parse_args()
    for name in options.recipes or RECIPES:
        check(name, suite=options.suite)


if __name__ == "__main__":
    main()
