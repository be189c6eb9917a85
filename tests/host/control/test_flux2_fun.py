"""Check the Fun ControlNet for Flux 2 against the published branch, written down in plain torch."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from workbench import tiny_bases
from workbench.family_runs import hint, host, ours, plain
from workbench.family_runs import sample as sample_for

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

sample = partial(sample_for, steps=2)


@pytest.fixture(scope="module")
def base(host):
    return tiny_bases.flux2()


@pytest.fixture
def net(base):
    return tiny_bases.flux2_fun()


def rotated(x, positions):
    """Rotate (B,L,heads,32): four axes of 8 values each, as pairs, by Flux 2's frequencies."""
    import torch

    frequencies = 2000.0 ** -(torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    angles = (positions[..., None].double() * frequencies).flatten(-2)  # (L, 16)
    turn = torch.polar(torch.ones_like(angles), angles)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn[None, :, None]).flatten(-2).to(x)


def positions_of(words, height, width):
    """Return each token's position, (words + height * width, 4): words in a row, then places."""
    import torch

    text = torch.zeros(words, 4)
    text[:, 3] = torch.arange(words)
    places = torch.zeros(height, width, 4)
    places[..., 1] = torch.arange(height)[:, None]
    places[..., 2] = torch.arange(width)[None, :]
    return torch.cat([text, places.reshape(-1, 4)])


