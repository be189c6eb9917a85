"""One host, one browser, and the newest page beside the host's own, shared by all tests in the page."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from workbench import environment, hosts, server

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "tests" / "output"
FOLDER = environment.HOME / "browser"  # what is fetched once, beside the Python environment
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
PLAYWRIGHT = "playwright-core@1.65.1"
NEWEST_PAGE = "1.58.1"


def pytest_addoption(parser):
    parser.addoption("--write-pictures", action="store_true", help="take the templates' pictures anew")


@pytest.fixture(scope="session")
def chromium() -> str:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not found:
        pytest.skip("no Chromium was found: install it (apt-get install chromium) or set CHROMIUM to its program")
    return found


@pytest.fixture(scope="session")
def playwright() -> Path:
    """The folder of playwright-core, which drives the browser."""
    if not shutil.which("node"):
        pytest.skip("node was not found: install Node.js 20 or newer")
    if not (FOLDER / "node_modules" / "playwright-core").exists():
        if not (npm := shutil.which("npm")):
            pytest.skip("npm was not found: install it to fetch playwright-core")
        FOLDER.mkdir(parents=True, exist_ok=True)
        words = [npm, "install", "--silent", "--no-save", "--prefix", str(FOLDER), PLAYWRIGHT]
        ended = subprocess.run(words, capture_output=True, text=True)
        if ended.returncode:
            pytest.skip(f"npm could not fetch {PLAYWRIGHT}: {ended.stderr.strip()[-200:]}")
    return FOLDER


@pytest.fixture(scope="session")
def newest_page() -> Path:
    """The folder of the newest page, for the host's --front-end-root; the host's packages stay as they are."""
    folder = FOLDER / f"frontend-{NEWEST_PAGE}"
    if not (folder / "static" / "index.html").exists():
        package = f"comfyui-frontend-package=={NEWEST_PAGE}"
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
        ended = subprocess.run(words, capture_output=True, text=True)
        if ended.returncode:
            pytest.skip(f"pip could not fetch {package}, so the newest page was NOT tested: {ended.stderr[-200:]}")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            files.extractall(folder / "unpacked")
        (folder / "unpacked" / "comfyui_frontend_package" / "static").rename(folder / "static")
        shutil.rmtree(folder / "unpacked")
        wheel.unlink()
    return folder / "static"


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """The newest host found, with the page that it pins."""
    with _running(tmp_path_factory.mktemp("base")) as running:
        yield running


@pytest.fixture(scope="session")
def running_newest_page(tmp_path_factory, newest_page):
    with _running(tmp_path_factory.mktemp("base"), page=newest_page) as running:
        yield running


def _running(base: Path, **more):
    if not (found := hosts.find()):
        pytest.skip("no ComfyUI was found: set COMFYUI_DIR")
    runpy.run_path(str(ROOT / "demo" / "picture.py"))["draw"](base / "input" / "example.png")
    return server.running(found[0], base, **more)


@pytest.fixture(scope="session")
def drive(chromium, playwright, tmp_path_factory):
    """Runs a script of this folder in the browser: what it was asked → what it found."""

    def run(script: str, ask: dict) -> dict:
        PICTURES.mkdir(exist_ok=True)
        ask = {"playwright": str(playwright), "chromium": chromium, "pictures": str(PICTURES), **ask}
        question = tmp_path_factory.mktemp("ask") / "ask.json"
        question.write_text(json.dumps(ask), encoding="utf-8")
        words = ["node", str(Path(__file__).with_name(script)), str(question)]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=400)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run
