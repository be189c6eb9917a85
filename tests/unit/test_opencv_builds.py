"""Other builds of OpenCV: the oldest that the pack supports, with NumPy 1, draws the same hints.

The build is installed beside this environment, once, and finds everything else in it.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest

from pack.preprocessors import images
from workbench import environment

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "workbench" / "opencv_hints.py"
OLDEST = ("opencv-python-headless==4.8.1.78", "numpy==1.26.4")
HOME = environment.HOME / "opencv-4.8-numpy-1.26"
ROUNDING = 1e-4
SHARES = {"shuffle": 0.2}
"""How many values may differ, by at most four levels on these steep pictures: before OpenCV 5 a
picture was displaced in steps of 1/32 pixel."""


def python_with(packages: tuple[str, ...], home: Path) -> Path:
    """Make an environment with these packages before those of ours; skip the test without a net."""
    python = environment.python_of(home)
    stamp = home / "installed"
    if not stamp.exists():
        if sys.version_info >= (3, 13):
            pytest.skip("NumPy 1.26 has no wheel for this Python")
        venv.create(home, clear=True, with_pip=False)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
        done = subprocess.run([*pip, *packages], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{packages[0]} could not be installed: {done.stderr.strip()[-200:]}")
        site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
        (site / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
        stamp.touch()
    return python


def drawn_by(python: Path | str, file: Path) -> tuple[str, dict[str, np.ndarray]]:
    done = subprocess.run([str(python), str(SCRIPT), str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(file) as stored:
        return done.stdout.strip(), {name: stored[name] for name in stored.files}


@pytest.mark.slow
def test_the_oldest_opencv_with_numpy_1_draws_the_same(tmp_path):
    old_version, old = drawn_by(python_with(OLDEST, HOME), tmp_path / "old.npz")
    new_version, new = drawn_by(sys.executable, tmp_path / "new.npz")
    print(f"OpenCV and NumPy: {old_version} and {new_version}")
    assert old_version == "4.8.1 1.26.4"
    assert new_version.split()[1] >= "2"
    assert old.keys() == new.keys()
    assert len(new) > 30
    for name, hint in new.items():
        difference = np.abs(old[name] - hint)
        share = SHARES.get(name.split()[0], 0)
        assert (difference > ROUNDING).mean() <= share, name
        assert difference.max() <= (4.01 / 255 if share else ROUNDING), name


# -- sentences -------------------------------------------------------------------------------------

WHEELS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


class Version:
    def __init__(self, wheel: str) -> None:
        self.wheel = wheel

    def __call__(self, name: str) -> str:
        if name == self.wheel:
            return "4.10.0"
        raise importlib.metadata.PackageNotFoundError(name)


@pytest.mark.parametrize("wheel", WHEELS)
def test_an_opencv_that_does_not_start_is_replaced_by_its_own_headless_build(monkeypatch, wheel):
    """Never by an uninstall: the four wheels share one folder, and that empties it for all."""
    monkeypatch.setattr(importlib.metadata, "version", Version(wheel))
    monkeypatch.setattr(images, "_imported", lambda: _raise(ImportError("libGL.so.1: no such")))
    headless = wheel.removesuffix("-headless") + "-headless"
    with pytest.raises(RuntimeError, match=r"does not start \(libGL\.so\.1") as refused:
        images.opencv()
    assert f"`pip install --force-reinstall --no-deps {headless}`" in str(refused.value)
    assert "uninstall" not in str(refused.value)


def test_without_opencv_one_is_named(monkeypatch):
    error = ModuleNotFoundError("No module named 'cv2'", name="cv2")
    monkeypatch.setattr(images, "_imported", lambda: _raise(error))
    with pytest.raises(RuntimeError, match=r"has none: run `pip install opencv-python`"):
        images.opencv()


def test_an_opencv_that_an_uninstall_emptied_is_a_sentence(monkeypatch):
    monkeypatch.setattr(images, "_imported", lambda: type(sys)("cv2"))
    monkeypatch.setattr(importlib.metadata, "version", Version("opencv-contrib-python"))
    with pytest.raises(
        RuntimeError, match=r"is empty.*--no-deps opencv-contrib-python`"
    ) as refused:
        images.opencv()
    assert "restart" in str(refused.value)


def _raise(error: Exception) -> None:
    raise error


def test_nothing_that_we_print_or_write_advises_an_uninstall_of_opencv():
    pages = [ROOT / "README.md", *(ROOT / "js" / "docs").glob("*.md")]
    sources = [file for room in ("preprocessors", "host", "nodes") for file in
               (ROOT / room).rglob("*.py")]  # fmt: skip
    for file in (*pages, *sources):
        assert "pip uninstall" not in file.read_text(encoding="utf-8"), file.name
