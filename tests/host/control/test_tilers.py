"""Tilers: masks, inpaint masks, frame strengths and prompts are cut with the tile, as the hint is.

Two tilers stand here in a few lines each, with what they read and write of a chain: one crops
copies before sampling (as Ultimate SD Upscale does), one fits hints and stacks tiles while sampling
(as Tiled Diffusion does). What must come out is that of ComfyUI's own net, tile by tile.
"""

from __future__ import annotations

import pytest

from workbench.tilers import crop, cropped, stacked

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

BOXES = ((0, 0, 8, 8), (0, 4, 8, 8), (0, 8, 8, 8))  # top, left, height, width, of 8 x 16 latents


def half(width=128):
    import torch

    mask = torch.zeros(1, 64, width)
    mask[:, :, : width // 2] = 1.0
    return mask


def started(world, control):
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    return control


def rows_of(out):
    return out["output"] + out["middle"]


def by_hand(world, hint, mask, x, context, strength=1.0):
    """Return the residuals of ComfyUI's net for one tile, times its mask."""
    import torch

    net = world.nets[0].copy().set_cond_hint(hint, 1.0, (0.0, 1.0))
    out = started(world, net).get_control(
        x, torch.full((x.shape[0],), 7.0), {"c_crossattn": context}, 1, {}
    )
    area = torch.nn.functional.interpolate
    return [
        r * strength * (1.0 if mask is None else area(mask[:, None], size=r.shape[2:], mode="area"))
        for r in rows_of(out)
    ]


def latents(count, width=8):
    import torch

    return torch.randn(count, 4, 8, width, generator=torch.Generator().manual_seed(4))


# -- one that crops copies -------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize("boxes", [BOXES[:1], BOXES[1:2], BOXES[2:], BOXES])
def test_a_cropped_copy_has_its_part_of_the_mask(world, boxes):
    """Also several tiles in one batch; each is frame 0 of the picture."""
    import torch

    hint = world.hint(3, 1, 64, 128)
    unit = {"net": world.nets[0], "image": hint, "effect_mask": half()}
    unit["frame_strength"] = "0:0.5, 1:0 | step"
    member = started(world, cropped(world.ours([unit])[0][0][1]["control"], boxes))
    x, context = latents(len(boxes)), world.positive[0][0].repeat(len(boxes), 1, 1)
    t = torch.full((len(boxes),), 7.0)
    out = member.get_control(x, t, {"c_crossattn": context}, 1, {"cond_or_uncond": [0]})
    for i, box in enumerate(boxes):
        tile = crop(hint.movedim(-1, 1), box)
        theirs = by_hand(world, tile, crop(half(), box), x[i : i + 1], context[:1], 0.5)
        if out is None:
            assert not any(r.any() for r in theirs)
            continue
        for a, b in zip(rows_of(out), theirs, strict=True):
            assert a[i : i + 1].allclose(b, rtol=1e-3, atol=1e-5)


def test_a_tile_beside_the_mask_costs_nothing(world, counted):
    import torch

    unit = {"net": world.nets[0], "image": world.hint(3, 1, 64, 128), "effect_mask": half()}
    member = started(world, cropped(world.ours([unit])[0][0][1]["control"], BOXES[2:]))
    cond = {"c_crossattn": world.positive[0][0]}
    assert member.get_control(latents(1), torch.tensor([7.0]), cond, 1, {}) is None
    assert not counted["rows"]


def test_an_inpaint_mask_is_cropped_too(host):
    """A net that concatenates the mask: as with hint and mask cut before."""
    import torch

    from pack.nodes.apply import Add, Apply
    from workbench import tiny_bases

    base, net = tiny_bases.sd3(), tiny_bases.sd3_net(channels=17)
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(1, 64, 128, 3, generator=generator)
    mask = (torch.rand(1, 64, 128, generator=generator) > 0.5).float()

    def control(picture, area):
        stack = Add.execute(net, picture, inpaint_mask=area)[0]
        return Apply.execute(base.positive, stack, base.negative, vae=base.vae)[0][0][1]["control"]

    def residuals(member):
        sampling = base.patcher.model.model_sampling
        member.pre_run(base.patcher.model, sampling.percent_to_sigma)
        x = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(5))
        cond = {"c_crossattn": base.positive[0][0], "y": base.positive[0][1]["pooled_output"]}
        return member.get_control(x, torch.tensor([0.7]), cond, 1, {"cond_or_uncond": [0]})

    whole = control(image, mask)
    for box in BOXES:
        alone = control(crop(image.movedim(-1, 1), box).movedim(1, -1), crop(mask, box))
        ours, theirs = residuals(cropped(whole, (box,))), residuals(alone)
        for a, b in zip(ours["output"], theirs["output"], strict=True):
            assert a.equal(b)


