"""Run `python demo` as a user does, on the newest ComfyUI found."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench import hosts, server

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hosts.find(), reason="no ComfyUI was found: set COMFYUI_DIR"),
]


def command(to: Path, *options: str) -> list[str]:
    return [sys.executable, str(ROOT / "demo"), "--to", str(to), *options]


def test_headless_writes_both_hints_and_the_image(tmp_path):
    ended = subprocess.run(
        command(tmp_path, "--headless", "--random"), capture_output=True, text=True, timeout=900
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    written = {file.stem: Image.open(file).size for file in (tmp_path / "output").iterdir()}
    assert written == dict.fromkeys(("canny-edge", "xdog-scribble", "save-image"), (512, 512))
    assert "] KSampler" in ended.stdout
    assert "KSampler: 20 of 20" in ended.stdout


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """Store random models in the form of the trained ones, in a process of their own."""
    folder = tmp_path_factory.mktemp("weights")
    subprocess.run([sys.executable, "-c", STORE, str(folder)], cwd=ROOT, check=True, timeout=300)
    return folder


STORE = """
import sys
sys.path.insert(0, ".")
from pathlib import Path
from workbench import hosts, inprocess
sys.path.pop(0)
inprocess.open_host(hosts.find()[0])
from workbench.tiny_family import family, world
from workbench.world import codec, model_files, reader
unet, text = family.unet(5, world.SHAPE).state_dict(), world.clip_text().state_dict()
base = {f"unet.{key}": value for key, value in unet.items()}
base |= {f"text.{key}": value for key, value in text.items() if "token_embedding" not in key}
base = {key: value for key, value in base.items() if value.is_floating_point()}
parts = {"base": base, "codec": codec.Codec().state_dict(), "reader": reader.Reader().state_dict()}
parts |= {name: family.controlnet(6, world.SHAPE).state_dict() for name in world.NETS}
for name, tensors in parts.items():
    model_files.save(model_files.shrink(tensors), Path(sys.argv[1]) / f"{name}.safetensors")
model_files.write_sums(Path(sys.argv[1]), "made by a test")
"""


def test_headless_writes_hints_picture_and_a_grid_of_the_stored_models(tmp_path, stored):
    """Run the drawn world's workflow: a minute of two cores, a grid of five labelled pictures."""
    before = os.times().children_user
    words = command(tmp_path, "--headless", "--weights", str(stored))
    ended = subprocess.run(words, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    sizes = {file.stem: Image.open(file).size for file in (tmp_path / "output").iterdir()}
    hints = dict.fromkeys(("canny-edge", "xdog-scribble"), (256, 256))
    assert sizes == {**hints, "picture": (768, 768), "strengths": (5 * 262 + 6, 294)}
    grid = np.asarray(Image.open(tmp_path / "output" / "strengths.png").convert("L"))
    labels = [grid[262:, 6 + 262 * at : 262 * at + 262] for at in range(5)]
    assert all(label.max() > 200 for label in labels), "a label is missing"
    assert os.times().children_user - before < 120


def test_models_that_are_damaged_or_absent_are_named(tmp_path, stored):
    """Refuse a damaged file in a sentence; without models, say so and run as --random does."""
    damaged = shutil.copytree(stored, tmp_path / "weights")
    (damaged / "edges.safetensors").write_bytes(b"x")
    words = command(tmp_path, "--headless", "--weights", str(damaged))
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert "edges.safetensors: expected the file of SHA256SUMS, found another one" in ended.stderr
    assert "Traceback" not in ended.stderr
    words = command(tmp_path, "--headless", "--train", "--weights", str(tmp_path / "nowhere"))
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert "--train: expected the trained models" in ended.stderr


ENDINGS = {
    "interrupted at the start": ("--headless", "starting ComfyUI", signal.SIGINT, 130),
    "interrupted while sampling": ("--headless", "KSampler: 2 of", signal.SIGINT, 130),
    "terminated while sampling": ("--headless", "KSampler: 2 of", signal.SIGTERM, 143),
    "interrupted with the page open": ("--no-browser", "press Run", signal.SIGINT, 0),
}


@pytest.mark.skipif(sys.platform != "linux", reason="running processes are read from Linux's /proc")
@pytest.mark.parametrize(
    ("option", "when", "sent", "returns"), ENDINGS.values(), ids=ENDINGS.keys()
)
def test_ending_it_leaves_nothing_running(tmp_path, option, when, sent, returns):
    with subprocess.Popen(
        command(tmp_path, option, "--random"),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=enable_interrupts,
    ) as demo:
        assert any(when in line for line in demo.stdout), f"the demo never printed {when!r}"
        ends = time.monotonic() + 60
        processes = 2  # the demo, and the ComfyUI that it starts
        while len(running_on(tmp_path)) < processes and time.monotonic() < ends:
            time.sleep(0.05)
        assert demo.poll() is None, "the demo ended before its signal"
        demo.send_signal(sent)
        try:
            demo.communicate(timeout=120)
        finally:
            demo.kill()  # else we would wait forever for a demo that does not end
    assert demo.returncode == returns
    assert running_on(tmp_path) == []


def test_an_interrupt_while_the_host_is_being_started_stops_it(tmp_path, monkeypatch):
    started = []

    def begin(*_, real=subprocess.Popen, **__):
        process = real([sys.executable, "-c", "import time; time.sleep(60)"])
        signal.raise_signal(signal.SIGINT)  # the process runs, and nobody knows it yet
        started.append(process)
        return process

    monkeypatch.setattr(subprocess, "Popen", begin)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), server.running(hosts.find()[0], tmp_path):
            pytest.fail("the interrupt was lost")
    finally:
        signal.signal(signal.SIGINT, before)
    assert [process.poll() is None for process in started] == [False]


def test_page_mode_prints_an_address_that_answers(tmp_path):
    """Open the page without trained models too: one line says so."""
    words = command(tmp_path, "--no-browser", "--weights", str(tmp_path / "nowhere"))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as demo:
        try:
            lines = [next(demo.stdout)]
            while "the example workflow:" not in lines[-1]:
                lines.append(next(demo.stdout))
            address = lines[-1].split()[-1]
            absent = [line for line in lines if "has no trained models" in line]
            assert len(absent) == 1
            assert "as --random does" in absent[0]
            assert b"ComfyUI" in urllib.request.urlopen(address, timeout=120).read()
        finally:
            demo.terminate()


def enable_interrupts() -> None:
    """Let Ctrl+C act as in a terminal.

    What a script starts in the background ignores it, and so would everything that it starts.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def running_on(base: Path) -> list[str]:
    """Return command lines of this machine that mention `base`."""
    commands = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        line = b" ".join(words).decode(errors="replace")
        if str(base) in line:
            commands.append(line)
    return commands
