"""The fuzzers in small, and that their frame sees what it looks for."""

from __future__ import annotations

import gc
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fuzz import frame, table

from pack.files import header
from pack.host import folders

SEED, CASES = 20, 60
FREE = [row for row in table.ROWS if not row.needs_host]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged tags
@pytest.mark.parametrize("row", FREE, ids=lambda row: row.name)
def test_no_hostile_case_is_raw_slow_large_or_abroad(row, tmp_path):
    outcome = frame.run(row, max(5, round(CASES * row.share)), SEED, tmp_path)
    print(outcome)
    assert outcome.failures == []


def judged(call, errors=(header.FileError,), base=Path("/nowhere")) -> list[str]:
    outcome = frame.Outcome("one")
    frame.judge(outcome, "one 0", None, call, errors, base)
    return outcome.failures


def refused(_):
    folders.inside(Path.cwd(), "../x")


def sentence_of_a_library(_):
    raise header.FileError("not from the pack")


ACTS = {
    "a raw error": (lambda _: {}["key"], "raw KeyError"),
    "another class": (refused, "raw FileNameError"),
    "a class that a library raises": (sentence_of_a_library, "raised by a library"),
    "an exit of the loop": (lambda _: time.sleep(0), ""),
    "too slow": (lambda _: sum(range(3 * 10**7)), r"took \d"),
    # Far above the limit: the kernel may take other pages of the process away meanwhile.
    "too large": (lambda _: np.ones(64 * 2**20), r"took \d+ MB"),
    "a file abroad": (lambda _: open("/tmp/../tmp/fuzz-test", "w").close(), "open .* outside"),
    "a folder abroad": (lambda _: os.makedirs("/tmp/fuzz-test-folder"), "os.mkdir .* outside"),
    "a program": (lambda _: subprocess.run([sys.executable, "-c", ""]), "subprocess.Popen outside"),
}


@pytest.mark.parametrize("act", ACTS)
def test_the_frame_sees(act, monkeypatch, tmp_path):
    monkeypatch.setattr(frame, "SECONDS", 0.3)
    monkeypatch.setattr(frame, "MEGABYTES", 50)
    call, expected = ACTS[act]
    gc.collect()  # what earlier tests left would be freed during the call, and hide what it takes
    try:
        failures = judged(call, base=tmp_path)
    finally:
        Path("/tmp/fuzz-test").unlink(missing_ok=True)
        if Path("/tmp/fuzz-test-folder").exists():
            Path("/tmp/fuzz-test-folder").rmdir()
    if expected:
        pytest.importorskip("resource")
        assert re.search(expected, "\n".join(failures)), failures
    else:
        assert failures == []


def test_sentences_of_the_pack_pass():
    assert judged(refused, (folders.FileNameError,)) == []


def test_what_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr(frame, "HANGS_S", 0.2)
    (failure,) = judged(lambda _: threading.Event().wait(20))
    assert "StuckError" in failure


def test_a_seed_gives_the_same_cases(tmp_path):
    for row in FREE:
        first, again = (row.case(random.Random("1"), tmp_path) for _ in range(2))
        assert repr(first) == repr(again)


def test_cases_are_spread_by_their_shares():
    rows = [frame.Fuzzer(str(share), None, None, (), share=share) for share in (1, 1, 0.5, 0.001)]
    assert frame.shares(rows, 100) == {"1": 40, "0.5": 20, "0.001": 1}
    with pytest.raises(ValueError, match="there is no fuzzer x: choose from"):
        frame.by_name(rows, ["x"])
