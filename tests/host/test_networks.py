"""Networks of preprocessors in the real ComfyUI: weights, reuse, memory pressure, damaged files."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import io
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from pack.preprocessors import CATALOGUE
from pack.preprocessors.build import InMemory
from workbench import random_weights as some_weights

GOLDEN = Path(__file__).resolve().parents[1] / "unit" / "golden" / "hed_chelsea.png"
"""Made by controlnet_aux: unit/test_softedges.py says how."""


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)


class Code:
    """Content of a malicious checkpoint: unpickling it would write a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "it ran")


def brightness(net: Tiny, frames: torch.Tensor) -> torch.Tensor:
    """(b,H,W,3) → (b,H,W,1)."""
    return torch.sigmoid(net.conv(frames.movedim(-1, 1))).movedim(1, -1)


@pytest.fixture(scope="module")
def spec():
    from pack.preprocessors import spec

    return spec


@pytest.fixture(scope="module")
def runtime():
    from pack.host import runtime

    return runtime


@pytest.fixture
def folder(runtime, host, tmp_path, monkeypatch) -> Path:
    """Give the first of our folders, empty; ComfyUI's other folders do not count."""
    import folder_paths

    models = tmp_path / "models"
    monkeypatch.setattr(folder_paths, "models_dir", str(models))
    named = {
        "controlnet_preprocessors": ([], set()),
        "controlnet": ([str(models / "controlnet")], set()),
        "custom_nodes": ([str(tmp_path / "custom_nodes")], set()),
    }
    monkeypatch.setattr(
        folder_paths, "folder_names_and_paths", {**folder_paths.folder_names_and_paths, **named}
    )
    place = models / "controlnet_preprocessors"
    place.mkdir(parents=True)
    return place


@pytest.fixture
def published(tmp_path) -> bytes:
    torch.manual_seed(3)
    torch.save(Tiny().state_dict(), tmp_path / "published.pth")
    return (tmp_path / "published.pth").read_bytes()


@pytest.fixture
def weights(spec, published):
    return spec.Weights(
        file="tiny.pth",
        repo="someone/nets",
        module=Tiny,
        licence="MIT",
        sha256=hashlib.sha256(published).hexdigest(),
        size_bytes=len(published),
    )


@pytest.fixture
def networks(runtime):
    import comfy.model_management

    yield runtime.HostNetworks()
    comfy.model_management.unload_all_models()


@pytest.fixture
def frames() -> torch.Tensor:
    torch.manual_seed(4)
    return torch.rand(7, 20, 30, 3)


@pytest.fixture(autouse=True)
def no_downloads(request, monkeypatch):
    """Raise an error for every download, so that nothing leaves this machine."""
    if "folder" in request.fixturenames:
        from pack.host import runtime

        def refuse(weights, folder, *_):
            raise runtime.WeightsError(f"would fetch {weights.file} into {folder}")

        monkeypatch.setattr(runtime, "fetch", refuse)


def expected(published: bytes, frames: torch.Tensor) -> torch.Tensor:
    net = Tiny()
    net.load_state_dict(torch.load(io.BytesIO(published), weights_only=True))
    with torch.inference_mode():
        return brightness(net, frames)


# Where files are found


def test_our_folder_is_registered_when_the_pack_loads(host, monkeypatch):
    import asyncio

    import folder_paths

    from pack.nodes import ControlStackExtension

    monkeypatch.setattr(
        folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths)
    )
    folder_paths.folder_names_and_paths.pop("controlnet_preprocessors", None)
    asyncio.run(ControlStackExtension().get_node_list())
    assert folder_paths.get_folder_paths("controlnet_preprocessors") == [
        str(Path(folder_paths.models_dir) / "controlnet_preprocessors")
    ]


