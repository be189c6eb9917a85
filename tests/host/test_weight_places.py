"""Where weights are looked for, and which files are never opened: graphs that run as programs."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from pack.preprocessors import CATALOGUE, pose
from pack.preprocessors.spec import Weights

NET = Weights("tiny.pth", "someone/nets", nn.Identity, "MIT", also=("small.pth",))
REMOTE = dataclasses.replace(NET, file="tiny.safetensors", remote="sub/model.safetensors", also=())
UNPINNED = {
    # No commit and no sha256 of these is known here; all hold tensors alone.
    "OzzyGT/teed",
    "OzzyGT/lineart",
    "PekingU/rtdetr_r18vd",
    "depth-anything/Depth-Anything-V2-Base-hf",
    "shi-labs/oneformer_coco_swin_large",
}


def every_file() -> Iterator[Weights]:
    todo = [weights for row in CATALOGUE for weights in row.weights.values()]
    while todo:
        weights = todo.pop()
        yield weights
        todo += weights.beside


def test_every_download_is_pinned_but_those_that_are_named():
    loose = {weights.repo for weights in every_file() if weights.revision == "main"}
    # A file without a commit is identified by its sha256 all the same.
    without_hash = {weights.repo for weights in every_file() if not weights.sha256}
    assert loose & without_hash <= UNPINNED
    assert without_hash <= UNPINNED
    for weights in every_file():
        assert weights.revision == "main" or len(weights.revision) == 40, weights.file
        assert weights.sha256 == "" or len(weights.sha256) == 64, weights.file
        assert weights.sha256 or not weights.opened, f"{weights.file} runs, and nothing vouches"


# -- graphs ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(host, tmp_path, monkeypatch) -> Path:
    """Give the only one of our folders; other tools' are empty."""
    import folder_paths

    models = tmp_path / "models"
    named = {
        "controlnet_preprocessors": ([], set()),
        "controlnet": ([str(models / "controlnet")], set()),
        "custom_nodes": ([str(tmp_path / "custom_nodes")], set()),
    }
    monkeypatch.setattr(folder_paths, "models_dir", str(models))
    monkeypatch.setattr(
        folder_paths, "folder_names_and_paths", {**folder_paths.folder_names_and_paths, **named}
    )
    monkeypatch.delenv("AUX_ANNOTATOR_CKPTS_PATH", raising=False)
    place = models / "controlnet_preprocessors"
    place.mkdir(parents=True)
    return place


class Writes(nn.Module):
    """torch's own operations write a file, as soon as the graph runs."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        stored = torch.from_file(self.path, shared=True, size=6, dtype=torch.uint8)
        stored.copy_(torch.tensor([112, 119, 110, 101, 100, 10], dtype=torch.uint8))
        return frames + stored.sum()


def hostile_graph(target: Path) -> bytes:
    file = target.with_suffix(".pt")
    torch.jit.script(Writes(str(target))).save(str(file))
    content = file.read_bytes()
    file.unlink()
    return content


GRAPHS = [weights for weights in every_file() if weights.opened]


@pytest.mark.parametrize("weights", GRAPHS, ids=lambda weights: weights.file)
@pytest.mark.parametrize("is_sha256_known", [True, False], ids=["sha256", "no sha256"])
def test_a_graph_is_opened_only_if_it_is_the_published_file(
    folder, tmp_path, weights, is_sha256_known, monkeypatch
):
    """Whatever its name and its ending: the network's own, or those of other formats."""
    from pack.host import runtime

    opened = []
    trusted = weights if is_sha256_known else dataclasses.replace(weights, sha256="", size_bytes=0)
    trusted = dataclasses.replace(trusted, package="", opened=opened.append)
    stem = weights.file.removesuffix(".pt").removesuffix(".onnx")
    content = hostile_graph(tmp_path / "pwned")
    monkeypatch.setattr(runtime, "fetch", lambda *_: pytest.fail("would download"))
    for name in (weights.file, f"{stem}.safetensors", f"{stem}.sft"):
        path = folder / name
        path.write_bytes(content)
        monkeypatch.setattr(runtime, "find", lambda _, path=path: path)
        with pytest.raises(RuntimeError, match=r"holds a graph that runs as a program") as refused:
            runtime.HostNetworks()._patcher(trusted)
        assert str(path) in str(refused.value)
    assert opened == []
    assert not (tmp_path / "pwned").exists()


def test_the_published_graph_is_opened_under_any_name(folder, tmp_path):
    from pack.host import runtime
    from pack.preprocessors.nets import dwpose

    net = dwpose.PoseStandIn().eval()
    file = folder / "älter.pt"
    torch.jit.trace(net, torch.rand(1, 3, 384, 288)).save(str(file))
    published = dataclasses.replace(
        pose.DWPOSE, file=file.name, sha256=hashlib.sha256(file.read_bytes()).hexdigest()
    )
    patcher = runtime.HostNetworks()._patcher(published)
    assert patcher.network(torch.rand(1, 3, 384, 288))[0].shape == (1, 133, 576)


def test_a_graph_is_never_taken_from_a_file_of_another_ending(folder):
    from pack.host import weights

    (folder / "yolox_l.torchscript.safetensors").touch()
    assert weights.find(pose.YOLOX) is None
    (folder / "yolox_l.torchscript.pt").touch()
    assert weights.find(pose.YOLOX) == folder / "yolox_l.torchscript.pt"


# -- places ----------------------------------------------------------------------------------------