@pytest.mark.parametrize("family", ["Z-Image Fun 2.1", "Qwen DiffSynth inpaint"])
def test_an_inpaint_mask_of_a_model_patch_is_cropped_too(host, family):
    """What is encoded for a tile is what hint and mask give that were cut before."""
    import torch

    from pack.control.patches import net_of
    from pack.nodes.apply import Add, Apply
    from workbench import tiny_patches

    tiny = tiny_patches.PATCHES[family]
    base, net = tiny_patches.BASES[tiny.base](), net_of(tiny.net())
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(1, 64, 128, 3, generator=generator)
    mask = (torch.rand(1, 64, 128, generator=generator) > 0.5).float()

    def control(picture, area):
        stack = Add.execute(net, picture, inpaint_mask=area)[0]
        return Apply.execute(base.positive, stack, base.negative, vae=base.vae)[0][0][1]["control"]

    def encoded(member):
        sampling = base.patcher.model.model_sampling
        member.pre_run(base.patcher.model, sampling.percent_to_sigma)
        x, options = torch.zeros(1, *base.latent[1:-2], 8, 8), {"cond_or_uncond": [0]}
        assert member.get_control(x, torch.tensor([0.7]), {}, 1, options) is None
        _, hook, _ = options["patches"]["double_block"]  # between those that measure it
        return hook.encoded_image

    whole = control(image, mask)
    for box in BOXES:
        alone = control(crop(image.movedim(-1, 1), box).movedim(1, -1), crop(mask, box))
        assert encoded(cropped(whole, (box,))).equal(encoded(alone))
        other = control(crop(image.movedim(-1, 1), box).movedim(1, -1), 1 - crop(mask, box))
        assert not encoded(cropped(whole, (box,))).equal(encoded(other))


def test_a_tiler_that_loses_the_mask_is_a_sentence(world):
    import torch

    unit = {"net": world.nets[0], "image": world.hint(3, 1, 64, 128), "effect_mask": half()}
    for attribute in ("cond_hint_original", "cond_hint"):
        member = started(world, world.ours([unit])[0][0][1]["control"].copy())
        setattr(member, attribute, world.hint(1).movedim(-1, 1))
        cond = {"c_crossattn": world.positive[0][0]}
        with pytest.raises(ValueError, match=r"cut the hint of .*, but not effect_mask with it"):
            member.get_control(latents(1), torch.tensor([7.0]), cond, 1, {})


# -- one that fits hints and stacks tiles ----------------------------------------------------------


@pytest.mark.parametrize("mode", ["balanced", "cond_only"])
@pytest.mark.parametrize("entries", [1, 2])
@pytest.mark.parametrize("boxes", [BOXES[:1], BOXES])
def test_tiles_in_a_batch(world, mode, entries, boxes):
    """Rows come tile after tile, each with all prompts; each entry has its hint and strength."""
    import torch

    hint, mask = world.hint(3, entries, 64, 128), half().repeat(entries, 1, 1)
    unit = {"net": world.nets[0], "image": hint, "effect_mask": mask, "mode": mode}
    unit["frame_strength"] = "0:0.5, 1:0.8 | step"
    control = started(world, world.ours([unit])[0][0][1]["control"])
    stacked(control, boxes, 2 * entries, (8, 16))
    sides = (world.negative, world.positive)
    context = torch.cat([side[0][0].repeat(entries, 1, 1) for side in sides])
    context = context.repeat(len(boxes), 1, 1)
    x = latents(len(context))
    t = torch.full((len(x),), 7.0)
    options = {"cond_or_uncond": [1, 0], "sigmas": t[:entries]}
    out = rows_of(control.get_control(x, t, {"c_crossattn": context}, 2, options))
    row = 0
    for box in boxes:
        for side in range(2):
            for entry in range(entries):
                at = slice(row, row + 1)
                tile = crop(hint.movedim(-1, 1)[entry : entry + 1], box)
                strength = (0.5, 0.8)[entry] * (side == 1 or mode == "balanced")
                theirs = by_hand(world, tile, crop(half(), box), x[at], context[at], strength)
                for a, b in zip(out, theirs, strict=True):
                    assert a[at].allclose(b, rtol=1e-3, atol=1e-5)
                row += 1


