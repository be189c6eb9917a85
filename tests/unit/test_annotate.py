"""Annotate data sets without ComfyUI: every picture once, whatever dies.

References: OpenCV for hints, Python's own tarfile, the data set reader of the training.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pack.annotate import command, crew, gauge, job, samples
from pack.host.locks import locked
from pack.preprocessors import catalogue
from pack.preprocessors.build import InMemory
from pack.training import dataset

ROOT = Path(__file__).resolve().parents[2]
COUNT = 24

needs_pyarrow = pytest.mark.skipif(
    find_spec("pyarrow") is None,
    reason="pyarrow is not installed: parquet files were not tried with python3 annotate",
)
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(autouse=True)
def _threads():
    """Give back the threads that a worker in this process takes."""
    torchs, opencvs = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(torchs)
    cv2.setNumThreads(opencvs)


def drawing(seed: int, side: int = 48) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST)


def png(seed: int) -> bytes:
    return cv2.imencode(".png", drawing(seed)[..., ::-1])[1].tobytes()


@pytest.fixture
def folder(tmp_path) -> Path:
    """Pictures with captions, some in a subfolder."""
    source = tmp_path / "in"
    (source / "more").mkdir(parents=True)
    for number in range(COUNT):
        name = f"more/p{number:02d}" if number % 4 == 0 else f"p{number:02d}"
        (source / f"{name}.png").write_bytes(png(number))
        (source / f"{name}.txt").write_text(f"picture {number}", encoding="utf-8")
    return source


def run(source: Path | str, to: Path, *words: str) -> int:
    return command.main([str(source), str(to), "--method", "canny", "--per-shard", "5", *words])


def members(to: Path) -> dict[str, bytes]:
    """Read all tars of a folder; no name may be there twice."""
    names, contents = [], {}
    for path in sorted(to.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                names.append(member.name)
                contents[member.name] = tar.extractfile(member).read()
    assert [name for name, count in Counter(names).items() if count > 1] == []
    return contents


def keys(to: Path) -> list[str]:
    """List the keys of all tars; every one has its four members."""
    ending = ".canny.png"
    contents = members(to)
    listed = sorted(name[: -len(ending)] for name in contents if name.endswith(ending))
    for key in listed:
        assert {f"{key}.txt", f"{key}.json"} <= contents.keys()
    assert len(contents) == 4 * len(listed)
    return listed


def faults(to: Path) -> dict[str, str]:
    lines = (to / "unreadable.jsonl").read_text(encoding="utf-8").splitlines()
    return {Path(fault["source"]).name: fault["reason"] for fault in map(json.loads, lines)}


def files(to: Path) -> dict[str, bytes]:
    return {
        path.relative_to(to).as_posix(): path.read_bytes()
        for path in sorted(to.rglob("*"))
        if path.is_file()
    }


# What is written


def test_hints_are_opencvs_and_all_of_it_is_stored(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "out", "--params", "low_threshold=50") == 0
    contents = members(tmp_path / "out")
    assert len(keys(tmp_path / "out")) == COUNT
    for number in range(COUNT):
        key = f"more/p{number:02d}" if number % 4 == 0 else f"p{number:02d}"
        hint = np.asarray(Image.open(io.BytesIO(contents[f"{key}.canny.png"])))
        assert (hint == cv2.Canny(drawing(number), 50, 200)).all()
        assert contents[f"{key}.png"] == (folder / f"{key}.png").read_bytes()
        assert contents[f"{key}.txt"] == f"picture {number}".encode()
        about = json.loads(contents[f"{key}.json"])
        assert about["version"] == job.version()
        assert about["picture"]["sha256"] == hashlib.sha256(png(number)).hexdigest()
        canny = about["hints"]["canny"]
        assert canny["params"] == {"low_threshold": 50, "high_threshold": 200}
        assert canny["sha256"] == hashlib.sha256(contents[f"{key}.canny.png"]).hexdigest()
    assert f"{COUNT} pictures in 5 shards" in capsys.readouterr().out
    assert "folder_paths" not in sys.modules  # ComfyUI's; nothing here needs it


def test_several_methods_in_one_pass(folder, tmp_path):
    words = ["--params", "high_threshold=100", "--method", "shuffle", "--params", "seed=3"]
    assert run(folder, tmp_path / "out", *words) == 0
    contents = members(tmp_path / "out")
    about = [json.loads(contents[name]) for name in contents if name.endswith(".json")]
    assert all(each["hints"].keys() == {"canny", "shuffle"} for each in about)
    # one seed for all would be one movement for all
    assert len({each["hints"]["shuffle"]["params"]["seed"] for each in about}) == COUNT
    one = about[0]
    picture = torch.from_numpy(np.asarray(Image.open(folder / f"{one['key']}.png")) / 255).float()
    hint = catalogue("shuffle")(picture[None], **one["hints"]["shuffle"]["params"])[0]
    stored = np.asarray(Image.open(io.BytesIO(contents[f"{one['key']}.shuffle.png"])))
    assert (stored == (hint * 255).round().byte().numpy()).all()


def test_pictures_that_exif_turns_are_stored_upright(tmp_path):
    (tmp_path / "in").mkdir()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 20), "red").save(tmp_path / "in" / "a.jpg", exif=exif)
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(tmp_path / "in" / "b.png")
    assert run(tmp_path / "in", tmp_path / "out", "--method", "tile") == 0
    contents = members(tmp_path / "out")
    sizes = {
        name: Image.open(io.BytesIO(contents[name])).size for name in contents if ".png" in name
    }
    assert sizes["a.png"] == sizes["a.canny.png"] == sizes["a.tile.png"] == (20, 40)
    assert sizes["b.png"] == sizes["b.canny.png"] == (40, 20)
    white = np.asarray(Image.open(io.BytesIO(contents["b.tile.png"])))
    assert (white == 255).all()


def test_keys_are_webdatasets_and_never_shared(tmp_path):
    source = tmp_path / "in"
    for name in ("a.b.png", "a_b.png", "x.png", "sub/x.png", "x.bmp"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawing(1)).save(source / name)
    assert run(source, tmp_path / "out") == 0
    listed = keys(tmp_path / "out")
    assert len(listed) == 5
    assert "sub/x" in listed
    assert not any("." in key for key in listed)


def test_the_folder_form_is_read_by_the_training(folder, tmp_path):
    assert run(folder, tmp_path / "out", "--form", "folder") == 0
    source = dataset.from_folder(tmp_path / "out", with_method=False)
    pairs = dataset.build(source, 64, 64)
    assert len(pairs.pairs) == COUNT
    for pair in pairs.pairs:
        number = int(pair.prompt.split()[1])
        edges = cv2.Canny(drawing(number), 100, 200)
        assert (pair.hint.read().numpy()[..., 0] * 255 == edges).all()
        assert (pair.target.read().numpy() * 255).round().astype(int).tolist() == drawing(
            number
        ).tolist()
    assert not list((tmp_path / "out").rglob("*.part"))


# What is read


def test_a_glob_takes_what_it_names(folder, tmp_path):
    assert run(f"{folder}/**/p0*.png", tmp_path / "out") == 0
    assert len(keys(tmp_path / "out")) == 10


def tar_of(path: Path, entries: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_webdataset_tars_become_tars_of_the_same_samples(tmp_path):
    beside = {"caption": "of the json", "url": "https://example.org"}
    first = {
        "a.png": png(1),
        "a.txt": b"of the text",
        "b.png": png(2),
        "b.json": json.dumps(beside).encode(),
        "../../c.png": png(3),
        "d.txt": b"without a picture",
        "a.png.other": b"a second a",
    }
    tar_of(tmp_path / "in" / "00000.tar", first)
    tar_of(tmp_path / "in" / "00001.tar", {"e.png": png(5)})
    (tmp_path / "in" / "00000.parquet").write_bytes(b"addresses of img2dataset")
    assert run(tmp_path / "in", tmp_path / "out") == 0
    assert keys(tmp_path / "out") == ["a", "b", "c", "e"]
    contents = members(tmp_path / "out")
    assert (contents["a.txt"], contents["b.txt"]) == (b"of the text", b"of the json")
    assert json.loads(contents["b.json"])["input"] == beside
    assert "has no picture" in faults(tmp_path / "out")["d"]


@pytest.mark.parametrize("cut", ["in a picture", "between two members", "in a header"])
def test_of_a_tar_that_is_cut_short_what_is_whole_is_kept(tmp_path, cut):
    path = tmp_path / "in" / "00000.tar"
    tar_of(path, {f"{name}.png": png(number) for number, name in enumerate("abcd")})
    with tarfile.open(path) as tar:
        last = tar.getmember("d.png")
    length = {
        "in a picture": last.offset_data + 40,
        "between two members": last.offset,
        "in a header": last.offset + 100,
    }[cut]
    path.write_bytes(path.read_bytes()[:length])
    assert run(tmp_path / "in", tmp_path / "out") == 0
    assert keys(tmp_path / "out") in (["a", "b"], ["a", "b", "c"])
    assert len(faults(tmp_path / "out")) == 1


def test_what_cannot_be_read_is_listed_and_the_rest_is_made(folder, tmp_path, capsys):
    (folder / "p01.png").write_bytes(png(1)[:-200])
    (folder / "p02.png").write_bytes(b"")
    (folder / "p03.txt").write_bytes(b"\xff\xfe\xfd")
    Image.new("RGB", (20000, 2)).save(folder / "p05.png")
    assert run(folder, tmp_path / "out", "--resolution", "16") == 0
    reasons = faults(tmp_path / "out")
    words = {"p01.png": "damaged", "p02.png": "damaged", "p03.png": "UTF-8", "p05.png": "20000"}
    assert (len(keys(tmp_path / "out")), reasons.keys()) == (COUNT - 4, words.keys())
    assert all(word in reasons[name] for name, word in words.items()), reasons
    assert "4 could not be read (unreadable.jsonl)" in capsys.readouterr().out


@needs_pyarrow
def test_parquet_files_become_tars(tmp_path, capsys):
    import pyarrow
    from pyarrow import parquet

    pictures = [{"bytes": png(number), "path": None} for number in range(COUNT)]
    pictures[3] = {"bytes": None, "path": "elsewhere.png"}
    table = pyarrow.table(
        {"image": pictures, "text": [f"picture {number}" for number in range(COUNT)]}
    )
    (tmp_path / "in").mkdir()
    parquet.write_table(table, tmp_path / "in" / "train.parquet", row_group_size=14)
    (tmp_path / "in" / "cut.parquet").write_bytes(
        (tmp_path / "in" / "train.parquet").read_bytes()[:-50]
    )
    assert run(tmp_path / "in", tmp_path / "out") == 0
    assert len(keys(tmp_path / "out")) == COUNT - 1
    contents = members(tmp_path / "out")
    for number in {*range(COUNT)} - {3}:
        assert contents[f"train/{number:08d}.png"] == png(number)
        assert contents[f"train/{number:08d}.txt"] == f"picture {number}".encode()
    assert faults(tmp_path / "out").keys() == {"train.parquet, row 3", "cut.parquet"}
    assert run(tmp_path / "in", tmp_path / "other", "--picture-column", "jpeg") == 1
    assert "it has image, text" in capsys.readouterr().err


# Exactly once


def test_a_second_run_makes_what_is_missing_and_no_more(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(folder, out) == 0
    before = files(out)
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert run(folder, out) == 0
    assert all(path.stat().st_mtime_ns == times[path] for path in out.glob("*.tar"))
    (out / "00002.tar").unlink()
    (out / "00003_stats.json").unlink()
    (out / "00003.tar").unlink()
    (out / ".00003.tar.elsewhere-77.part").write_bytes(b"of a run that died")
    assert run(folder, out) == 0
    assert files(out) == before
    assert "3 of 5 shards are there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (["--params", "low_threshold=50"], "low_threshold"),
        (["--method", "tile"], "methods"),
        (["--resolution", "32"], "resolution 0, now 32"),
        (["--per-shard", "6"], "per_shard 5, now 6"),
    ],
)
def test_another_job_is_refused(folder, tmp_path, capsys, words, difference):
    out = tmp_path / "out"
    assert run(folder, out) == 0
    before = files(out)
    assert run(folder, out, *words) == 1
    assert difference in capsys.readouterr().err
    assert files(out) == before


def test_another_input_and_other_files_are_refused(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(folder, out) == 0
    (folder / "new.png").write_bytes(png(99))
    assert run(folder, out) == 1
    assert "was begun with input" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    assert run(folder, tmp_path / "full") == 1
    assert "holds other files (notes.txt)" in capsys.readouterr().err
    assert run(folder, folder / "out") == 1
    assert "would be annotated too" in capsys.readouterr().err


def test_two_runs_do_not_write_at_the_same_time(folder, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with locked(out / ".annotate.lock", lambda: pytest.fail("is free")):
        assert run(folder, out) == 1
    assert "another run writes there" in capsys.readouterr().err
    assert run(folder, out) == 0


@contextmanager
def file_limit(size_bytes: int):
    """Let files grow to a size only: the system answers as it does for a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit for the size of files")