PLACES = {
    "ours": "models/controlnet_preprocessors/tiny.pth",
    "controlnet_aux": "custom_nodes/comfyui_controlnet_aux/ckpts/someone/nets/tiny.pth",
    "a sibling, under another repository": "custom_nodes/other/ckpts/else/where/folder/tiny.pth",
    "WEBUI": "webui/extensions/sd-webui-controlnet/annotator/downloads/tiny/tiny.pth",
    "Forge": "models/ControlNetPreprocessor/tiny/tiny.pth",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_files_are_found_where_other_tools_keep_them(
    networks, folder, weights, published, frames, tmp_path, place, monkeypatch
):
    import folder_paths

    # As the a111 section of extra_model_paths.yaml names it.
    webui = str(tmp_path / "webui" / "models" / "ControlNet")
    folder_paths.folder_names_and_paths["controlnet"][0].append(webui)
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(published)
    assert networks.run(weights, frames, brightness).equal(expected(published, frames))


def test_a_safetensors_file_comes_before_the_pickle_and_ours_before_others(
    runtime, folder, weights, tmp_path
):
    aux = tmp_path / PLACES["controlnet_aux"]
    aux.parent.mkdir(parents=True)
    for path in (aux, folder / "tiny.pth", folder / "tiny.safetensors"):
        path.touch()
        assert runtime.find(weights) == path


def test_other_names_of_the_same_net_are_found(runtime, folder, weights):
    (folder / "small.bin").touch()
    assert runtime.find(weights) is None
    assert runtime.find(dataclasses.replace(weights, also=("small.bin",))) == folder / "small.bin"


def test_folders_of_extra_model_paths_yaml_are_searched(runtime, host, folder, weights, tmp_path):
    """Read the file by ComfyUI's own reader."""
    where = host.path / "utils" / "extra_config.py"
    described = importlib.util.spec_from_file_location("extra_config", where)
    extra_config = importlib.util.module_from_spec(described)
    described.loader.exec_module(extra_config)
    (tmp_path / "big" / "nets").mkdir(parents=True)
    (tmp_path / "extra.yaml").write_text(
        f"big:\n  base_path: {tmp_path / 'big'}\n  controlnet_preprocessors: nets\n"
    )
    extra_config.load_extra_path_config(str(tmp_path / "extra.yaml"))
    (tmp_path / "big" / "nets" / "tiny.pth").touch()
    assert runtime.find(weights) == tmp_path / "big" / "nets" / "tiny.pth"
    assert runtime.folders() == [tmp_path / "big" / "nets", folder]


# Loaded networks stay in memory


def test_the_second_run_reads_nothing(networks, folder, weights, published, frames):
    (folder / "tiny.pth").write_bytes(published)
    first = networks.run(weights, frames, brightness)
    (folder / "tiny.pth").unlink()  # there is nothing left to read
    assert networks.run(weights, frames, brightness).equal(first)


def test_nodes_share_a_model(runtime, folder, frames, monkeypatch):
    from comfy.model_management import loaded_models

    from pack.nodes import preprocess
    from pack.preprocessors import softedges

    save_file(softedges.TEED.module().state_dict(), folder / "teed.safetensors")
    monkeypatch.setattr(preprocess, "networks", runtime.HostNetworks())
    read, count = runtime.read, []
    monkeypatch.setattr(runtime, "read", lambda *given: count.append(given) or read(*given))
    for node in (preprocess.ControlStackSoftEdge, preprocess.ControlStackFakeScribble):
        node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(image=frames, engine="teed")
    method = {"method": "softedge", "engine": "teed", "safe": False}
    node = preprocess.ControlStackPreprocess.PREPARE_CLASS_CLONE(None)
    node.EXECUTE_NORMALIZED(image=frames, resolution=0, method=method)
    assert len(count) == 1
    assert [type(model.model).__name__ for model in loaded_models()].count("TEED") == 1


def test_the_hed_node_equals_the_reference_with_trained_weights(runtime, folder, monkeypatch):
    from skimage import data

    from pack.nodes import preprocess

    save_file(some_weights.hed(), folder / "ControlNetHED.safetensors")
    monkeypatch.setattr(preprocess, "networks", runtime.HostNetworks())
    photo = cv2.resize(
        np.ascontiguousarray(data.chelsea()[:300, :300]), (256, 256), interpolation=cv2.INTER_AREA
    )
    image = torch.from_numpy(photo[None].astype(np.float32) / 255)
    hint = (
        preprocess.ControlStackHED.PREPARE_CLASS_CLONE(None)
        .EXECUTE_NORMALIZED(image=image)
        .result[0]
    )
    golden = cv2.imread(str(GOLDEN), cv2.IMREAD_GRAYSCALE).astype(np.float64)
    assert np.abs(hint[0, ..., 0].double().numpy() * 255 - golden).max() <= 2


def test_a_replaced_file_is_read_again(networks, folder, weights, published, frames):
    (folder / "tiny.pth").write_bytes(published)
    first = networks.run(weights, frames, brightness)
    torch.manual_seed(9)
    save_file(Tiny().state_dict(), folder / "tiny.safetensors")
    assert networks.run(weights, frames, brightness).equal(first)  # the one in use is still there
    (folder / "tiny.pth").write_bytes(b"")  # as after an interrupted copy
    assert not networks.run(weights, frames, brightness).equal(first)


# Memory pressure


EVERY = {
    weights.file: weights
    for row in CATALOGUE
    for engine in row.weights.values()
    for weights in (engine, *engine.beside)
    if not weights.opened
}


@pytest.mark.quick
@pytest.mark.parametrize("file", EVERY)
def test_comfyui_holds_every_network(runtime, file):
    """ComfyUI notes its device at what it loads; networks of transformers have a fixed one."""
    nowhere = torch.device("meta")
    with nowhere:
        network = EVERY[file].module()
    patcher = runtime.UnsplittableModel(runtime.held(network), nowhere, nowhere)
    patcher.partially_load(nowhere)
    assert patcher.model.device == nowhere
    patcher.detach()
    assert patcher.network is network


def test_a_network_of_transformers_runs_from_its_file(runtime, networks, folder, monkeypatch):
    (row,) = [row for row in CATALOGUE if row.key == "segmentation"]
    weights, random = row.weights["upernet"], some_weights.Random(CATALOGUE)
    (folder / weights.file).write_bytes(b"weights")
    monkeypatch.setattr(runtime, "read", lambda *_: {})
    monkeypatch.setattr(runtime, "filled", lambda weights, _: random[weights.file])
    picture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(5))
    given = {"engine": "upernet", "resolution": 64}
    expected = row.full(picture, networks=InMemory(random), **given)[0]
    assert row.full(picture, networks=networks, **given)[0].equal(expected)


