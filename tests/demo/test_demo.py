"""Run `python demo` as a user does, on the newest ComfyUI found."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

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
        command(tmp_path, "--headless"), capture_output=True, text=True, timeout=900
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    written = {file.stem: Image.open(file).size for file in (tmp_path / "output").iterdir()}
    assert written == dict.fromkeys(("canny-edge", "xdog-scribble", "save-image"), (512, 512))
    assert "] KSampler" in ended.stdout
    assert "KSampler: 20 of 20" in ended.stdout


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
        command(tmp_path, option), stdout=subprocess.PIPE, text=True, preexec_fn=enable_interrupts
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
    with subprocess.Popen(
        command(tmp_path, "--no-browser"), stdout=subprocess.PIPE, text=True
    ) as demo:
        try:
            address = next(
                line.split()[-1] for line in demo.stdout if "the example workflow:" in line
            )
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
