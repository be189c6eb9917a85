"""Check ControlNet-LLLite where the battery of model patches does not: its files, and SD1.5's.

The reference is the published way of applying it: each module stands before a projection.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from workbench import tiny_bases, tiny_patches
from workbench.family_runs import hint, ours, plain
from workbench.family_runs import sample as sample_for

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

sample = partial(sample_for, steps=2)
FOLDER = "controlnet"


@pytest.fixture(scope="module")
def sd15(host):
    return tiny_bases.sd15()


@pytest.fixture
def put(host):
    """Return a function that writes weights into the folder, and loads them by our node."""
    import folder_paths
    from safetensors.torch import save_file

    from pack.host.control_files import load_net

    files = []

    def write(name, weights):
        files.append(Path(folder_paths.get_folder_paths(FOLDER)[0]) / name)
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, files[-1])
        folder_paths.filename_list_cache.clear()
        return load_net(name)

    yield write
    for file in files:
        file.unlink(missing_ok=True)


@contextmanager
def before_projections(base, weights, image, strength, size):
    """Change what each projection reads, on the base model itself."""
    plain_net = tiny_patches.PlainLLLite(weights, image, strength, "")
    unet, pictures = base.patcher.model.diffusion_model, plain_net.hint(*size)
    handles = []

    def change(name, _layer, args):
        added = plain_net.added(name, args[0], pictures)
        return (args[0] + added * strength, *args[1:])

    names = {key.partition(".")[0] for key in weights}
    for path, layer in unet.named_modules():
        if (name := "lllite_unet_" + path.replace(".", "_")) in names:
            handles.append(layer.register_forward_pre_hook(partial(change, name)))
    assert len(handles) == len(names)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.quick
@pytest.mark.parametrize(("batch", "size"), [(1, (8, 8)), (3, (16, 24)), (2, (9, 7))])
def test_each_module_stands_before_its_projection(sd15, batch, size):
    """In blocks of the input and the output, also where sizes are rounded up."""
    from pack.control.patches import lllite_net

    weights = tiny_patches.lllite_weights(tiny_patches.SD_SITES)
    image, how = hint(0, 1, size[0] * 8, size[1] * 8), {"batch": batch, "size": size}
    with before_projections(sd15, weights, image, 0.7, size):
        theirs = sample(sd15, plain(sd15), **how)
    mine = sample(sd15, ours(sd15, lllite_net(weights), image), **how)
    assert (theirs - mine).abs().max() <= 1e-5 * theirs.abs().max()
    assert not theirs.allclose(sample(sd15, plain(sd15), **how), rtol=1e-2)


def test_load_recognises_the_file_and_its_base(put):
    from pack.control.net_info import look_at

    net = put("lines.safetensors", tiny_patches.lllite_weights())
    assert str(look_at(net)) == "ControlNet 'lines.safetensors' (ControlNet-LLLite for SDXL)"
    assert not look_at(net).needs_vae
    base = tiny_bases.sdxl()
    mine = sample(base, ours(base, net))
    theirs = tiny_patches.by_plain_lllite(base, base.patcher, net.patcher, hint(), 0.7)
    assert mine.equal(sample(base, plain(base), patcher=theirs))
    other = put("sd.safetensors", tiny_patches.lllite_weights(tiny_patches.SD_SITES))
    assert look_at(other).source.identity.base == "SD1.5"
    with pytest.raises(ValueError, match=r"sd.safetensors.*SD1.5.* does not fit .*SDXL"):
        ours(base, other)


def test_files_that_are_not_whole_get_a_sentence(put):
    weights = tiny_patches.lllite_weights()
    key = "lllite_unet_middle_block_1_transformer_blocks_0_attn1_to_q.mid.0.weight"
    without = {name: value for name, value in weights.items() if name != key}
    with pytest.raises(ValueError, match=r"less.safetensors has the keys of a ControlNet-LLLite"):
        put("less.safetensors", without)
    module = "lllite_unet_input_blocks_4_1_proj_in"
    more = {f"{module}.{name}": value.clone() for name, value in conv_module().items()}
    with pytest.raises(ValueError, match=rf"1 of its 21 modules .*first: {module}"):
        put("more.safetensors", {**weights, **more})


def conv_module():
    import torch

    return {"down.0.weight": torch.ones(2, 2, 1, 1), "up.0.weight": torch.ones(2, 2, 1, 1)}


def test_another_size_inside_the_model_is_a_sentence(host):
    """As where a node for deep shrink scales the UNet's first blocks down."""
    import torch

    base = tiny_bases.sdxl()
    from pack.control.patches import lllite_net

    def shrink(h, options):
        is_first = options["block"] == ("input", 1)
        return torch.nn.functional.interpolate(h, scale_factor=0.5) if is_first else h

    patcher = base.patcher.clone()
    patcher.set_model_input_block_patch(shrink)
    net = lllite_net(tiny_patches.lllite_weights())
    with pytest.raises(ValueError, match=r"block input 4 has 4 tokens, .* made for 16"):
        sample(base, ours(base, net), patcher=patcher)


def test_a_window_gets_the_hints_of_its_frames(host):
    """With the frame before it in front, as ComfyUI's windows have it."""
    from types import SimpleNamespace

    import torch

    from pack.control.patches import lllite_net

    base, images = tiny_bases.sdxl(), hint(3, 6)
    net = lllite_net(tiny_patches.lllite_weights())
    member = ours(base, net, images, mode="cond_only")[0][0][1]["control"]
    member.pre_run(base.patcher.model, base.patcher.model.model_sampling.percent_to_sigma)
    window = SimpleNamespace(dim=0, index_list=[3, 4], causal_anchor_index=2, total_frames=6)
    options = {"cond_or_uncond": [1, 0], "context_window": window}
    x, t = torch.zeros(6, 4, 8, 8), torch.full((6,), 7.0)
    member.prompts.positive_chunks = lambda _options, _chunks: (1,)
    assert member.get_control(x, t, {}, 2, options) is None
    _, hook, _ = options["patches"]["attn1_patch"]  # between those that measure it
    assert hook.change.rows.indices == [3, 4, 5]
    for name in net.patcher.model.names:
        expected = net.patcher.model.module(name).embed(images[2:5].movedim(-1, 1) * 2.0 - 1.0)
        assert hook.patch.embedded[name].allclose(expected, rtol=1e-5, atol=1e-6)