def test_unloading_frees_the_network_and_the_next_run_is_identical(
    networks, folder, weights, published, frames
):
    import comfy.model_management

    (folder / "tiny.pth").write_bytes(published)
    first = networks.run(weights, frames, brightness)
    (warm,) = networks.warm.values()
    assert any(model is warm.patcher for model in comfy.model_management.loaded_models())
    comfy.model_management.unload_all_models()
    assert not any(model is warm.patcher for model in comfy.model_management.loaded_models())
    assert warm.patcher.is_empty  # its memory is free
    assert networks.run(weights, frames, brightness).equal(first)


@pytest.mark.parametrize("scarce", [False, True])
def test_a_network_moves_from_gpu_to_ram_unless_ram_is_scarce(runtime, monkeypatch, scarce):
    """`cpu:0` stands for RAM and `cpu` for the GPU: ComfyUI takes them for two devices."""
    import comfy.model_management as management

    monkeypatch.setattr(runtime, "_ram_is_scarce", lambda: scarce)
    patcher = runtime.UnsplittableModel(
        runtime.held(Tiny()), torch.device("cpu"), torch.device("cpu", 0)
    )
    management.load_models_gpu([patcher], force_full_load=True)
    assert patcher.model.model_loaded_weight_memory > 0
    (loaded,) = [loaded for loaded in management.current_loaded_models if loaded.model is patcher]
    assert loaded.model_unload(memory_to_free=1), (
        "one byte is requested and all memory is freed: the network cannot run in parts"
    )
    management.current_loaded_models.remove(loaded)
    assert patcher.model.model_loaded_weight_memory == 0
    assert patcher.is_empty == scarce


