"""Check unions against the reference's formula, and inpainting nets against ComfyUI."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick


def started(world, unit):
    """Return the chain member of one unit, ready to be called.

    Its source is dropped, because a net of 320 channels does not fit the tiny model.
    """
    from pack.control.attach import attach

    attached = attach(world.stack([unit]), [world.positive], with_negative=True)
    return begun(world, attached[0][0][1]["control"])


def begun(world, last):
    """Start a run of a chain, its members without their sources."""
    from dataclasses import replace

    member = last
    while member is not None:
        info = replace(member.unit.net_info, source=None)
        member.unit, member = replace(member.unit, net_info=info), member.previous_controlnet
    last.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    return last


def inputs(entries=1):
    import torch

    x = torch.randn(2 * entries, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    context = torch.randn(2 * entries, 77, 64, generator=torch.Generator().manual_seed(2))
    return x, torch.full((2 * entries,), 7.0), context


def run(control, entries=1):
    x, t, context = inputs(entries)
    out = control.get_control(x, t, {"c_crossattn": context}, 2, {"cond_or_uncond": [1, 0]})
    return out["output"] + out["middle"]


def reference(world, net, hints, numbers, weights, entries=1):
    """Run the reference's forward, written out.

    `hints`: (rows,3,H,W) for each type's number, with a weight for each. xinsir's ControlNetPlus:
    every hint's feature is averaged to a token, its type's embedding is added, and a transformer
    runs over it and the picture's token; the output shifts the feature. Weights as in diffusers'
    ControlNetUnionModel.
    """
    import torch
    from comfy.ldm.modules.diffusionmodules.util import timestep_embedding

    x, t, context = inputs(entries)
    sampling = world.model.model.model_sampling
    emb = net.time_embed(timestep_embedding(sampling.timestep(t).float(), net.model_channels))
    kinds = torch.zeros(net.num_control_type)
    kinds[numbers] = 1.0
    kinds = timestep_embedding(kinds, 256).reshape(1, -1)
    adding = net.control_add_embedding
    emb = emb + adding.linear_2(torch.nn.functional.silu(adding.linear_1(kinds)))
    sample = net.input_blocks[0][0](sampling.calculate_input(t, x))
    features, tokens = [], []
    for hint, number, weight in zip(hints, numbers, weights, strict=True):
        feature = hint
        for layer in net.input_hint_block:
            feature = layer(feature)
        tokens.append((feature.mean((2, 3)) + net.task_embedding[number]) * weight)
        features.append(feature * weight)
    tokens = torch.stack([*tokens, sample.mean((2, 3))], dim=1)
    for layer in net.transformer_layes:
        tokens = layer(tokens)
    for i, (feature, weight) in enumerate(zip(features, weights, strict=True)):
        sample = sample + feature + net.spatial_ch_projs(tokens[:, i])[:, :, None, None] * weight
    out = [net.zero_convs[0](sample, emb, context)]
    for block, zero in zip(list(net.input_blocks)[1:], list(net.zero_convs)[1:], strict=True):
        sample = block(sample, emb, context)
        out.append(zero(sample, emb, context))
    return [*out, net.middle_block_out(net.middle_block(sample, emb, context), emb, context)]


CASES = {
    "canny, depth": ([3, 1], [1.0, 1.0]),
    "canny, depth:0.5": ([3, 1], [1.0, 0.5]),
    "openpose:0.3, tile:1.2, hed": ([0, 6, 2], [0.3, 1.2, 1.0]),
    "depth, normal:0": ([1, 4], [1.0, 0.0]),
}


@pytest.mark.parametrize("text", CASES)
@pytest.mark.parametrize("entries", [1, 2])
def test_several_types_are_the_references_formula(world, union, text, entries):
    """One picture for each type, in the text's order; for two latents two for each."""
    numbers, weights = CASES[text]
    hint = world.hint(2, len(numbers) * entries)
    control = started(world, {"net": union, "image": hint, "strength": 0.7, "union_type": text})
    hints = [part.movedim(-1, 1).repeat(2, 1, 1, 1) for part in hint.chunk(len(numbers))]
    wanted = reference(world, union.control_model, hints, numbers, weights, entries)
    for _ in range(2):
        for a, b in zip(wanted, run(control, entries), strict=True):
            assert b.allclose(a * 0.7, rtol=1e-3, atol=1e-5 * float(a.abs().max()))


