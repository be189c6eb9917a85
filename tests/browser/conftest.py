"""One host, one browser, and the newest page beside the host's own, shared by all tests in the
page.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401 - here, before threads that start servers could import it at once

from workbench import environment, hosts, links, server

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PICTURES = ROOT / "tests" / "output"
LINKED = ROOT / "example_workflows" / "02 Two ControlNets.json"  # what the demo opens
FOLDER = environment.HOME / "browser"  # what is fetched once, beside the Python environment
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
PLAYWRIGHT = "playwright-core@1.65.1"
NEWEST_PAGE = "1.58.1"
CELLS = ("pinned-classic", "pinned-nodes2", "newest-classic", "newest-nodes2")
IN_SDXL = {"input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": [1, 2048]}
CONTROLNET = {"zero_convs.0.0.weight": [1], "input_hint_block.0.weight": [1]}
UNION = {"control_add_embedding.linear_1.bias": [1], "task_embedding": [6, 1]}
FLUX = {
    **{"controlnet_blocks.0.weight": [1, 1], "pos_embed_input.weight": [1, 64]},
    "controlnet_mode_embedder.weight": [10, 1],
}
NETS = {
    "a_lora": {"lora_unet_x.lora_down.weight": [1, 1]},
    "other_family": {**CONTROLNET, **IN_SDXL},
    "plain_sdxl": {**CONTROLNET, **IN_SDXL},
    "union_sdxl": {**CONTROLNET, **IN_SDXL, **UNION},
    "union_flux": FLUX,
}
"""Files of the keys by which each family is recognised."""
AT_ONCE = 3  # scripts side by side: each waits for its page half of the time
TEMPLATES, DEMOS = (
    {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((ROOT / folder).glob("*.json"))
    }
    for folder in ("example_workflows", "demo")
)
SINGLE = TEMPLATES["01 One ControlNet"]
WINDOWS = ((1600, 1000), (1920, 945))
SOME_CELLS = ("pinned-classic", "newest-nodes2")  # for what opens a page of its own


@pytest.fixture(scope="session")
def chromium() -> str:
    actual = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not actual:
        pytest.skip(
            "no Chromium was found: install it (apt-get install chromium) or set CHROMIUM to its"
            " program"
        )
    return actual


@pytest.fixture(scope="session")
def playwright() -> Path:
    """Return the folder of playwright-core, which drives the browser."""
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
    """Return the folder of the newest page, for the host's --front-end-root; the host's packages
    stay as they are.
    """
    return _page(NEWEST_PAGE)


def _page(version: str) -> Path:
    folder = FOLDER / f"frontend-{version}"
    if not (folder / "static" / "index.html").exists():
        package = f"comfyui-frontend-package=={version}"
        words = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(folder),
            package,
        ]
        ended = subprocess.run(words, capture_output=True, text=True)
        if ended.returncode:
            pytest.skip(
                f"pip could not fetch {package}, so that page was NOT tested: {ended.stderr[-200:]}"
            )
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            files.extractall(folder / "unpacked")
        (folder / "unpacked" / "comfyui_frontend_package" / "static").rename(folder / "static")
        shutil.rmtree(folder / "unpacked")
        wheel.unlink()
    return folder / "static"


def _pinned_page(host: hosts.Host) -> Path | None:
    """Return the page that a host asks for; None where it is the one that is installed here, as
    with the newest host.
    """
    asked = re.search(
        r"^comfyui-frontend-package==(\S+)",
        (host.path / "requirements.txt").read_text(),
        re.MULTILINE,
    )
    with contextlib.suppress(metadata.PackageNotFoundError):
        if asked is None or asked[1] == metadata.version("comfyui-frontend-package"):
            return None
    return _page(asked[1])


@pytest.fixture(scope="session")
def host() -> hosts.Host:
    """Return the newest host found, or the one that COMFYUI_DIR names."""
    if not (actual := hosts.find()):
        pytest.skip("no ComfyUI was found: set COMFYUI_DIR")
    return actual[0]


@pytest.fixture(scope="session")
def running(host, tmp_path_factory):
    """Run the host with the page that it pins."""
    with _running(host, tmp_path_factory.mktemp("base"), _pinned_page(host)) as running:
        yield running


@pytest.fixture(scope="session")
def running_newest_page(host, tmp_path_factory, newest_page):
    with _running(host, tmp_path_factory.mktemp("base"), newest_page) as running:
        yield running


@contextlib.contextmanager
def _running(host: hosts.Host, base: Path, page: Path | None) -> Iterator[server.Server]:
    """Run a host where every model that a template names exists."""
    draw = runpy.run_path(str(ROOT / "demo" / "picture.py"))["draw"]
    for name in ("example.png", "my_pictures/1.png"):
        draw(base / "input" / name)
    for name, shapes in NETS.items():
        links.write_header(base / "models" / "controlnet" / f"{name}.safetensors", shapes)
    packs = {**server.PACKS, links.PACK: links.pack_of(LINKED, base / "links")}
    with (
        server.running(host, base, packs=packs, page=page) as running,
        links.named_models(base / "models", TEMPLATES.values()),
    ):
        yield running


@pytest.fixture(scope="session")
def drive(chromium, playwright, tmp_path_factory):
    """Run a script of this folder in the browser: its request → its results."""

    def run(script: str, ask: dict) -> dict:
        PICTURES.mkdir(exist_ok=True)
        ask = {
            "playwright": str(playwright),
            "chromium": chromium,
            "pictures": str(PICTURES),
            **ask,
        }
        question = tmp_path_factory.mktemp("ask") / "ask.json"
        question.write_text(json.dumps(ask), encoding="utf-8")
        words = ["node", str(Path(__file__).with_name(script)), str(question)]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=600)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run


class Stage:
    """What scenes are played on: the hosts, each started when its page is first asked for.

    A file's `scenes(stage)` gives pairs of a script and what it is asked, whose `cell` tells the
    pairs of one script apart.
    """

    def __init__(self, request: pytest.FixtureRequest):
        self.host: hosts.Host = request.getfixturevalue("host")
        self._fixture = request.getfixturevalue

    def folder(self) -> Path:
        """Return a new folder for what a scene brings along."""
        return self._fixture("tmp_path_factory").mktemp("brought")

    def cell(self, name: str, **asked: Any) -> dict:
        """Return what a script is asked in one renderer of one page ("pinned-classic")."""
        page, _, renderer = name.partition("-")
        running = self._fixture("running" if page == "pinned" else "running_newest_page")
        return {"address": running.address, "vue": renderer == "nodes2", "cell": name, **asked}

    def editor(self) -> Iterator[tuple[str, dict]]:
        """Yield the widgets' scenes, in all cells."""
        files = sorted((ROOT / "tests" / "fixtures" / "workflows").glob("*.json"))
        saved = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
        graphs = {"stack": TEMPLATES["02 Two ControlNets"], "single": SINGLE, "saved": saved}
        for name in CELLS:
            yield "editor_scenes.mjs", self.cell(name, more=name in SOME_CELLS, **graphs)

    def templates(self) -> Iterator[tuple[str, dict]]:
        """Yield the opening of each template and each workflow of the demo, in all cells; in the
        newest page in a window of one size.
        """
        for name in CELLS:
            is_pinned = name.startswith("pinned")
            asked = {"windows": WINDOWS if is_pinned else WINDOWS[:1], "looked": is_pinned}
            yield "template_scenes.mjs", self.cell(name, workflows={**TEMPLATES, **DEMOS}, **asked)


@pytest.fixture(scope="session")
def played(request, drive) -> Iterator[Callable[[str, str], dict]]:
    """Play the scenes of all files that were collected, side by side, from the first use on.

    The function that is returned waits for a script's results in a cell.
    """
    stage, items = Stage(request), request.session.items
    rows = [*stage.editor()] if any("cells" in item.fixturenames for item in items) else []
    for module in dict.fromkeys(item.module for item in items if item.path.parent == HERE):
        rows += getattr(module, "scenes", lambda _: ())(stage)
    pool = ThreadPoolExecutor(AT_ONCE)
    asks = {(script, ask["cell"]): ask for script, ask in rows}
    results = {key: pool.submit(drive, key[0], ask) for key, ask in asks.items()}
    yield lambda script, cell: results[script, cell].result()
    pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def cells(played) -> dict[str, dict]:
    """Return the results of the widgets' scenes in each cell."""
    return {cell: played("editor_scenes.mjs", cell) for cell in CELLS}


@pytest.fixture(params=CELLS)
def cell(request, cells) -> dict:
    return cells[request.param]


@pytest.fixture(params=SOME_CELLS)
def one_cell(request, cells) -> dict:
    return cells[request.param]
