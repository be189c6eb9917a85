"""`python3 tests/recipes.py [RECIPE ...]`: follow CONTRIBUTING's recipes on a copy of the tree.

Each recipe is followed to the letter: it may touch so many files and no more, and the tests pass.
Then it is followed again with one step left out, once for each step: a test must fail and say which
step is missing. `--suite` runs all of `python3 tests` where the whole recipe was followed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ACCEPT = "python3 tests --accept"
PYTEST = (sys.executable, "-m", "pytest", "-q", "-x", "--no-header")
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
    """A recipe of CONTRIBUTING: `accepts` where its last step is `python3 tests --accept`."""

    steps: tuple[Step, ...]
    most_files: int
    tests: tuple[tuple[str, ...], ...]
    accepts: bool = False


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


def _with_layers_case(text: str) -> str:
    cases = json.loads(text)
    weights = {"13": [0.5] * 13, "10": [0.5] * 10}
    case = {"text": "half", "to_text": "half", "kind": "half", "weights": weights}
    valid, refused = json.dumps(case), json.dumps({"text": "half 1", "error": True})
    assert cases["layers"]
    return text.replace('"layers": [\n', f'"layers": [\n  {valid},\n  {refused},\n', 1)


THRESHOLD = '''
def binary(
    image: Tensor,
    *,
    threshold: int = 127,
    resolution: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Split (B,H,W,C) in [0,1] into (B,h,w,3) in {0,1}: white where all channels are light.

    Light is above `threshold` (0-255), as `cv2.threshold` has it.
    """
    cv2 = opencv()

    def draw(frame: Frame8) -> Map:
        least = least_channel(frame)
        return cv2.threshold(least, threshold, 1, cv2.THRESH_BINARY)[1].astype(np.float32)

    return each_frame(image, draw, resolution=resolution, progress=progress)


'''
THRESHOLD_ROW = """
    Preprocessor(
        key="binary",
        node_id="ControlStackBinary",
        title="Binary Threshold",
        summary="Light parts of a picture in white, dark ones in black.",
        run=binary,
        params=(Param("threshold", 127, "What is lighter than this level (0-255) is white."),),
        aliases=("binary", "black and white"),
    ),"""
THRESHOLD_HELP = """# Binary Threshold

Turns a picture into black and white.

| input | |
|---|---|
| `image` | One picture or a batch of frames. |
| `threshold` | What is lighter than this level (0-255) is white. |
| `resolution` | Short side of the hint in pixels; 0 keeps the picture's size. |

Output: `hint`.
"""
THRESHOLD_TEST = """

def test_binary_is_opencvs_threshold_of_the_least_channel():
    picture = np.array([[[200, 130, 128], [200, 130, 127]]], np.uint8)
    image = torch.from_numpy(picture.astype(np.float32) / 255)[None]
    assert scribble.binary(image)[0, 0, :, 0].tolist() == [1, 0]
"""
HALF_ROW = '        Profile("half", "half", _read_nothing, _half, _joined(", ")),\n'
HALF = """def _half(_values: Values, count: int, _heights: Sequence[int]) -> Values:
    return (0.5,) * count


"""
HALF_SCRIPT = """
function half(_values, count) {
  return times(count, () => 0.5);
}
"""
FAMILY_RULE = (
    '    Rule("Example ControlNet", CONTROL, "Flux", keys=("example_hint_encoder.weight",)),\n'
)
FAMILY_CASE = (
    '    ("Example ControlNet", "Flux", "controlnet", {"example_hint_encoder.weight": ()}),\n'
)

RECIPES = {
    "preprocessor": Recipe(
        (
            Step(
                "preprocessors/scribble.py",
                both(before("ROWS = (", THRESHOLD.lstrip("\n")), after("ROWS = (", THRESHOLD_ROW)),
                "scribble",
            ),
            Step(
                "js/docs/ControlStackBinary.md", lambda _: THRESHOLD_HELP, "ControlStackBinary.md"
            ),
            Step("tests/unit/test_preprocessors.py", lambda text: text + THRESHOLD_TEST, "binary"),
        ),
        most_files=4,
        tests=(
            (*PYTEST, "tests/unit/test_preprocessors.py", "tests/unit/test_repository.py"),
            (*PYTEST, "tests/http/test_pack.py"),
        ),
        accepts=True,
    ),
    "layers profile": Recipe(
        (
            Step(
                "control/layers.py",
                both(
                    before("PROFILES: dict[str, Profile] = {", HALF),
                    before('        Profile("resolution"', HALF_ROW),
                ),
                "PROFILES in control/layers.py",
            ),
            Step(
                "js/lib/layers.js",
                both(
                    after(
                        "export const PROFILES = {\n",
                        '  half: { parse: readNothing, weights: half, toText: joined(", ") },\n',
                    ),
                    lambda text: text + HALF_SCRIPT,
                ),
                "js/lib/layers.js",
            ),
            Step("tests/fixtures/grammar.json", _with_layers_case, "tests/fixtures/grammar.json"),
            Step(
                "js/docs/ControlStackAdd.md",
                lambda text: text + "\n`half`: half as strong everywhere.\n",
                "js/docs/ControlStackAdd.md",
            ),
        ),
        most_files=4,
        tests=((*PYTEST, "tests/unit/test_schedule_and_layers.py"), NODE),
    ),
    "family": Recipe(
        (
            Step(
                "files/families.py",
                after("RULES: tuple[Rule, ...] = (\n", FAMILY_RULE),
                "files/families.py",
            ),
            Step(
                "tests/unit/test_families.py",
                after("CASES = [\n", FAMILY_CASE),
                "tests/unit/test_families.py",
            ),
        ),
        most_files=2,
        tests=((*PYTEST, "tests/unit/test_families.py"),),
    ),
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
    return {**os.environ, "CONTROLSTACK_VENV": venv, "PYTHONDONTWRITEBYTECODE": "1"}


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
    recipe = RECIPES[name]
    with copied() as tree:
        touched = follow(recipe, tree, accept=True)
        assert len(touched) <= recipe.most_files, f"{name} touches {touched}"
        printed = failure(recipe, tree, suite=suite)
        assert not printed, f"{name}: followed to the letter, but the tests fail:\n{printed}"
        print(f"{name}: {len(touched)} files ({', '.join(touched)}); the tests pass", flush=True)
    for step in recipe.steps:
        with copied() as tree:
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
