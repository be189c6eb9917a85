"""`python demo` as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def words(to: Path, *more: str) -> list[str]:
    return [sys.executable, str(ROOT / "demo"), "--to", str(to), *more]


def test_headless_writes_both_hints_and_the_image(host, tmp_path):
    ended = subprocess.run(words(tmp_path, "--headless"), capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    written = {file.stem: Image.open(file).size for file in (tmp_path / "output").iterdir()}
    assert written == dict.fromkeys(("canny-edge", "user-scribble", "save-image"), (512, 512))
    assert "] KSampler" in ended.stdout
    assert "KSampler: 20 of 20" in ended.stdout


@pytest.mark.skipif(os.name == "nt", reason="the way of telling what still runs is Linux's")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("waits_for", ["starting ComfyUI", "ComfyUI answers", "KSampler: 2 of"])
def test_ending_it_leaves_nothing_running(host, tmp_path, ending, waits_for):
    with subprocess.Popen(words(tmp_path, "--headless"), stdout=subprocess.PIPE, text=True) as demo:
        for line in demo.stdout:
            if waits_for in line:
                break
        time.sleep(0.3)
        assert demo.poll() is None, "it ended before it was told to"
        demo.send_signal(ending)
        demo.communicate(timeout=30)
    assert demo.returncode == 128 + ending
    assert not running_on(tmp_path)


def running_on(base: Path) -> list[str]:
    """Command lines of this machine that mention `base`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if str(base) in command:
            found.append(command)
    return found