@pytest.mark.parametrize("form", ["webdataset", "folder"])
def test_a_full_disk_ends_the_run_and_leaves_nothing_half(folder, tmp_path, capsys, form):
    out = tmp_path / "out"
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(folder / "p99.png")  # in the last shard
    with file_limit(64 * 1024):
        assert run(folder, out, "--form", form) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert sorted(path.name[:5] for path in out.glob("0*") if "stats" not in path.name) == [
        f"0000{number}" for number in range(4)
    ]
    assert not list(out.rglob("*.part"))
    assert run(folder, out, "--form", form) == 0
    assert run(folder, tmp_path / "other", "--form", form) == 0
    assert files(out) == files(tmp_path / "other")


def driver(source: Path, to: Path, *words: str) -> subprocess.Popen[str]:
    command_line = [sys.executable, str(ROOT / "annotate"), str(source), str(to)]
    command_line += ["--method", "canny", "--per-shard", "5", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command_line, env=surroundings, cwd=to.parent, **streams)


def writers(out: Path) -> set[int]:
    """List the processes that are writing a shard, by its temporary name."""
    parts = out.glob(".0*.tar.*.part")
    return {int(part.name.rpartition(".")[0].rpartition("-")[2]) for part in parts}


def waited(condition, seconds: float = 120.0):
    """Wait for something that is not empty, and return it."""
    for _ in range(int(seconds / 0.002)):
        if result := condition():
            return result
        time.sleep(0.002)
    raise AssertionError("nothing happened")