def branch(weights, img, txt, modulation, control, positions):
    """Return what the branch adds: VideoX-Fun's, by the keys of its file."""
    import torch
    from torch.nn import functional as F

    def of(name, x):
        return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def norm(x, part):
        normed = F.layer_norm(x, x.shape[-1:], eps=1e-6)
        return normed * (1 + part.scale) + part.shift

    def heads(name, x, norm_name=None):
        x = of(name, x).unflatten(-1, (2, 32))
        if norm_name is None:
            return x
        root = (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
        return x * root * weights[f"{norm_name}.weight"]

    def feed(name, x):
        gate, value = of(f"{name}.linear_in", x).chunk(2, -1)
        return of(f"{name}.linear_out", F.silu(gate) * value)

    (img1, img2), (txt1, txt2) = modulation
    first = "control_transformer_blocks.0"
    c, added = of(f"{first}.before_proj", of("control_img_in", control)) + img, []
    for i in range(2):
        block, words = f"control_transformer_blocks.{i}", txt.shape[1]
        attn, a, b = f"{block}.attn", norm(txt, txt1), norm(c, img1)
        q = heads(f"{attn}.add_q_proj", a, f"{attn}.norm_added_q")
        q = rotated(torch.cat([q, heads(f"{attn}.to_q", b, f"{attn}.norm_q")], 1), positions)
        k = heads(f"{attn}.add_k_proj", a, f"{attn}.norm_added_k")
        k = rotated(torch.cat([k, heads(f"{attn}.to_k", b, f"{attn}.norm_k")], 1), positions)
        v = torch.cat([heads(f"{attn}.add_v_proj", a), heads(f"{attn}.to_v", b)], 1)
        likeness = torch.einsum("bqhd,bkhd->bhqk", q, k) / 32**0.5
        out = torch.einsum("bhqk,bkhd->bqhd", likeness.softmax(-1), v).flatten(2)
        c = c + img1.gate * of(f"{attn}.to_out.0", out[:, words:])
        txt = txt + txt1.gate * of(f"{attn}.to_add_out", out[:, :words])
        c = c + img2.gate * feed(f"{block}.ff", norm(c, img2))
        txt = txt + txt2.gate * feed(f"{block}.ff_context", norm(txt, txt2))
        added.append(of(f"{block}.after_proj", c))
    return added


def inpainted(base, image, mask):
    """Return what the branch reads, (B,tokens,260): VideoX-Fun's pipeline for inpainting.

    A place of the tiny latent is 8 pixels, so its mask has a point for each 4.
    """
    import torch
    from einops import rearrange

    area = (mask > 0.5)[..., None]
    grey = torch.where(area, torch.tensor(0.5), image)  # 0 of -1..1
    latents = rearrange(base.vae.encode(grey), "b c h w -> b (h w) c")
    unpainted = 1.0 - (mask > 0.5)[:, ::4, ::4].float()
    points = rearrange(unpainted, "b (h y) (w x) -> b (h w) (y x)", y=2, x=2)
    points = points.expand(latents.shape[0], -1, -1)
    return torch.cat([torch.zeros_like(latents), points, latents], 2)


@contextmanager
def by_hand(base, image, strength, size=(8, 8), mask=None):
    """Run the branch where the base's own first block begins, and add after blocks 0 and 2.

    `mask`: (B,H,W), 1 in the area of the image to inpaint.
    """
    import torch

    weights, blocks = tiny_bases.flux2_fun_weights(), base.patcher.model.diffusion_model
    blocks, added = blocks.double_blocks, []

    def before(_block, _args, given):
        latents = base.vae.encode(image)
        tokens = latents.flatten(2).transpose(1, 2)
        empty = torch.zeros(*tokens.shape[:2], 4 + 128)
        control = torch.cat([tokens, empty], 2)
        if mask is not None:
            control = inpainted(base, image, mask)
        control = control.repeat(given["img"].shape[0] // control.shape[0], 1, 1)
        places = positions_of(given["txt"].shape[1], *size)
        parts = (given["img"].clone(), given["txt"].clone(), given["vec"], control, places)
        added[:] = branch(weights, *parts)

    def after(number, _block, _args, _given, out):
        out[0][:] += strength * added[number]
        return out

    handles = [blocks[0].register_forward_pre_hook(before, with_kwargs=True)]
    handles += [
        blocks[place].register_forward_hook(partial(after, number), with_kwargs=True)
        for number, place in enumerate((0, 2))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def close(theirs, mine, share=2e-5):
    return (theirs - mine).abs().max() <= share * theirs.abs().max()


@pytest.mark.quick
@pytest.mark.parametrize(("batch", "size"), [(1, (8, 8)), (2, (8, 8)), (3, (9, 7))])
def test_the_branch_is_the_published_one(base, net, batch, size):
    image = hint(0, 1, size[0] * 8, size[1] * 8)
    how = {"batch": batch, "size": size}
    with by_hand(base, image, 0.7, size):
        theirs = sample(base, plain(base), **how)
    mine = sample(base, ours(base, net, image), **how)
    assert close(theirs, mine)
    assert not close(theirs, sample(base, plain(base), **how), 1e-3)
    assert mine.equal(sample(base, host(base, net, image), **how))  # ComfyUI's Apply ControlNet


def test_a_hint_for_each_picture_and_two_nets(base, net):
    images = hint(3, 2)
    with by_hand(base, images, 0.7):
        theirs = sample(base, plain(base), 2)
    assert close(theirs, sample(base, ours(base, net, images), 2))
    with by_hand(base, images, 0.7), by_hand(base, hint(1), 0.4):
        theirs = sample(base, plain(base), 2)
    both = ours(base, net, hint(1), 0.4, chain=ours(base, net, images))
    assert close(theirs, sample(base, both, 2))
    assert close(
        theirs, sample(base, ours(base, net, images, chain=ours(base, net, hint(1), 0.4)), 2)
    )


@pytest.mark.parametrize(("batch", "size", "images"), [(2, (8, 8), 2), (1, (9, 7), 1)])
def test_the_area_to_inpaint(base, net, batch, size, images):
    """The hint is the picture, grey where it is to be painted; beside a hint in a second unit."""
    import torch

    height, width = (8 * side for side in size)
    image = hint(4, images, height, width)
    mask = torch.rand(images, height, width, generator=torch.Generator().manual_seed(5))
    how = {"batch": batch, "size": size}
    with by_hand(base, image, 0.7, size, mask):
        theirs = sample(base, plain(base), **how)
    mine = ours(base, net, image, inpaint_mask=mask)
    assert close(theirs, sample(base, mine, **how))
    assert not close(theirs, sample(base, ours(base, net, image), **how), 1e-3)
    control = hint(0, 1, height, width)
    with by_hand(base, image, 0.7, size, mask), by_hand(base, control, 0.4, size):
        theirs = sample(base, plain(base), **how)
    both = ours(base, net, control, 0.4, chain=mine)
    assert close(theirs, sample(base, both, **how))
    positive = mine[0][0][1]["control"].copy()
    sides = [[[text, {**more, "control": positive}] for text, more in side] for side in mine]
    assert sample(base, sides, **how).equal(sample(base, mine, **how))
    assert not net.extra_args


def test_a_net_without_channels_for_an_area_refuses_one(base):
    from pack.control.flux2_fun import flux2_fun_net

    net = flux2_fun_net(tiny_bases.flux2_fun_weights(channels=128))
    with pytest.raises(ValueError, match="does not use an inpaint_mask: leave it empty"):
        ours(base, net, inpaint_mask=hint()[..., 0])


def test_a_run_after_an_interruption_and_copies(base, net):
    import torch

    positive, negative = ours(base, net)
    first = sample(base, (positive, negative))

    def stop(_apply, _args):
        raise InterruptedError

    broken = base.patcher.clone()
    broken.set_model_unet_function_wrapper(stop)
    with pytest.raises(InterruptedError):
        sample(base, (positive, negative), patcher=broken)
    assert first.equal(sample(base, (positive, negative)))
    assert not net.extra_args
    member = positive[0][1]["control"]
    twins = [member.copy()]
    if hasattr(net, "deepclone_multigpu"):  # of newer versions
        twins.append(member.deepclone_multigpu(torch.device("cpu")))
    for twin in twins:
        sides = [
            [[text, {**options, "control": twin}] for text, options in side]
            for side in (positive, negative)
        ]
        assert first.equal(sample(base, sides))


def test_load_recognises_the_file(base):
    import folder_paths
    from safetensors.torch import save_file

    from pack.control.net_info import look_at
    from pack.host.control_files import load_net

    folder = Path(folder_paths.get_folder_paths("controlnet")[0])
    folder.mkdir(parents=True, exist_ok=True)
    weights = tiny_bases.flux2_fun_weights()
    files = {"fun2.safetensors": weights, "less.safetensors": dict(weights)}
    del files["less.safetensors"]["control_transformer_blocks.1.attn.to_q.weight"]
    for name, content in files.items():
        save_file(content, folder / name)
    folder_paths.filename_list_cache.clear()
    try:
        loaded = load_net("fun2.safetensors")
        with pytest.raises(ValueError, match=r"less.safetensors .*all of its weights .missing: "):
            load_net("less.safetensors")
    finally:
        for name in files:
            (folder / name).unlink()
    info = look_at(loaded)
    assert str(info) == "ControlNet 'fun2.safetensors' (Flux 2 Fun ControlNet for Flux 2)"
    assert info.needs_vae
    mine = sample(base, ours(base, loaded))
    assert mine.equal(sample(base, ours(base, tiny_bases.flux2_fun())))
    with pytest.raises(
        ValueError, match=r"fun2.safetensors.* does not fit the model, which is Flux"
    ):
        ours(tiny_bases.flux(), loaded)