@pytest.mark.parametrize("family", ["InstantX", "Flux inpainting", "SD3 inpainting"])
def test_tiles_of_nets_that_encode_their_hint(host, family):
    """The tiny VAE sees 8 x 8 pixels at once, so a tile of the whole is the tile encoded alone."""
    import torch

    from pack.nodes.apply import Add, Apply
    from workbench import tiny_bases

    base_name, make = tiny_bases.NETS[family]
    base, net = tiny_bases.BASES[base_name](), make()
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(1, 64, 128, 3, generator=generator)
    area = (torch.rand(1, 8, 16, generator=generator) > 0.5).float()
    area = area.repeat_interleave(8, 1).repeat_interleave(8, 2) if "inpainting" in family else None

    def control(picture, inpaint, effect):
        more = {} if inpaint is None else {"inpaint_mask": inpaint}
        stack = Add.execute(net, picture, mode="cond_only", effect_mask=effect, **more)[0]
        out = Apply.execute(base.positive, stack, base.negative, vae=base.vae)
        member = out[0][0][1]["control"]
        member.pre_run(base.patcher.model, base.patcher.model.model_sampling.percent_to_sigma)
        return member

    def residuals(member, rows, tiles):
        count = 2 * tiles
        x = torch.randn(6, *base.latent[1:], generator=torch.Generator().manual_seed(5))[rows]
        options = base.positive[0][1]
        context = torch.cat([base.negative[0][0], base.positive[0][0]]).repeat(tiles, 1, 1)
        cond = {"c_crossattn": context, "y": options["pooled_output"].repeat(count, 1)}
        cond["guidance"] = torch.full((count,), 3.5)
        kinds = {"cond_or_uncond": [1, 0], "sigmas": torch.tensor([0.7])}
        out = member.get_control(x, torch.full((count,), 0.7), cond, 2, kinds)
        return [r for place in ("input", "output") for r in (out or {}).get(place, [])]

    whole = control(image, area, half())
    stacked(whole, BOXES, 2, (8, 16))
    ours = residuals(whole, slice(0, 6), 3)
    for i, box in enumerate(BOXES):
        rows = slice(2 * i, 2 * i + 2)
        tile = crop(image.movedim(-1, 1), box).movedim(1, -1)
        cut = None if area is None else crop(area, box)
        theirs = residuals(control(tile, cut, crop(half(), box)), rows, 1)
        for a, b in zip(ours, theirs or [None] * len(ours), strict=True):
            if b is None:
                assert not a[rows].any()
            else:
                assert a[rows].allclose(b, rtol=1e-3, atol=1e-5)


def test_plain_tiles_are_comfyuis(world):
    import torch

    unit = {"net": world.nets[0], "image": world.hint(3, 1, 64, 128)}
    outs = []
    for chain in (world.host([unit]), world.ours([unit])):
        control = started(world, chain[0][0][1]["control"])
        stacked(control, BOXES, 2, (8, 16))
        x, context = latents(6), torch.cat([world.negative[0][0], world.positive[0][0]])
        options = {"cond_or_uncond": [1, 0], "sigmas": torch.tensor([7.0])}
        cond = {"c_crossattn": context.repeat(3, 1, 1)}
        outs.append(rows_of(control.get_control(x, torch.full((6,), 7.0), cond, 2, options)))
    for a, b in zip(*outs, strict=True):
        assert a.equal(b)


def test_rows_that_are_not_whole_tiles_are_a_sentence(world):
    import torch

    unit = {"net": world.nets[0], "image": world.hint(), "mode": "cond_only"}
    control = started(world, world.ours([unit])[0][0][1]["control"])
    control.cond_hint = world.hint(1).movedim(-1, 1)
    cond = {"c_crossattn": world.positive[0][0].repeat(5, 1, 1)}
    options = {"cond_or_uncond": [1, 0], "sigmas": torch.tensor([7.0])}
    with pytest.raises(ValueError, match="tile batch size to 1, or use mode 'balanced'"):
        control.get_control(latents(5), torch.full((5,), 7.0), cond, 2, options)
