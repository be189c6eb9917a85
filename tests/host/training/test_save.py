"""Test what Save writes: ComfyUI's loader reads it, never half a file, never outside its folder."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from .conftest import discs

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

ROOT = Path(__file__).resolve().parents[3]


def save(net, name, precision="fp32", **options):
    from pack.nodes.train import Save

    with torch.inference_mode():
        return Save.execute(net, name, precision, **options)


def loaded(name):
    import folder_paths

    import nodes

    folder_paths.filename_list_cache.clear()
    with torch.inference_mode():
        return nodes.ControlNetLoader().load_controlnet(name)[0]


@pytest.fixture(scope="module")
def trained(studio):
    return studio.train(studio.create(), studio.dataset(*discs(2)), steps=2)[0]


@pytest.mark.quick
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_hosts_loader_gives_the_same_net(studio, trained, folder, precision):
    save(trained, "trained", precision)
    net = loaded("trained.safetensors")
    weights = net.control_model.state_dict()
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    assert all(
        weights[key].float().equal(value.to(dtype).float())
        for key, value in trained.control_model.state_dict().items()
    )
    ours, theirs = studio.residuals(trained), studio.residuals(net)
    if precision == "fp32":
        assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))
    assert all(
        torch.allclose(a, b.float(), rtol=0.1, atol=0.02 * a.abs().max())
        for a, b in zip(ours, theirs, strict=True)
    )


def test_our_loader_recognises_the_saved_net(studio, trained, folder):
    from pack.control.net_info import source_of
    from pack.host.control_files import load_net

    save(trained, "folder/edges")
    import folder_paths

    folder_paths.filename_list_cache.clear()
    net = load_net("folder/edges.safetensors")
    assert source_of(net).identity.unet.skips[0] == 32
    assert studio.residuals(net)[0].equal(studio.residuals(trained)[0])
    with safe_open(folder / "folder" / "edges.safetensors", "pt") as file:
        metadata = file.metadata()
        # as the original releases have them; diffusers tells a ControlNet by this prefix
        assert all(key.startswith("control_model.") for key in file.keys())  # noqa: SIM118
        assert "control_model.time_embed.0.weight" in file.keys()  # noqa: SIM118 (no mapping)
    assert metadata["controlstack.steps"] == "2"
    assert metadata["controlstack.pairs"] == "2"
    assert len(metadata["controlstack.dataset_sha256"]) == 64
    assert json.loads(metadata["controlstack.settings"])["learning_rate"] == 1e-3
    norms = json.loads(metadata["controlstack.zero_convolution_norms"])
    assert list(norms) == [*(f"zero_convs.{i}" for i in range(12)), "middle_block_out"]
    convolution = trained.control_model.zero_convs[3][0]
    squares = convolution.weight.square().sum() + convolution.bias.square().sum()
    assert norms["zero_convs.3"] == pytest.approx(squares.sqrt().item(), abs=1e-6)


def test_an_existing_file_is_left_alone(trained, folder):
    save(trained, "mine")
    before = (folder / "mine.safetensors").read_bytes()
    for name in ("mine", "mine.safetensors"):
        with pytest.raises(ValueError, match=r"mine.safetensors is there already.*overwrite"):
            save(trained, name, "fp16")
    assert (folder / "mine.safetensors").read_bytes() == before
    save(trained, "mine", "fp16", overwrite=True)
    assert (folder / "mine.safetensors").stat().st_size < 0.6 * len(before)


@pytest.mark.parametrize(
    "name", ["", "  ", "../x", "a/../../x", "/tmp/x", "..\\x", "C:\\x", "a/..", ".", "a/"]
)
def test_names_that_lead_elsewhere_are_refused(trained, folder, name):
    before = {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")}
    if name == "a/":  # a file named a
        save(trained, name)
        assert (folder / "a.safetensors").exists()
        return
    with pytest.raises(ValueError, match="expected a name"):
        save(trained, name)
    assert {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")} == before


def test_links_that_lead_elsewhere_are_refused(trained, folder, tmp_path):
    (folder / "away").symlink_to(tmp_path)
    (folder / "file.safetensors").symlink_to(tmp_path / "target.safetensors")
    for name in ("away/x", "file"):
        with pytest.raises(ValueError, match="over a link"):
            save(trained, name, overwrite=True)
    assert not any(tmp_path.iterdir())


def test_checkpoints_stay_in_their_folder(studio):
    for name in ("../x", "/tmp/x"):
        with pytest.raises(ValueError, match="checkpoint: expected a name"):
            studio.train(studio.create(), studio.dataset(*discs(2)), checkpoint=name)


def test_weights_that_are_not_finite_are_refused(studio, folder):
    net = studio.create()
    with torch.no_grad():
        net.control_model.zero_convs[0][0].weight.fill_(1e6)
    with pytest.raises(ValueError, match=r"not finite in torch.float16.*fp32"):
        save(net, "huge", "fp16")
    assert not (folder / "huge.safetensors").exists()


@pytest.fixture
def small_disk():
    """Refuse to let any file of this process grow beyond a megabyte, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_is_a_sentence(trained, folder, small_disk, tmp_path):
    """Leave the old file as it was, and no half file."""
    (folder / "old.safetensors").write_bytes(b"old")
    with pytest.raises(
        OSError, match=r"old.safetensors.*(disk is full|could not be written).*untouched"
    ):
        save(trained, "old", overwrite=True)
    assert (folder / "old.safetensors").read_bytes() == b"old"
    with pytest.raises(OSError, match="nothing was left behind"):
        save(trained, "new")
    assert not [path for path in folder.iterdir() if "part" in path.name or path.stem == "new"]


