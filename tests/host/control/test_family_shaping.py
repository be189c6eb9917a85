"""Check masks, layers and modes of every family against ComfyUI's run, shaped by hand."""

from __future__ import annotations

from functools import partial

import pytest

from workbench import tiny_bases
from workbench.family_runs import hint, host, ours, plain, sample

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

# Family → the modules of its net whose outputs are its own blocks, shallow to deep.
BLOCKS = {
    "SD3": ["controlnet_blocks"],
    "SD3 inpainting": ["controlnet_blocks"],
    "SD3.5": ["controlnet_blocks"],
    "SD3.5 depth": ["controlnet_blocks"],
    "XLabs": ["controlnet_blocks"],
    "MistoLine": ["controlnet_blocks"],
    "InstantX": ["controlnet_blocks", "controlnet_single_blocks"],
    "Flux inpainting": ["controlnet_blocks", "controlnet_single_blocks"],
    "InstantX on Chroma": ["controlnet_blocks", "controlnet_single_blocks"],
    "Qwen-Image": ["controlnet_blocks"],
    "Qwen-Image inpainting": ["controlnet_blocks"],
    "Qwen-Image Fun": ["control_blocks"],
    "HunyuanDiT": ["after_proj_list"],
    "Stable Cascade": ["projections"],
    "Flux 2 Fun": ["control_transformer_blocks"],
}
COUNTS = {"InstantX": 4, "Flux inpainting": 4, "InstantX on Chroma": 4, "HunyuanDiT": 19}
COUNTS["Stable Cascade"] = 4
PIXEL_NETS = ("XLabs", "MistoLine")  # their hint encoder needs even latents
ONE_OF_EACH = ("SD3", "SD3.5", "XLabs", "InstantX", "Qwen-Image", "Qwen-Image Fun", "HunyuanDiT")
ONE_OF_EACH += ("Flux 2 Fun",)


@pytest.fixture(scope="module")
def bases(host):
    """Return base models by name, each built at first use."""
    built = {}

    def get(name):
        if name not in built:
            built[name] = tiny_bases.BASES[name]()
        return built[name]

    return get


@pytest.fixture
def family(bases, request):
    """Return a base, a new net of the family, and the net's blocks."""
    import comfy.controlnet

    if request.param == "Qwen-Image Fun" and not hasattr(comfy.controlnet, "QwenFunControlNet"):
        pytest.skip("this host has no Qwen-Image Fun nets")
    base, make = tiny_bases.NETS[request.param]
    net = make()
    module = net.t2i_model if request.param == "Stable Cascade" else net.control_model
    blocks = [block for place in BLOCKS[request.param] for block in getattr(module, place)]
    if request.param in ("Qwen-Image Fun", "Flux 2 Fun"):
        blocks = [block.after_proj for block in blocks]
    assert len(blocks) == COUNTS.get(request.param, 2)
    return bases(base), net, blocks


def every(*families):
    return pytest.mark.parametrize("family", families or BLOCKS, indirect=True)


def grey(seed, batch, height, width):
    """Return a random mask of multiples of 1/256, whose means over 4^n pixels are exact."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 257, (batch, height, width), generator=generator) / 256.0


def over_latent(mask):
    """Average a mask over 8 x 8 pixels: (B,H,W) → (B,H/8,W/8)."""
    batch, height, width = mask.shape
    return mask.reshape(batch, height // 8, 8, width // 8, 8).mean((2, 4))


def over_tokens(mask, patch):
    """Average a mask over a token's 2 x 2 of the latent, its last row or column standing twice.

    Flux 2's tokens are one place of the latent each (`patch` is 1).

    (B,H,W) → (B,tokens,1)
    """
    import torch

    latent = over_latent(mask)
    height, width = latent.shape[1:]
    if patch == 1:
        return latent.flatten(1).unsqueeze(2)
    rows = [[2 * i, min(2 * i + 1, height - 1)] for i in range((height + 1) // 2)]
    columns = [[2 * j, min(2 * j + 1, width - 1)] for j in range((width + 1) // 2)]
    cells = [latent[:, row][:, :, column].mean((1, 2)) for row in rows for column in columns]
    return torch.stack(cells, 1).unsqueeze(2)


def with_residuals(base, change):
    """Return the base model, with ComfyUI's residuals changed on their way into the model."""

    def call(apply, args):
        cond = dict(args["c"])
        if (control := cond.get("control")) is not None:
            cond["control"] = {
                place: [None if r is None else change(r) for r in residuals]
                for place, residuals in control.items()
            }
        return apply(args["input"], args["timestep"], **cond)

    patcher = base.patcher.clone()
    patcher.set_model_unet_function_wrapper(call)
    return patcher


def masked(mask, residual):
    """Multiply a residual of all rows by the mask, by hand."""
    if residual.ndim == 4:
        factors = over_latent(mask).unsqueeze(1)
    else:
        places = mask.shape[-2] * mask.shape[-1] // 64
        factors = over_tokens(mask, 1 if residual.shape[1] == places else 2)
    return residual * factors.repeat(residual.shape[0] // factors.shape[0], 1, 1, 1)[
        :, : factors.shape[1]
    ].reshape(residual.shape[0], *factors.shape[1:])


def scaled(blocks, weights):
    """Scale what each of the net's own blocks gives; returns the handles of the hooks."""
    return [
        block.register_forward_hook(lambda _m, _a, out, w=weight: out * w)
        for block, weight in zip(blocks, weights, strict=True)
    ]