@pytest.fixture
def many(folder) -> Path:
    """Pictures large enough that a kill meets a shard half written."""
    for number in range(COUNT):
        Image.fromarray(drawing(number, 1000)).save(folder / f"q{number:02d}.png")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_workers_and_a_killed_driver_cost_nothing(many, tmp_path, capsys):
    out = tmp_path / "out"
    first = driver(many, out, "--workers", "2")
    killed = waited(lambda: writers(out)).pop()
    os.kill(killed, signal.SIGKILL)
    waited(lambda: len(list(out.glob("*.tar"))) >= 2)
    workers = waited(lambda: writers(out) - {killed})
    first.kill()
    first.communicate()
    assert len(list(out.glob("*.tar"))) < 10
    waited(lambda: not any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers))
    second = driver(many, out, "--workers", "2")
    printed, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors
    assert f"{2 * COUNT} pictures in 10 shards" in printed
    assert len(keys(out)) == 2 * COUNT
    assert run(many, tmp_path / "alone") == 0
    assert files(out) == files(tmp_path / "alone")


@needs_ray
@pytest.mark.slow
def test_a_ray_cluster_writes_the_same_bytes(folder, tmp_path):
    process = driver(folder, tmp_path / "out", "--ray", "local", "--workers", "2")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert run(folder, tmp_path / "alone") == 0
    assert files(tmp_path / "out") == files(tmp_path / "alone")


