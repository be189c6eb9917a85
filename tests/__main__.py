"""Set everything up, run all tests, and report what ran on which ComfyUI: `python3 tests`.

The last line counts them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
HTTP, PINNED = ROOT / "tests" / "http", ROOT / "tests" / "node_surface.json"
sys.path.insert(0, str(ROOT))
from workbench import environment, hosts, second_device  # noqa: E402

sys.path.pop(0)  # the root's nodes/ would shadow the host's module of that name

ABOUT = """\
Makes a Python environment (once), then runs ruff, pyright, the unit tests, the JavaScript tests,
and, on every ComfyUI found (COMFYUI_DIR, else comfy-cli's workspace and its siblings ComfyUI-*),
the host tests in process and over HTTP; on the newest one also those of time and memory, those on a
second device (built where there is a C++ compiler) and the tests in its frontend, and on the others
the example workflows in theirs, if Chromium and node are installed. On the oldest one the tooltips
are read too: its frontend shows them differently."""
TEMPLATES, TOOLTIPS = "browser/test_page.py", "browser/test_tooltips.py"
QUICK = "quick or not slow"  # of a file that is slow as a whole, the cases marked quick
PARALLEL = ("-n", "auto", "--maxprocesses", "4")  # a worker takes about a gigabyte
WHOLE = ("-n", "auto", "--maxprocesses", "2")  # and up to seven with nets of full size
MOST_AGAIN = 20  # failures of a group that are tried once more: a busy machine has few
SHARED = ("unit", "host")  # folders whose tests share nothing but the cores


@dataclass
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Count) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.reasons += other.reasons
        self.failures += other.failures
        self.unsteady += other.unsteady
        self.seconds += other.seconds

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclass(frozen=True)
class Group:
    """One command. `kind` says how it is counted: a check is one test, others count their own."""

    name: str
    words: tuple[str, ...]
    kind: str
    host: hosts.Host | None = None
    device: str = "cpu"


def main() -> int:
    options = _options()
    environment.enter("tests", tests=True)
    if options.fuzz is not None:
        return fuzz(options)
    installed = hosts.find()
    if options.accept:
        return accept(installed)
    began = time.monotonic()
    groups = list(plan(installed, quick=options.quick))
    counts = []
    for number, group in enumerate(groups, 1):
        print(f"\n=== [{number}/{len(groups)}] {group.name}", flush=True)
        started = time.monotonic()
        counts.append(run(group))
        counts[-1].seconds = time.monotonic() - started
        print(f"=== {group.name}: {counts[-1]}", flush=True)
    total = summary(groups, counts, installed, time.monotonic() - began)
    return 1 if total.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python3 tests", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="under two minutes: on the newest ComfyUI, and of every file the cases that are fast",
    )
    parser.add_argument(
        "--accept",
        action="store_true",
        help="pin the nodes as they are now (tests/node_surface.json, locales), and run no test",
    )
    parser.add_argument(
        "--fuzz",
        type=int,
        metavar="N",
        help="run N hostile cases, spread over the fuzzers of tests/fuzz, and no other test",
    )
    parser.add_argument("--seed", type=int, default=1, help="of --fuzz: another seed, other cases")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="of --fuzz: only these fuzzers"
    )
    return parser.parse_args()


def fuzz(options: argparse.Namespace) -> int:
    """Run the fuzzers at length; they print count, failures, the slowest and the largest case."""
    words = [sys.executable, str(ROOT / "tests" / "fuzz"), str(options.fuzz)]
    words += ["--seed", str(options.seed), *(("--only", *options.only) if options.only else ())]
    return subprocess.run(words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode


def accept(installed: list[hosts.Host]) -> int:
    """Write what the tests pin, as a running ComfyUI has it; refuse what breaks saved workflows."""
    from workbench import server

    if not installed:
        print("no ComfyUI was found: set COMFYUI_DIR")
        return 1
    surface = runpy.run_path(str(HTTP / "surface.py"))
    with tempfile.TemporaryDirectory() as base, server.running(installed[0], Path(base)) as running:
        object_info = running.ask("/object_info")
    now, pinned = surface["surface"](object_info), json.loads(PINNED.read_text(encoding="utf-8"))
    if broken := surface["broken"](pinned, now):
        print("Not accepted, because saved workflows would break:", *broken, sep="\n- ")
        return 1
    PINNED.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    runpy.run_path(str(HTTP / "locales.py"))["accept"](ROOT / "locales", object_info)
    print(f"wrote {PINNED.relative_to(ROOT)} and the nodeDefs.json of locales/*")
    return 0


def plan(installed: list[hosts.Host], *, quick: bool) -> Iterator[Group]:
    python = sys.executable
    yield Group("ruff check", (python, "-m", "ruff", "check", "."), "check")
    yield Group("ruff format", (python, "-m", "ruff", "format", "--check", "."), "check")
    yield Group("pyright", (python, "-m", "pyright", "--pythonpath", python), "check")
    yield from _tests_of("unit", "unit tests", quick)
    scripts = sorted(
        str(file.relative_to(ROOT)) for file in (ROOT / "tests" / "js").glob("*.test.mjs")
    )
    if scripts:
        yield Group("JavaScript tests", ("node", "--test", "--test-reporter=tap", *scripts), "node")
    newest, others = installed[:1], installed[1:]
    for host in newest:
        yield from _tests_of("host", "host tests in process", quick, host)
    if quick:
        return
    for host in others:  # time, memory and nets of full size were looked at on the newest
        yield next(_tests_of("host", "host tests in process", quick, host))
    for host in installed:
        yield from _tests_of("http", "host tests over HTTP", quick, host)
    for host in newest:
        name = f"tests on a second device, ComfyUI {host.version}"
        words = (sys.executable, "-m", "pytest", "tests/host", "-ra", "--durations=5", *WHOLE)
        yield Group(name, words, "pytest", host, device=second_device.NAME)
        yield from _tests_of("demo", "the demo", quick, host)
        yield from _tests_of("browser", "tests in the page", quick, host)
    for host in others:
        yield from _tests_of(TEMPLATES, "templates in the page", quick, host)
    for host in others[-1:]:
        yield from _tests_of(TOOLTIPS, "tooltips in the page", quick, host)


def _tests_of(path: str, name: str, quick: bool, host: hosts.Host | None = None) -> Iterator[Group]:
    """Yield the commands of a folder: tests side by side where they may be, timed ones alone."""
    name = f"{name}, ComfyUI {host.version}" if host else name
    words = (sys.executable, "-m", "pytest", f"tests/{path}", "-ra", "--durations=5")
    if quick:
        yield Group(name, (*words, "-m", f"({QUICK}) and not alone", *PARALLEL), "pytest", host)
    elif path in SHARED:
        yield Group(name, (*words, "-m", "not alone", *WHOLE), "pytest", host)
        yield Group(f"{name}, one at a time", (*words, "-m", "alone"), "pytest", host)
    else:
        yield Group(name, words, "pytest", host)


def run(group: Group) -> Count:
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if "-n" in group.words:
        variables["OMP_NUM_THREADS"] = "1"  # the workers share the cores already
    if group.host:
        variables["COMFYUI_DIR"] = str(group.host.path)
    variables["CONTROLSTACK_DEVICE"] = group.device
    return COUNTERS[group.kind](group, variables)


def _check(group: Group, variables: Mapping[str, str]) -> Count:
    ended = subprocess.run(group.words, cwd=ROOT, env=variables)
    return Count(failed=1) if ended.returncode else Count(passed=1)


def _node(group: Group, variables: Mapping[str, str]) -> Count:
    ended = subprocess.run(group.words, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True)
    print(ended.stdout, end="")
    counts = {
        word: int(number)
        for word, number in re.findall(r"^# (pass|fail|skipped) (\d+)", ended.stdout, re.M)
    }
    count = Count(counts.get("pass", 0), counts.get("fail", 0), counts.get("skipped", 0))
    return _honest(count, ended.returncode)


def _tests(group: Group, variables: Mapping[str, str]) -> Count:
    with tempfile.TemporaryDirectory() as folder:
        report, option = Path(folder) / "report.xml", f"cache_dir={folder}/cache"
        count = _counted(group.words, report, option, variables)
        if not 0 < len(count.failures) <= MOST_AGAIN:
            return count
        print(f"=== {group.name}: {len(count.failures)} failed: once more, alone", flush=True)
        alone = tuple(word for word in group.words if word not in (*PARALLEL, *WHOLE))
        report.unlink()
        return _steadied(
            count, _counted((*alone, "--lf", "--lfnf=none"), report, option, variables)
        )


def _counted(
    words: Sequence[str], report: Path, option: str, variables: Mapping[str, str]
) -> Count:
    options = ("-o", option, f"--junitxml={report}")
    ended = subprocess.run((*words, *options), cwd=ROOT, env=variables)
    return _honest(_read(report) if report.exists() else Count(), ended.returncode)


def _steadied(first: Count, again: Count) -> Count:
    """Count failures that passed when they ran alone as passed, and remember their names."""
    unsteady = [name for name in first.failures if name not in again.failures]
    if again.passed < len(unsteady) or again.failed > len(again.failures):
        return first  # the second run did not get that far
    failed = len(first.failures) - len(unsteady)
    passed = first.passed + len(unsteady)
    return Count(passed, failed, first.skipped, first.reasons, again.failures, unsteady)


COUNTERS = {"check": _check, "node": _node, "pytest": _tests}


def _read(report: Path) -> Count:
    """Count a junit report; errors at setup and collection are failures."""
    count = Count()
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            count.failed += 1
            count.failures.append(f"{case.get('classname', '')}::{case.get('name', '')}")
        elif (skipped := case.find("skipped")) is not None:
            count.skipped += 1
            count.reasons.append(skipped.get("message", "no reason given"))
        else:
            count.passed += 1
    return count


def _honest(count: Count, returncode: int) -> Count:
    """Count a command that ended badly as failed, even if it counted no failure.

    It may have crashed, or collected nothing.
    """
    if returncode and not count.failed:
        count.failed = 1
    return count


def summary(
    groups: list[Group], counts: list[Count], installed: list[hosts.Host], seconds: float
) -> Count:
    total = Count()
    print("\n=== summary")
    for group, count in zip(groups, counts, strict=True):
        total.add(count)
        verdict = "FAILED" if count.failed else "ok"
        print(f"{verdict:6} {group.name}: {count} ({count.seconds:.0f} s)")
    for host in installed:
        ran = [c.passed + c.failed for g, c in zip(groups, counts, strict=True) if g.host == host]
        text = f"{sum(ran)} host tests ran" if ran else "left out by --quick"
        print(f"ComfyUI {host.version}: {text} ({host.path})")
    if not installed:
        print(
            "!!! NO ComfyUI WAS FOUND: no host test ran. Set COMFYUI_DIR, or install one with"
            " comfy-cli."
        )
    for reason, tests in Counter(total.reasons).items():
        print(f"!!! SKIPPED {tests}: {reason}")
    for name in total.unsteady:
        print(f"!!! UNSTEADY: {name} failed at first, and passed alone")
    print(f"{seconds:.0f} s")
    print(total)
    return total


if __name__ == "__main__":
    sys.exit(main())