def test_the_words_of_a_full_disk(tmp_path, monkeypatch):
    """The system's and safetensors' own errors become one sentence that says what to do."""
    import errno

    from safetensors import SafetensorError

    from pack.training import checkpoint_files

    weights, path = {"a": torch.zeros(1_000_000)}, tmp_path / "net.safetensors"
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ):

        def refuse(*_, error=error, **__):
            raise error

        monkeypatch.setattr(checkpoint_files, "save_file", refuse)
        with pytest.raises(
            OSError, match=r"^net\.safetensors: the disk is full; 4 MB are needed in"
        ):
            checkpoint_files.save(weights, path, {})
    assert not any(tmp_path.iterdir())


SAVES = """
import importlib.util, sys
from pathlib import Path
init = Path({root!r}) / "__init__.py"
spec = importlib.util.spec_from_file_location("pack", init, submodule_search_locations=[{root!r}])
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
import torch
from pack.training import checkpoint_files
weights = {{str(i): torch.full((500_000,), 2.0) for i in range(20)}}
print("ready", flush=True)
while True:
    checkpoint_files.save(weights, Path({file!r}), {{}})
"""


def test_killed_while_saving(tmp_path):
    """A process killed while it overwrites a file leaves it whole: the old one or the new."""
    from pack.training import checkpoint_files

    path = tmp_path / "net.safetensors"
    for moment in range(5):
        checkpoint_files.save({str(i): torch.full((500_000,), 1.0) for i in range(20)}, path, {})
        words = [sys.executable, "-c", SAVES.format(root=str(ROOT), file=str(path))]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline().strip() == "ready"
        time.sleep(0.011 * moment)
        process.kill()
        process.wait()
        weights = checkpoint_files.read(path)[0]
        assert len(weights) == 20
        assert {float(value.min()) for value in weights.values()} in ({1.0}, {2.0})
        assert {float(value.max()) for value in weights.values()} in ({1.0}, {2.0})


def test_a_training_that_went_on_replaces_its_own_file(studio, folder):
    """Queue a stopped training again: its net takes the place of the one it saved before."""
    from pack.nodes.train import Save

    data, net = studio.dataset(*discs(2)), studio.create()
    first = studio.train(net, data, steps=2, checkpoint="goes_on")[0]
    save(first, "goes_on")
    second = studio.train(net, data, steps=3, checkpoint="goes_on")[0]
    assert Save.validate_inputs(name="goes_on", overwrite=False) is True
    save(second, "goes_on")
    weights = loaded("goes_on.safetensors").control_model.state_dict()
    assert all(w.equal(weights[key]) for key, w in second.control_model.state_dict().items())
    for refused in (lambda: save(first, "goes_on"), lambda: save(second, "goes_on", "fp16")):
        with pytest.raises(ValueError, match="there already"):
            refused()  # fewer steps, or the copy to train further from would be lost
    save(second, "goes_on")
    other = studio.train(net, data, steps=3)[0]  # the same pictures, but not that training
    with pytest.raises(ValueError, match=r"goes_on.safetensors is there already"):
        save(other, "goes_on")


def test_a_name_that_is_taken_is_refused_when_queued(trained, folder):
    """Do not find out after hours of training."""
    from pack.nodes.train import Save

    (folder / "theirs.safetensors").write_bytes(b"another program's")
    for name in ("theirs", "theirs.safetensors"):
        sentence = Save.validate_inputs(name=name, overwrite=False)
        assert "theirs.safetensors is there already" in sentence
    assert "expected a name" in Save.validate_inputs(name="../x", overwrite=False)
    for inputs in ({"name": "theirs", "overwrite": True}, {"name": "free", "overwrite": False}, {}):
        assert Save.validate_inputs(**inputs) is True


@pytest.mark.quick
@pytest.mark.parametrize("name", ["x.pth", "x.CKPT", "folder/x.bin"])
def test_a_suffix_that_is_not_written_is_refused(trained, folder, name):
    with pytest.raises(ValueError, match=r"without a suffix.*'x' is enough"):
        save(trained, name)
    assert not any("x." in path.name for path in folder.rglob("*"))
    save(trained, "v1.5")  # a full stop is not a suffix
    assert (folder / "v1.5.safetensors").exists()


@pytest.mark.parametrize("letters", [230, 300, 5000])
def test_long_names_are_a_sentence(studio, trained, folder, letters):
    with pytest.raises(ValueError, match=r"name: expected a name of at most 220 bytes"):
        save(trained, "ä" * (letters // 2))
    with pytest.raises(ValueError, match=r"checkpoint: expected a name of at most 220 bytes"):
        studio.train(studio.create(), studio.dataset(*discs(2)), checkpoint="a" * letters)
