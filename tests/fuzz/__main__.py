"""Run N hostile cases: `python3 tests --fuzz N [--seed S] [--only NAME ...]` calls this."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("input", "output", "temp", "user", "models")


def main() -> int:
    options = _options()
    sys.path.insert(0, str(ROOT / "tests"))
    import conftest  # noqa: F401  loads the pack, workbench and fuzz under their names

    sys.path.pop(0)
    from fuzz import frame, table
    from workbench import hosts, inprocess

    warnings.simplefilter("ignore")  # Pillow's, of every damaged tag
    rows = frame.by_name(table.ROWS, options.only)
    installed = hosts.find()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        for name in FOLDERS:
            (base / name).mkdir(parents=True)
        if installed:
            inprocess.open_host(installed[0], base=base)
        else:
            rows = [row for row in rows if not row.needs_host]
            print("!!! NO ComfyUI WAS FOUND: the fuzzers that need it are left out")
        began, outcomes = time.monotonic(), []
        for row in rows:
            count = frame.shares(rows, options.count)[row.name]
            outcomes.append(frame.run(row, count, options.seed, base))
            print(outcomes[-1], flush=True)
            for failure in outcomes[-1].failures[:5]:
                print(f"    {failure}", flush=True)
    return _summary(outcomes, options.seed, time.monotonic() - began)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python3 tests --fuzz", description=__doc__)
    parser.add_argument("count", type=int, help="cases, spread over all fuzzers")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other cases (default 1)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these fuzzers")
    return parser.parse_args()


def _summary(outcomes: list, seed: int, seconds: float) -> int:
    failures = sum(len(outcome.failures) for outcome in outcomes)
    slowest = max(outcome.slowest for outcome in outcomes)
    largest = max(outcome.largest for outcome in outcomes)
    print(
        f"seed {seed}: {sum(outcome.cases for outcome in outcomes)} cases, {failures} failures;"
        f" slowest {slowest[0]:.2f} s ({slowest[1]}), largest {largest[0]:.0f} MB ({largest[1]});"
        f" {seconds:.0f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