@pytest.mark.quick
@pytest.mark.parametrize("types", [("canny", "depth", "openpose"), ("canny", "auto", "tile")])
def test_a_union_used_three_times_is_one_forward(world, union, types):
    """At speed fast, once each hint is encoded: each part gets its own hint and its own type."""
    import torch

    from pack.control.attach import attach
    from pack.control.speed import SPEEDS

    calls = []
    handle = union.control_model.middle_block_out.register_forward_pre_hook(
        lambda _, args: calls.append(args[0].shape[0])
    )
    units = [
        {"net": union, "image": world.hint(i), "union_type": kind, "strength": 1.0 - 0.25 * i}
        for i, kind in enumerate(types)
    ]
    given = {}
    for speed in ("exact", "fast"):
        attached = attach(
            world.stack(units), [world.positive], speed=SPEEDS[speed], with_negative=True
        )
        last = begun(world, attached[0][0][1]["control"])
        with torch.no_grad():
            given[speed] = [run(last) for _ in range(2)][1]
    handle.remove()
    assert calls == [2] * 6 + [2] * 3 + [6]
    for fast, exact in zip(given["fast"], given["exact"], strict=True):
        assert (fast - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_each_type_and_its_weight_matter(world, union):
    """The comparison above would say little if a type or its weight hardly mattered."""
    hint = world.hint(2, 2)
    both = run(started(world, {"net": union, "image": hint, "union_type": "canny, depth"}))
    for other in ("canny, depth:0.5", "depth, canny", "canny, normal"):
        one = run(started(world, {"net": union, "image": hint, "union_type": other}))
        assert (
            max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(both, one, strict=True))
            > 1e-3
        )


@pytest.mark.quick
def test_auto_takes_the_type_of_our_hint_and_asks_for_it_otherwise(world, union):
    from pack.nodes.apply import Add
    from pack.nodes.preprocess import ControlStackCanny

    hint = ControlStackCanny.execute(world.hint(3), low_threshold=100, high_threshold=200)[0]
    stranger = hint.clone()  # the same picture, from anywhere else
    named = run(started(world, {"net": union, "image": stranger, "union_type": "canny"}))
    auto = run(started(world, {"net": union, "image": hint}))
    unnamed = run(started(world, {"net": union, "image": stranger}))
    assert all(ours.equal(expected) for ours, expected in zip(auto, named, strict=True))
    assert not all(ours.equal(expected) for ours, expected in zip(unnamed, named, strict=True))

    assert Add.execute(union, hint).ui is None
    (sentence,) = Add.execute(union, stranger).ui["text"]
    assert "choose one of" in sentence
    assert "depth" in sentence


def test_each_types_hint_is_encoded_once_a_run(world, union):
    calls = []
    handle = union.control_model.input_hint_block[0].register_forward_pre_hook(
        lambda *_: calls.append(1)
    )
    control = started(
        world, {"net": union, "image": world.hint(2, 2), "union_type": "canny, depth"}
    )
    for _ in range(3):
        run(control)
    handle.remove()
    assert len(calls) == 2


@pytest.mark.parametrize("mode", ["balanced", "cond_only"])
def test_one_picture_serves_all_types_and_modes_pick_rows(world, union, mode):
    one = {"net": union, "image": world.hint(2), "union_type": "canny, depth", "mode": mode}
    two = {**one, "image": world.hint(2).repeat(2, 1, 1, 1), "mode": "balanced"}
    for a, b in zip(run(started(world, one)), run(started(world, two)), strict=True):
        assert a[1].allclose(b[1], rtol=1e-3, atol=1e-5 * float(b.abs().max()))
        assert a[0].any() == (mode == "balanced")