LAYOUTS = {
    "a folder of its own": (NET, "edges/tiny.pth"),
    "folders in folders": (NET, "a/b/c/d/tiny.pth"),
    "controlnet_aux": (NET, "someone/nets/tiny.pth"),
    "controlnet_aux, another repository": (NET, "else/where/tiny.pth"),
    "controlnet_aux, a subfolder": (NET, "else/where/folder/small.pth"),
    "a folder that holds controlnet_aux's": (NET, "ckpts/someone/nets/tiny.pth"),
    "WEBUI": (NET, "tiny/tiny.pth"),
    "the hub's cache": (NET, "models--someone--nets/snapshots/0a1b/tiny.pth"),
    "the published name": (REMOTE, "someone/nets/sub/model.safetensors"),
    "the published name in the hub's cache": (
        REMOTE,
        "models--someone--nets/snapshots/0a1b/sub/model.safetensors",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("root", ["ours", "named in the yaml", "moved by the environment"])
def test_other_tools_folders_are_understood_inside_of_any(
    folder, tmp_path, monkeypatch, layout, root
):
    import folder_paths

    from pack.host import weights

    net, place = LAYOUTS[layout]
    other = tmp_path / "ckpts of another tool"
    if root == "named in the yaml":
        folder_paths.folder_names_and_paths["controlnet_preprocessors"][0].append(str(other))
    if root == "moved by the environment":
        monkeypatch.setenv("AUX_ANNOTATOR_CKPTS_PATH", str(other))
    file = (folder if root == "ours" else other) / place
    assert weights.find(net) is None
    file.parent.mkdir(parents=True)
    file.touch()
    assert weights.find(net) == file


@pytest.mark.parametrize(
    "place", ["model.safetensors", "else/where/model.safetensors", "sub/model.safetensors"]
)
def test_a_name_that_many_repositories_use_counts_in_its_own_alone(folder, place):
    from pack.host import weights

    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).touch()
    assert weights.find(REMOTE) is None


def test_the_near_file_comes_first_and_safetensors_before_pickles(folder):
    from pack.host import weights

    for place in ("a/small.pth", "b/tiny.pth", "c/tiny.safetensors", "someone/nets/tiny.pth",
                  "tiny.pth", "tiny.safetensors"):  # fmt: skip
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).touch()
        assert weights.find(NET) == folder / place


def test_links_in_a_circle_end(folder):
    from pack.host import weights

    (folder / "a").mkdir()
    (folder / "a" / "again").symlink_to(folder)
    (folder / "loop").symlink_to(folder / "loop")
    assert weights.find(NET) is None
    (folder / "a" / "tiny.pth").touch()
    assert weights.find(NET) == folder / "a" / "tiny.pth"


def test_a_whole_disk_is_not_searched(folder, monkeypatch):
    from pack.host import weight_files, weights

    for number in range(30):
        (folder / f"{number:02}").mkdir()
    (folder / "29" / "tiny.pth").touch()
    assert weights.find(NET) is not None
    monkeypatch.setattr(weight_files, "MOST_FOLDERS", 10)
    assert weights.find(NET) is None


def test_what_cannot_be_read_is_passed_over(folder, tmp_path, monkeypatch):
    """As another user sees it: root reads everything, so the system's answers are replaced."""
    import folder_paths

    from pack.host import weights

    pack = tmp_path / "custom_nodes" / "comfyui_controlnet_aux"
    (pack / "ckpts" / "someone" / "nets").mkdir(parents=True)
    (folder / "locked").mkdir()
    (folder / "locked" / "tiny.pth").touch()
    (folder / "tiny.safetensors").touch()
    locked = {str(pack), str(pack / "ckpts"), str(folder / "locked")}
    secret = str(folder / "tiny.safetensors")
    real = {name: getattr(os, name) for name in ("stat", "scandir", "listdir", "access")}

    def refusing(name):
        def call(path, *given, **options):
            text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
            if text in locked or (isinstance(text, str) and text.startswith((*locked,))):
                raise PermissionError(13, "Permission denied", text)
            return real[name](path, *given, **options)

        return call

    for name in ("stat", "scandir", "listdir"):
        monkeypatch.setattr(os, name, refusing(name))
    monkeypatch.setattr(os, "access", lambda path, *_: os.fspath(path) != secret)
    assert weights.find(NET) is None
    folder_paths.folder_names_and_paths["custom_nodes"][0].insert(0, str(pack))
    (folder / "tiny.pth").touch()
    assert weights.find(NET) == folder / "tiny.pth"


# -- where downloads go ----------------------------------------------------------------------------


def test_downloads_go_to_the_first_folder_that_can_be_written(folder, tmp_path, monkeypatch):
    import folder_paths

    from pack.host import runtime

    (tmp_path / "file").touch()
    read_only = [tmp_path / "file" / "below", Path("/proc/weights")]  # refused to every user
    places = folder_paths.folder_names_and_paths["controlnet_preprocessors"][0]
    places += [*map(str, read_only), str(tmp_path / "second")]
    asked = []

    def fetch(_weights, into, *_):
        asked.append(into)
        raise runtime.WeightsError("offline")

    monkeypatch.setattr(runtime, "fetch", fetch)
    with pytest.raises(RuntimeError, match="offline"):
        runtime.HostNetworks()._patcher(NET)
    assert asked == [tmp_path / "second"]
    assert list((tmp_path / "second").iterdir()) == []


def test_no_folder_that_can_be_written_is_a_sentence(folder, tmp_path):
    from pack.host import downloads

    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError, match=r"could not be downloaded: .*put it into .*below\."):
        downloads.fetch(NET, tmp_path / "file" / "below", lambda *_: None, lambda _: None)
