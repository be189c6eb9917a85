"""Check networks of preprocessors on a second device: results, memory that runs out, unloading."""

from __future__ import annotations

import copy
import importlib.util

import pytest
import torch
from skimage import data
from torch import nn

from pack.preprocessors import CATALOGUE, spec
from pack.preprocessors.build import InMemory
from workbench import random_weights, second_device

HEAVY = ("depth_anything_v2_base", "depth_anything_v2_large", "oneformer", "dwpose_onnx")
ENGINES = [(row, engine) for row in CATALOGUE for engine in row.weights if engine not in HEAVY]


class Tiny(nn.Module):
    def __init__(self, width: int = 3):
        super().__init__()
        self.wide = nn.Linear(width, width)
        self.conv = nn.Conv2d(3, 1, 1)


class Wide(Tiny):
    def __init__(self):
        super().__init__(256)


def brightness(net, frames):
    frames = frames.to(net.conv.weight.dtype).movedim(-1, 1)
    return torch.sigmoid(net.conv(frames)).movedim(1, -1)


@pytest.fixture(scope="module")
def here(host):
    return second_device.open_device()


@pytest.fixture
def networks(here, monkeypatch):
    """Run networks as nodes do, with modules in the place of files."""
    import comfy.model_management

    from pack.host import runtime

    monkeypatch.setattr(runtime, "_ram_is_scarce", lambda: False)

    class Given(runtime.HostNetworks):
        def __init__(self, modules):
            super().__init__()
            self.modules, self.patchers = modules, {}

        def _patcher(self, weights):
            if weights.file not in self.patchers:
                module = copy.deepcopy(self.modules[weights.file])
                module = module.to(runtime._dtype(weights, here))
                self.patchers[weights.file] = runtime.UnsplittableModel(
                    runtime.held(module), here, CPU
                )
            return self.patchers[weights.file]

    yield Given
    comfy.model_management.unload_all_models()


CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def modules():
    return random_weights.Random(CATALOGUE)


@pytest.fixture(scope="module")
def picture():
    return torch.from_numpy(data.astronaut()[None, ::4, ::4].astype("float32") / 255)


@pytest.mark.parametrize(("row", "engine"), ENGINES, ids=lambda part: getattr(part, "key", part))
def test_a_hint_is_what_it_is_on_the_cpu(networks, modules, picture, row, engine, monkeypatch):
    from pack.host import runtime

    monkeypatch.setattr(runtime, "_dtype", lambda *_: torch.float32)
    package = row.weights[engine].package
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{engine} is read by {package}, which is not installed")
    settings = {"engine": engine, "resolution": 128}
    reference = row.full(picture, networks=InMemory(modules), **settings)[0]
    hint = row.full(picture, networks=networks(modules), **settings)[0]
    assert hint.device == CPU
    assert (hint - reference).abs().mean() <= 1e-3


def test_half_precision(networks, modules, picture, here):
    from pack.host import runtime

    row = next(row for row in CATALOGUE if row.key == "hed")
    assert runtime._dtype(row.weights["hed"], here) == torch.float16
    reference = row.full(picture, networks=InMemory(modules), resolution=128)[0]
    hint = row.full(picture, networks=networks(modules), resolution=128)[0]
    assert 0 < (hint - reference).abs().max() <= 2 / 255


@pytest.mark.parametrize("row", [row for row in CATALOGUE if not row.weights], ids=lambda r: r.key)
def test_a_picture_may_lie_on_the_device(picture, here, row):
    """With --gpu-only pictures come on the device, and hints go back there."""
    settings = {"mask": torch.ones(1, 64, 64).triu()} if row.key == "inpaint_hint" else {}
    given = {name: value.to(here) for name, value in settings.items()}
    reference = row.full(picture, resolution=64, **settings)[0]
    hint = row.full(picture.to(here), resolution=64, **given)[0]
    assert hint.device == here
    assert (hint.cpu() - reference).abs().max() <= 1e-5


# -- memory ----------------------------------------------------------------------------------------


def weights_of(module):
    return spec.Weights(
        file=f"{module.__name__}.pth", repo="someone/nets", module=module, licence="MIT"
    )


@pytest.fixture
def frames():
    return torch.rand(7, 40, 60, 3, generator=torch.Generator().manual_seed(2))


FRAME_BYTES = 40 * 60 * 3 * 4


def run(networks, module, frames, forward=brightness):
    torch.manual_seed(3)
    own = networks({f"{module.__name__}.pth": module()})
    return own, own.run(weights_of(module), frames, forward)


def on_cpu(module, frames):
    torch.manual_seed(3)
    with torch.inference_mode():
        return brightness(module(), frames)


def test_chunks_become_smaller_until_they_fit(networks, here, frames):
    sizes = []

    def forward(net, chunk):
        sizes.append(len(chunk))
        return brightness(net, chunk)

    with second_device.budget(3 * FRAME_BYTES):
        _, hints = run(networks, Tiny, frames, forward)
    assert max(sizes) < 7
    assert sum(sizes) >= 7
    assert (hints - on_cpu(Tiny, frames)).abs().max() <= 1e-3  # it runs in half precision


def test_a_frame_that_never_fits_is_a_sentence(networks, here, frames):
    with (
        second_device.budget(FRAME_BYTES // 2),
        pytest.raises(
            RuntimeError, match=r"Tiny runs out of memory on one frame .* on second:0: lo"
        ),
    ):
        run(networks, Tiny, frames)


def test_a_network_that_never_fits_is_a_sentence(networks, here, frames):
    with (
        second_device.budget(1 << 16),
        pytest.raises(
            RuntimeError, match=r"Wide does not fit into the memory of second:0: free mem"
        ),
    ):
        run(networks, Wide, frames)


def test_unloading_frees_all_and_the_next_run_is_identical(networks, here, frames):
    import comfy.model_management

    before = torch.ops.second_device.used()
    own, first = run(networks, Wide, frames)
    loaded = torch.ops.second_device.used() - before
    assert loaded >= 256 * 256 * 2
    comfy.model_management.free_memory(1e30, here)
    assert torch.ops.second_device.used() <= before
    assert own.run(weights_of(Wide), frames, brightness).equal(first)
    assert torch.ops.second_device.used() - before == loaded