def test_the_net_itself_is_left_as_it_was(world, union):
    before = dict(vars(union.control_model))
    run(started(world, {"net": union, "image": world.hint(2, 2), "union_type": "canny, depth"}))
    assert vars(union.control_model) == before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cany", "union_type: expected 'auto' or one of anime_lineart"),
        ("canny, ", "union_type: expected 'auto' or one of"),
        ("canny:x, depth", "union_type: expected a number from 0 to 10 at character 7"),
        ("canny:11, depth", "a number from 0 to 10"),
        ("depth:0.5", "expected a single type without a weight"),
        ("canny, depth", "needs as many hints for each of them.*Found 3"),
    ],
)
def test_types_that_do_not_parse_get_a_sentence(world, union, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        world.ours([{"net": union, "image": world.hint(0, 3), "union_type": text}])


@pytest.mark.parametrize("inpaint", [False, True])
def test_union_type_is_parsed_once(world, union, monkeypatch, inpaint):
    from pack.control import unions

    texts, parse = [], unions.parse
    monkeypatch.setattr(
        unions, "parse", lambda text, *rest: (texts.append(text), parse(text, *rest))[1]
    )
    unit = {"net": union, "image": world.hint(2, 2), "union_type": "depth, repaint"}
    run(started(world, {**unit, "inpaint_mask": painted()} if inpaint else unit))
    assert texts == ["depth, repaint"]


WORDS = {
    **dict.fromkeys(("canny", "lineart", "mlsd", "canny/lineart/anime_lineart/mlsd"), 3),
    **{"pose": 0, "openpose": 0},  # Flux's unions have a type of these names too
}


@pytest.mark.parametrize("name", WORDS)
def test_each_part_of_a_types_name_names_it(world, union, name):
    control = started(world, {"net": union, "image": world.hint(), "union_type": name})
    assert control.inner.extra_args["control_type"] == [WORDS[name]]


def test_a_file_tells_the_types_that_its_net_has(union):
    """Before it is loaded, by the keys of its header."""
    from pack.control.net_info import look_at, types_in_file
    from pack.files.families import identify

    weights = union.control_model.state_dict()
    identity = identify({key: tuple(value.shape) for key, value in weights.items()})
    info = look_at(union)
    assert types_in_file(identity) == (dict(info.union_types), info.fuses_types)


# -- inpainting ------------------------------------------------------------------------------------


def painted(height=64, width=64):
    import torch

    mask = torch.zeros(1, height, width)
    mask[:, height // 4 : height // 2, : width // 2] = 1.0
    return mask


def test_sd15s_inpainting_hint_is_minus_one_in_the_area_to_inpaint(world):
    hint = world.hint()
    by_hand = hint.clone()
    by_hand[:, 16:32, :32] = -1.0
    image = world.sample(*world.host([{"net": world.nets[0], "image": by_hand}]))
    units = [{"net": world.nets[0], "image": hint}]
    for mask in (painted(), painted(32, 32)):
        assert world.sample(*world.ours([{**units[0], "inpaint_mask": mask}])).equal(image)
    assert not world.sample(*world.ours(units)).equal(image)


def test_a_unions_repaint_hint_is_black_in_the_area_to_inpaint(world, union):
    hint = world.hint(0, 2)
    by_hand = hint.clone()
    by_hand[1, 16:32, :32] = 0.0
    unit = {"net": union, "image": hint, "union_type": "depth, repaint"}
    for a, b in zip(
        run(started(world, {**unit, "inpaint_mask": painted()})),
        run(started(world, {**unit, "image": by_hand})),
        strict=True,
    ):
        assert a.equal(b)
    with pytest.raises(ValueError, match="uses an inpaint_mask for its type 'repaint' only"):
        world.ours([{**unit, "union_type": "depth, canny", "inpaint_mask": painted()}])


@pytest.fixture
def concat(world):
    """Return a net that reads its mask as a fourth channel, as those for Flux and Qwen do."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.model_management
    import comfy.ops

    from workbench.tiny_family import family

    shape = {
        k: v
        for k, v in family.TINY.items()
        if k not in ("out_channels", "transformer_depth_output")
    }
    module = comfy.cldm.cldm.ControlNet(
        **{**shape, **family.TINY_HEADS}, hint_channels=4, operations=comfy.ops.disable_weight_init
    )
    family.fill(module, 4)
    device = comfy.model_management.get_torch_device()
    return comfy.controlnet.ControlNet(module.eval(), load_device=device, concat_mask=True)


@pytest.mark.parametrize("size", [(64, 64), (40, 100)])
@pytest.mark.parametrize("hints", [1, 2])
def test_a_net_that_concatenates_its_mask_is_the_hosts(world, concat, size, hints):
    from comfy_extras.nodes_controlnet import ControlNetInpaintingAliMamaApply

    hint, mask = world.hint(0, hints, *size), painted(*size)
    theirs = ControlNetInpaintingAliMamaApply.execute(
        world.positive, world.negative, concat, None, hint, mask, 0.8, 0.0, 0.9
    )
    how = {"batch": 2, "steps": 4}
    image = world.sample(theirs[0], theirs[1], **how)
    unit = {"net": concat, "image": hint, "strength": 0.8, "end_percent": 0.9, "inpaint_mask": mask}
    assert world.sample(*world.ours([unit]), **how).equal(image)
    other = {**unit, "inpaint_mask": 1 - mask}
    assert not world.sample(*world.ours([other]), **how).equal(image)


def test_a_concatenated_mask_is_fitted_as_its_hint_is(world, concat):
    import comfy.utils
    from comfy_extras.nodes_controlnet import ControlNetInpaintingAliMamaApply

    hint, mask = world.hint(0, 1, 40, 100), painted(40, 100)
    removed = hint * (1 - mask)[..., None]

    def square(picture):
        return comfy.utils.common_upscale(picture, 64, 64, "nearest-exact", "disabled")

    theirs = ControlNetInpaintingAliMamaApply.execute(
        world.positive,
        world.negative,
        concat,
        None,
        square(removed.movedim(-1, 1)).movedim(1, -1),
        square(mask[:, None])[:, 0],
        1.0,
        0.0,
        1.0,
    )
    ours = world.ours([{"net": concat, "image": hint, "inpaint_mask": mask, "fit": "stretch"}])
    assert world.sample(*ours).equal(world.sample(theirs[0], theirs[1]))


def test_a_missing_mask_gets_a_sentence(world, concat):
    from pack.control.net_info import TAG, source_of
    from pack.files.families import Source

    with pytest.raises(ValueError, match="is an inpainting net: connect inpaint_mask"):
        world.ours([{"net": concat, "image": world.hint()}])
    named = world.nets[0].copy()
    setattr(
        named, TAG, Source("control_v11p_sd15_inpaint_fp16.safetensors", source_of(named).identity)
    )
    with pytest.raises(
        ValueError, match=r"'control_v11p_sd15_inpaint_fp16\.safetensors'.* is an inpainting net"
    ):
        world.ours([{"net": named, "image": world.hint()}])
    hint = world.hint()
    hint[:, :8] = -1.0  # made by an inpainting preprocessor: the mask is in it already
    assert world.sample(*world.ours([{"net": named, "image": hint}])).isfinite().all()


def test_a_missing_vae_gets_a_sentence(world, concat):
    import comfy.latent_formats

    concat.latent_format = comfy.latent_formats.SD15()
    with pytest.raises(ValueError, match="connect the model's VAE to Apply ControlNet Stack"):
        world.ours([{"net": concat, "image": world.hint(), "inpaint_mask": painted()}])