def sizes_of(networks, weights, frames, **given) -> tuple[list[int], torch.Tensor]:
    """Return the number of frames in each chunk, and the result."""
    seen = []

    def forward(net, chunk):
        seen.append(len(chunk))
        return brightness(net, chunk)

    return seen, networks.run(weights, frames, forward, **given)


def test_chunks_fit_into_free_memory(
    runtime, networks, folder, weights, published, frames, monkeypatch
):
    import comfy.model_management as management

    (folder / "tiny.pth").write_bytes(published)
    px = 20 * 30
    three = 3.5 * px * weights.bytes_per_px / runtime.FREE_SHARE
    monkeypatch.setattr(management, "get_free_memory", lambda *_, **__: three)
    seen, hints = sizes_of(networks, weights, frames, px_per_frame=px)
    assert seen == [3, 3, 1]
    assert_close(hints, expected(published, frames))


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory: 9 bytes"
        ),
        MemoryError(),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_chunk_that_does_not_fit_is_halved(networks, folder, weights, published, frames, error):
    (folder / "tiny.pth").write_bytes(published)
    tried, reported = [], []

    def forward(net, chunk):
        tried.append(len(chunk))
        if len(chunk) > 2:
            raise error
        return brightness(net, chunk)

    hints = networks.run(weights, frames, forward, progress=lambda *at: reported.append(at))
    assert tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert_close(hints, expected(published, frames))
    assert reported == sorted(reported)
    assert (reported[0], reported[-1]) == ((0, 7), (7, 7))


def test_a_frame_that_never_fits_raises_a_sentence(networks, folder, weights, published, frames):
    (folder / "tiny.pth").write_bytes(published)

    def forward(net, chunk):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(
        RuntimeError,
        match=r"Tiny runs out of memory on one frame of \(20, 30, 3\) .* lower the resol",
    ):
        networks.run(weights, frames, forward)


def test_a_frame_beyond_the_ram_is_refused_before_it_ends_comfyui(
    networks, runtime, folder, weights, published, frames, monkeypatch
):
    """Linux grants what is not there: nothing may run."""
    (folder / "tiny.pth").write_bytes(published)
    monkeypatch.setattr(runtime, "available_bytes", lambda: 8 * 10**9)
    with pytest.raises(
        RuntimeError, match=r"one frame of 67 million pixels .* at least 17 GB .* 8\.0 GB are free"
    ):
        networks.run(
            weights, frames, lambda *_: pytest.fail("it was run"), px_per_frame=8192 * 8192
        )
    assert len(networks.run(weights, frames, brightness, px_per_frame=2048 * 2048)) == len(frames)


def test_other_errors_are_not_taken_for_out_of_memory(networks, folder, weights, published, frames):
    (folder / "tiny.pth").write_bytes(published)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        networks.run(
            weights, frames, lambda net, chunk: (_ for _ in ()).throw(RuntimeError("mat1 and mat2"))
        )


def test_cancel_is_obeyed_between_chunks(
    networks, runtime, folder, weights, published, frames, monkeypatch
):
    import comfy.model_management as management

    (folder / "tiny.pth").write_bytes(published)
    monkeypatch.setitem(runtime.CHUNK_PX, "cpu", 2 * 20 * 30)
    seen = []

    def forward(net, chunk):
        seen.append(len(chunk))
        management.interrupt_current_processing(True)
        return brightness(net, chunk)

    with pytest.raises(management.InterruptProcessingException):
        networks.run(weights, frames, forward, px_per_frame=20 * 30, progress=runtime.progress())
    assert seen == [2]
    assert_close(networks.run(weights, frames, brightness), expected(published, frames))


