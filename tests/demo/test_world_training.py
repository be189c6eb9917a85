"""Run `python demo/world` as a maintainer does: killed in the middle, it goes on to the same."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from workbench import hosts

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hosts.find(), reason="no ComfyUI was found: set COMFYUI_DIR"),
]
STAGE = "codec-small"


def command(to: Path, *options: str) -> list[str]:
    places = ["--to", str(to), "--weights", str(to / "weights")]
    return [sys.executable, str(ROOT / "demo" / "world"), *places, *options]


def run(to: Path) -> str:
    options = ["--scale", "0.005", "--save-every", "0", "--only", STAGE]
    ended = subprocess.run(command(to, *options), capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has other ways to end")
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    run(tmp_path / "whole")
    options = ["--scale", "0.005", "--save-every", "0", "--only", STAGE]
    state = tmp_path / "killed" / f"{STAGE}.state"
    with subprocess.Popen(
        command(tmp_path / "killed", *options), stdout=subprocess.DEVNULL
    ) as process:
        ends = time.monotonic() + 300
        while not state.exists() and process.poll() is None and time.monotonic() < ends:
            time.sleep(0.01)
        process.kill()
    assert state.exists()
    assert f"{STAGE}: goes on at step" in run(tmp_path / "killed")
    whole, killed = (
        load_file(tmp_path / name / f"{STAGE}.safetensors") for name in ("whole", "killed")
    )
    assert whole.keys() == killed.keys()
    assert all(value.equal(killed[key]) for key, value in whole.items())
    for more, sentence in (
        (["--seed", "1"], "holds a training with {'seed': 0"),
        (["--only", "draw-64"], "codec was not run yet"),
    ):
        words = command(tmp_path / "whole", *options[:4], *more)
        refused = subprocess.run(words, capture_output=True, text=True, timeout=300)
        assert refused.returncode == 1
        assert sentence in refused.stderr


def test_the_plan_takes_no_more_than_it_says(tmp_path):
    """Print the plan alone, with a sum as CONTRIBUTING tells it; refuse names without a stage."""
    ended = subprocess.run(command(tmp_path, "--plan"), capture_output=True, text=True, timeout=60)
    last = ended.stdout.splitlines()[-1].split()
    assert last[:2] == ["in", "all"]
    assert float(last[-1]) <= 200
    refused = subprocess.run(
        command(tmp_path, "--only", "nothing"), capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 1
    assert "--only: expected names of stages, found nothing" in refused.stderr
    assert not (tmp_path / "weights").exists()