# -- where -----------------------------------------------------------------------------------------


@pytest.mark.quick
@every()
def test_a_soft_mask_meets_the_tokens_where_they_lie(family):
    base, net, _ = family
    mask = grey(5, 1, 64, 64)
    theirs = sample(base, host(base, net), patcher=with_residuals(base, partial(masked, mask)))
    assert not theirs.equal(sample(base, host(base, net)))
    assert theirs.equal(sample(base, ours(base, net, effect_mask=mask)))


@every(*(name for name in BLOCKS if name not in PIXEL_NETS))
def test_a_mask_for_each_picture_of_an_odd_size(family):
    base, net, _ = family
    mask, images = grey(6, 2, 72, 56), hint(3, 2, 72, 56)
    how = {"batch": 2, "size": (9, 7)}
    changed = with_residuals(base, partial(masked, mask))
    theirs = sample(base, host(base, net, images), patcher=changed, **how)
    assert theirs.equal(sample(base, ours(base, net, images, effect_mask=mask), **how))


@every(*ONE_OF_EACH, "Stable Cascade")
def test_masks_that_are_black_or_white(family):
    import torch

    base, net, _ = family
    theirs, without = sample(base, host(base, net), 2), sample(base, plain(base), 2)
    white, black = torch.ones(1, 64, 64), torch.zeros(1, 64, 64)
    assert theirs.equal(sample(base, ours(base, net, effect_mask=white), 2))
    assert without.equal(sample(base, ours(base, net, effect_mask=black), 2))
    first = sample(base, ours(base, net, effect_mask=torch.cat([white, black])), 2)
    assert (first[:1] - theirs[:1]).abs().max() <= 2e-4 * theirs.abs().max()
    assert (first[1:] - without[1:]).abs().max() <= 2e-4 * without.abs().max()


# -- how deep --------------------------------------------------------------------------------------


@every()
def test_blocks_weighs_each_block_of_the_net(family):
    """Powers of two, so that the order of multiplications does not round."""
    base, net, blocks = family
    weights = [(0.5, 2.0, 1.0, 0.25)[i % 4] for i in range(len(blocks))]
    mine = sample(base, ours(base, net, layers="blocks " + ", ".join(map(str, weights))))
    plain_run = sample(base, host(base, net))
    hooks = scaled(blocks, weights)
    theirs = sample(base, host(base, net))
    for hook in hooks:
        hook.remove()
    assert theirs.equal(mine)
    assert not theirs.equal(plain_run)


@every()
def test_soft_spreads_over_the_blocks_of_the_net(family):
    """0.825 to the power of 12 for the first block, of 0 for the last, evenly between them."""
    base, net, blocks = family
    last = len(blocks) - 1
    weights = [0.825 ** (12 * (last - i) / last) for i in range(len(blocks))]
    by_mode = sample(base, ours(base, net, mode="prompt"))
    assert by_mode.equal(sample(base, ours(base, net, layers="soft")))
    hooks = scaled(blocks, weights)
    theirs = sample(base, host(base, net))
    for hook in hooks:
        hook.remove()
    assert (theirs - by_mode).abs().max() <= 1e-5 * theirs.abs().max()
    assert not by_mode.allclose(sample(base, host(base, net)), rtol=1e-3)


@every(*ONE_OF_EACH)
def test_shared_tensors_stay_shared(family):
    """Also after a mask, layers, rows that are left out, and a second net that is added."""
    base, net, blocks = family
    more = {"effect_mask": grey(5, 1, 64, 64), "layers": "linear 1..0.5", "mode": "cond_only"}
    chain = ours(base, net, hint(1), chain=ours(base, net, **more), **more)
    different = []

    def call(apply, args):
        residuals = [r for place in args["c"]["control"].values() for r in place if r is not None]
        different.append(len({id(r) for r in residuals}))
        return apply(args["input"], args["timestep"], **args["c"])

    patcher = base.patcher.clone()
    patcher.set_model_unet_function_wrapper(call)
    sample(base, chain, patcher=patcher, steps=1)
    assert different == [len(blocks)]


# -- on which rows ---------------------------------------------------------------------------------


def split(base, net, weights, blocks):
    """Sample with ComfyUI's node, the positive with control and the negative without."""
    import nodes

    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    positive, _ = apply(base.positive, [], net, hint(), 0.7, 0.0, 1.0, base.vae)
    hooks = scaled(blocks, weights)
    image = sample(base, (positive, base.negative), 2)
    for hook in hooks:
        hook.remove()
    return image


@every(*ONE_OF_EACH, "Stable Cascade")
@pytest.mark.parametrize("mode", ["control", "cond_only"])
def test_modes_that_leave_the_negative_alone(family, mode):
    """ComfyUI can only do so in two calls of the model; here the net's rows are halved."""
    base, net, blocks = family
    last = len(blocks) - 1
    soft = [0.825 ** (12 * (last - i) / last) for i in range(len(blocks))]
    theirs = split(base, net, soft if mode == "control" else [1.0] * len(blocks), blocks)
    rows = []
    hook = blocks[0].register_forward_hook(lambda _m, _a, out: rows.append(out.shape[0]))
    mine = sample(base, ours(base, net, mode=mode), 2)
    hook.remove()
    assert (theirs - mine).abs().max() <= 2e-4 * theirs.abs().max()
    assert max(rows) <= 2