# Damaged and unsuitable files


def _damaged(published: bytes, tmp_path: Path) -> dict[str, tuple[str, bytes, str]]:
    """List (file name, its bytes, words of the error) for each kind of damage."""
    torch.save(Other().state_dict(), tmp_path / "other.pth")
    save_file(Tiny().state_dict(), tmp_path / "tiny.safetensors")
    whole = (tmp_path / "tiny.safetensors").read_bytes()
    code = tmp_path / "code.pth"
    torch.save({"conv.weight": Code(tmp_path / "it_ran")}, code)
    legacy = pickle.dumps(Code(tmp_path / "it_ran"), protocol=2)
    return {
        "cut short": ("tiny.pth", published[:-100], "is cut short: "),
        "longer": ("tiny.pth", published + b"more", "is another file of that name"),
        "wrong hash": (
            "tiny.pth",
            published[:-1] + b"!",
            "is not the file that someone/nets publishes: expected sha256",
        ),
        "unnamed and cut short": (
            "mine.pth",
            published[: len(published) // 2],
            "is damaged or cut short",
        ),
        "cut safetensors": ("tiny.safetensors", whole[:-4], "is cut short: its header promises"),
        "empty safetensors": ("tiny.safetensors", b"", "the file is empty"),
        "another net": (
            "mine.pth",
            (tmp_path / "other.pth").read_bytes(),
            "does not hold the network that this engine",
        ),
        "code": ("mine.pth", code.read_bytes(), "could run code"),
        "legacy code": ("mine.pth", legacy, "could run code"),
        "a web page": ("mine.pth", b"<!DOCTYPE html><html>404</html>", "does not contain weights"),
        "no table": (
            "mine.pth",
            _saved(tmp_path, [1, 2]),
            "expected a dict of tensors, found list",
        ),
        "no tensors": (
            "mine.pth",
            _saved(tmp_path, {"epoch": 1}),
            "expected a dict of tensors, found dict",
        ),
    }


def _saved(tmp_path: Path, value) -> bytes:
    torch.save(value, tmp_path / "saved.pth")
    return (tmp_path / "saved.pth").read_bytes()


KINDS = (
    "cut short",
    "longer",
    "wrong hash",
    "unnamed and cut short",
    "cut safetensors",
    "empty safetensors",
)
KINDS += ("another net", "code", "legacy code", "a web page", "no table", "no tensors")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_is_named_with_a_remedy(
    networks, folder, weights, published, frames, tmp_path, kind
):
    name, content, words = _damaged(published, tmp_path)[kind]
    weights = dataclasses.replace(weights, also=("mine.pth",))
    (folder / name).write_bytes(content)
    before = sorted(folder.iterdir())
    with pytest.raises(RuntimeError) as refused:
        networks.run(weights, frames, brightness)
    sentence = str(refused.value)
    assert words in sentence
    assert str(folder / name) in sentence
    assert "https://huggingface.co/someone/nets/resolve/main/tiny.pth" in sentence
    assert sorted(folder.iterdir()) == before
    assert not (tmp_path / "it_ran").exists()
    (folder / name).unlink()
    (folder / "tiny.pth").write_bytes(published)
    assert networks.run(weights, frames, brightness).equal(expected(published, frames))


def test_weights_inside_a_checkpoint_are_used(networks, folder, weights, frames, tmp_path):
    state = Tiny().state_dict()
    torch.save({"epoch": 3, "state_dict": state}, folder / "mine.pth")
    hints = networks.run(dataclasses.replace(weights, also=("mine.pth",)), frames, brightness)
    net = Tiny()
    net.load_state_dict(state)
    with torch.inference_mode():
        assert hints.equal(brightness(net, frames))