def test_without_ray_the_sentence_names_the_package(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(folder, tmp_path / "out", "--ray", "auto") == 1
    assert 'pip install "ray[data]"' in capsys.readouterr().err


class Deadly:
    """A worker process that is gone whenever a shard is asked for."""

    def __init__(self) -> None:
        self.stdin, self.stdout = io.StringIO(), iter(())

    def kill(self) -> None:
        """Be gone."""

    def wait(self) -> None:
        """Be gone."""


def test_a_shard_that_ends_every_worker_ends_the_run(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(crew, "started", lambda *_: Deadly())
    assert run(folder, tmp_path / "out", "--workers", "2") == 1
    assert "ended 3 workers, one after the other" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.tar"))


def test_workers_that_cannot_be_started_end_the_run(folder, tmp_path, capsys, monkeypatch):
    def refuse(*_given):
        raise OSError("no more processes")

    monkeypatch.setattr(crew, "started", refuse)
    assert run(folder, tmp_path / "out", "--workers", "2") == 1
    assert "ended 3 workers" in capsys.readouterr().err


# Networks


def test_networks_run_without_comfyui(folder, tmp_path):
    from safetensors.torch import save_file

    row = catalogue("hed")
    weights = row.weights["hed"]
    net = weights.module().eval()
    (tmp_path / "weights").mkdir()
    name = Path(weights.file).with_suffix(".safetensors").name
    save_file(net.state_dict(), tmp_path / "weights" / name)
    words = ["--method", "hed", "--weights", str(tmp_path / "weights"), "--device", "cpu"]
    assert run(f"{folder}/p0[1-3].png", tmp_path / "out", *words) == 0
    contents = members(tmp_path / "out")
    picture = torch.from_numpy(drawing(1) / 255).float()[None]
    hint = row(picture, networks=InMemory({weights.file: net}))[0]
    stored = np.asarray(Image.open(io.BytesIO(contents["p01.hed.png"])))
    assert (stored == (hint[..., 0] * 255).round().byte().numpy()).all()


def test_weights_that_are_nowhere_are_named(folder, tmp_path, capsys, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    words = ["--method", "hed", "--weights", str(tmp_path / "weights")]
    assert run(folder, tmp_path / "out", *words) == 1
    error = capsys.readouterr().err
    assert catalogue("hed").weights["hed"].file in error
    assert str(tmp_path / "weights") in error


# The command line


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--method", "cany"], "choose one of"),
        (["--params", "low_threshold"], "expected NAME=VALUE for canny, NAME one of low_threshold"),
        (["--params", "low_threshold=much"], "give a"),
        (["--method", "inpaint_hint"], "needs mask for each picture"),
        (["--method", "canny"], "canny is named twice"),
        (["--method", "tile", "--form", "folder"], "holds the hints of one method"),
        (["--workers", "-1"], "--workers -1: expected"),
        (["--ray", "nowhere:1", "--per-shard", "0"], "--per-shard 0: expected"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(folder, tmp_path, capsys, words, sentence):
    assert run(folder, tmp_path / "out", *words) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_input_without_pictures_is_refused(tmp_path, capsys):
    assert run(tmp_path / "nowhere", tmp_path / "out") == 1
    assert "nothing is there" in capsys.readouterr().err
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.gif").touch()
    assert run(tmp_path / "in", tmp_path / "out") == 1
    assert "expected files ending in .tar, .png" in capsys.readouterr().err


def test_tars_and_pictures_together_are_refused(folder, tmp_path, capsys):
    tar_of(folder / "a.tar", {"a.png": png(1)})
    assert run(folder, tmp_path / "out") == 1
    assert f"has 1 tars and {COUNT} pictures" in capsys.readouterr().err
    assert run(f"{folder}/*.tar", tmp_path / "out") == 0
    assert keys(tmp_path / "out") == ["a"]


def test_rate_and_remaining_time_are_those_of_the_last_minute():
    bar = gauge.Gauge(1000, 200, io.StringIO())
    began = bar._began
    bar.report("00000", 100, 100, True)
    assert "30.0%  100 pictures, 10.0 /s, 01:10 left" in bar.line(began + 10)
    bar.report("00001", 50, 50, False)
    assert "35.0%  150 pictures, 7.5 /s, 01:27 left" in bar.line(began + 20)
    assert gauge.clock(3723) == "1:02:03"


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are texts elsewhere")
def test_names_that_are_not_text_are_read_too(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in (b"a\xff.png", b"a\xfe.png"):
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name)).write_bytes(png(1))
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/b\xff.png")).write_bytes(b"no picture")
    assert run(tmp_path / "in", tmp_path / "out") == 0
    assert (len(keys(tmp_path / "out")), len(faults(tmp_path / "out"))) == (2, 1)
    assert "1 could not be read" in capsys.readouterr().out


def test_an_odd_picture_does_not_end_the_run_and_a_lost_card_ends_its_worker(
    folder, tmp_path, monkeypatch
):
    from pack.preprocessors import edges

    row, real = catalogue("canny"), edges.canny
    odd = drawing(2).mean()

    def failing(message):
        def canny(image, **given):
            if abs(float(image.mean()) * 255 - odd) < 1e-3:
                raise cv2.error(message)
            return real(image, **given)

        return canny

    monkeypatch.setitem(row.__dict__, "run", failing("an assertion failed"))
    assert run(folder, tmp_path / "out") == 0
    assert faults(tmp_path / "out") == {"p02.png": "canny: an assertion failed"}
    monkeypatch.setitem(row.__dict__, "run", failing("CUDA error: an illegal access"))
    with pytest.raises(cv2.error):
        run(folder, tmp_path / "other")
    assert not list((tmp_path / "other").glob(".*.part"))


def test_a_key_never_leaves_its_folder():
    assert samples.safe_key("/a/../../b.c") == "a/b_c"
    assert samples.safe_key("..") == "_"
    assert samples.split("x/a.b.Jpg") == ("x/a", ".b.jpg")
