"""Check every family that ComfyUI controls, as a tiny net of its real class, against ComfyUI."""

from __future__ import annotations

import pytest

from workbench import tiny_bases
from workbench.family_runs import frames_by_hand, hint, host, in_windows, ours, plain, sample

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick


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
    import comfy.controlnet

    if request.param == "Qwen-Image Fun" and not hasattr(comfy.controlnet, "QwenFunControlNet"):
        pytest.skip("this host has no Qwen-Image Fun nets")
    base, net = tiny_bases.NETS[request.param]
    return bases(base), net()


def every(*families):
    return pytest.mark.parametrize("family", families or tiny_bases.NETS, indirect=True)


@pytest.mark.quick
@every()
def test_plain_settings_give_the_hosts_image(family):
    base, net = family
    theirs = sample(base, host(base, net))
    assert not theirs.equal(sample(base, plain(base))), (
        "its control must act, or the comparison says nothing"
    )
    assert theirs.equal(sample(base, ours(base, net)))


@every("SD3 inpainting", "Flux inpainting", "Qwen-Image inpainting")
def test_inpainting_is_the_hosts(family):
    import torch
    from comfy_extras.nodes_controlnet import ControlNetInpaintingAliMamaApply

    base, net = family
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:40, :32] = 1.0
    apply = ControlNetInpaintingAliMamaApply.execute
    theirs = apply(*plain(base), net, base.vae, hint(), mask, 0.7, 0.0, 1.0)
    image = sample(base, (theirs[0], theirs[1]))
    assert image.equal(sample(base, ours(base, net, inpaint_mask=mask)))
    assert not image.equal(sample(base, ours(base, net)))
    with pytest.raises(ValueError, match="is an inpainting net: connect inpaint_mask"):
        ours(base, net, inpaint_mask=None)


@every()
def test_zero_strength_or_an_empty_interval_changes_nothing(family):
    base, net = family
    without = sample(base, plain(base))
    for how in ({"strength": 0.0}, {"start": 0.6, "end": 0.2}, {"schedule": "0:0"}):
        assert without.equal(sample(base, ours(base, net, **how)))


@every(
    "T2I-Adapter XL", "SD3", "XLabs", "Qwen-Image", "Qwen-Image Fun", "HunyuanDiT", "Stable Cascade"
)
def test_range_and_schedule_are_the_hosts_range_and_strength(family):
    base, net = family
    ranged = {"start": 0.2, "end": 0.7}
    assert sample(base, ours(base, net, **ranged)).equal(sample(base, host(base, net, **ranged)))
    half = sample(base, ours(base, net, strength=0.8, schedule="0:0.5"))
    assert half.equal(sample(base, host(base, net, strength=0.4)))


@every("SDXL", "SD3", "SD3.5", "InstantX", "Qwen-Image", "HunyuanDiT", "Stable Cascade")
@pytest.mark.parametrize("order", ["ours-ours", "host-ours", "ours-host"])
def test_chains_of_one_family_mixed_with_the_hosts_nodes(family, order):
    base, net = family
    sides = {"ours": ours, "host": host}
    theirs = mixed = None
    for i, side in enumerate(order.split("-")):
        theirs = host(base, net, hint(i), 0.4 + 0.2 * i, chain=theirs)
        mixed = sides[side](base, net, hint(i), 0.4 + 0.2 * i, chain=mixed)
    assert sample(base, theirs).equal(sample(base, mixed))


@every(
    "SDXL",
    "T2I-Adapter XL",
    "SD3",
    "SD3.5",
    "InstantX",
    "XLabs",
    "Qwen-Image",
    "Qwen-Image Fun",
    "HunyuanDiT",
    "Stable Cascade",
)
def test_cond_only_acts_on_the_positive_prompt_alone(family):
    """ComfyUI can do the same with control on the positive alone, at twice the model's calls."""
    import nodes

    base, net = family
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    positive, _ = apply(base.positive, [], net, hint(0, 2), 0.7, 0.0, 1.0, base.vae)
    theirs = sample(base, (positive, base.negative), batch=2)
    mine = sample(base, ours(base, net, hint(0, 2), mode="cond_only"), batch=2)
    assert (theirs - mine).abs().max() <= 2e-4 * theirs.abs().max()
    assert not mine.allclose(sample(base, host(base, net, hint(0, 2)), batch=2), rtol=1e-3)


@every("T2I-Adapter XL", "SD3", "InstantX", "Qwen-Image", "Stable Cascade")
def test_hints_of_each_picture_in_a_batch(family):
    base, net = family
    images = hint(3, 3)
    assert sample(base, host(base, net, images), 3).equal(sample(base, ours(base, net, images), 3))


@every("SD3", "XLabs", "InstantX", "Qwen-Image", "Qwen-Image Fun", "HunyuanDiT")
def test_windows_take_their_own_hints(family):
    """ComfyUI's own net is given the hints of each window's pictures by hand."""
    base, net = family
    images, came = hint(3, 5), []

    def call(apply, args):
        cond, x = args["c"], args["input"]
        frames = frames_by_hand(cond["transformer_options"], x.shape[0])
        came.append(frames)
        theirs = net.copy().set_cond_hint(
            images.movedim(-1, 1)[frames], 0.7, (0.0, 1.0), vae=base.vae
        )
        theirs.pre_run(base.patcher.model, base.patcher.model.model_sampling.percent_to_sigma)
        given = theirs.get_control(x, args["timestep"], cond, 1, cond["transformer_options"])
        return apply(x, args["timestep"], **{**cond, "control": given})

    windows = in_windows(base.patcher, context_length=3, context_overlap=1)
    by_hand = windows.clone()
    by_hand.set_model_unet_function_wrapper(call)
    theirs = sample(base, plain(base), 5, 1.0, patcher=by_hand, steps=2)
    assert {frame for frames in came for frame in frames} == set(range(5))
    assert theirs.equal(sample(base, ours(base, net, images), 5, 1.0, patcher=windows, steps=2))


@every("SD3", "InstantX", "Qwen-Image", "Qwen-Image Fun")
def test_a_hint_is_encoded_once_a_run(family):
    base, net = family
    base.vae.encodes = 0
    sample(base, ours(base, net))
    assert base.vae.encodes == 1


def with_areas(base):
    area = {"area": (6, 4, 0, 0), "strength": 1.0}
    return [*base.positive, [base.negative[0][0], {**base.positive[0][1], **area}]], base.negative


@every("T2I-Adapter light", "SD3", "InstantX")
def test_areas_encode_each_size_once(family):
    """ComfyUI encodes again whenever the size changes, so twice a step; the image is the same."""
    base, net = family
    theirs = sample(base, host(base, net, chain=with_areas(base)))
    base.vae.encodes = 0
    assert theirs.equal(sample(base, ours(base, net, chain=with_areas(base))))
    assert base.vae.encodes <= 2


def pairs():
    """Pair each net with a base that it was not trained for."""
    order = list(tiny_bases.BASES)
    for name, (base, _) in tiny_bases.NETS.items():
        other = order[(order.index(base) + 1) % len(order)]
        if (base, other) == ("flux", "chroma"):
            other = "qwen"
        yield name, other


@pytest.mark.parametrize(("family", "other"), list(pairs()), indirect=["family"])
def test_a_pair_that_cannot_work_is_refused_with_both_named(family, other, bases):
    from pack.control.net_info import source_of

    _, net = family
    wrong = bases(other)
    source = source_of(net)
    assert source is not None
    with pytest.raises(ValueError, match="does not fit the model") as refused:
        ours(wrong, net)
    sentence = str(refused.value)
    assert source.name in sentence
    assert (source.identity.base or str(source.identity)) in sentence
    assert f"the model, which is {MODEL_NAMES.get(other, '')}" in sentence


MODEL_NAMES = {
    "sd2": "SD2",
    "sdxl": "SDXL",
    "sd3": "SD3",
    "flux": "Flux",
    "chroma": "Chroma",
    "qwen": "Qwen-Image",
    "hunyuan_dit": "HunyuanDiT",
    "cascade": "Stable Cascade",
    "flux2": "Flux 2",
}


@every("SD3", "InstantX", "Qwen-Image", "HunyuanDiT")
def test_a_missing_vae_is_refused_before_sampling(family):
    from dataclasses import replace

    base, net = family
    with pytest.raises(ValueError, match="connect the model's VAE to Apply ControlNet Stack"):
        ours(replace(base, vae=None), net)


NEVER_HERE = {
    "inpaint_mask": ({"inpaint_mask": True}, "does not use an inpaint_mask"),
    "union_type": (
        {"union_type": "depth"},
        "has no union types to choose from: leave union_type at 'auto'",
    ),
    "region": ({"fit": "region"}, "the positive prompt has no area"),
}


@every()
def test_what_a_family_cannot_do_is_refused_before_sampling(family):
    """Nets for UNets and inpainting nets take an inpaint mask; the others refuse it."""
    import torch

    from pack.control.flux2_fun import Flux2FunNet
    from pack.control.layouts import BLOCKS
    from pack.control.net_info import look_at

    base, net = family
    layout = look_at(net).layout
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1.0
    for asked, (more, sentence) in NEVER_HERE.items():
        if asked == "union_type" and look_at(net).union_types:
            continue
        takes_area = layout is BLOCKS or getattr(net, "concat_mask", False)
        if asked == "inpaint_mask" and (takes_area or isinstance(net, Flux2FunNet)):
            continue
        with pytest.raises(ValueError, match=sentence):
            ours(
                base, net, **{key: mask if value is True else value for key, value in more.items()}
            )


# The model cards of InstantX/FLUX.1-dev-Controlnet-Union and Shakker-Labs/...-Union-Pro.
FLUX_MODES = {
    "canny": 0,
    "tile": 1,
    "depth": 2,
    "blur": 3,
    "pose": 4,
    "openpose": 4,
    "gray": 5,
    "grey": 5,
    "lq": 6,
}


@every("Flux union")
@pytest.mark.parametrize("union_type", FLUX_MODES)
def test_a_flux_union_gets_the_row_of_its_model_card(family, union_type):
    base, net = family
    asked = net.copy()
    asked.set_extra_arg("control_type", [FLUX_MODES[union_type]])
    theirs = sample(base, host(base, asked), steps=1)
    assert theirs.equal(sample(base, ours(base, net, union_type=union_type), steps=1))
    other = (FLUX_MODES[union_type] + 1) % 7
    asked.set_extra_arg("control_type", [other])
    assert not theirs.equal(sample(base, host(base, asked), steps=1))


@every("Flux union")
def test_what_a_flux_union_is_asked_for(family):
    from pack.nodes.apply import Add
    from pack.nodes.preprocess import NODES

    base, net = family
    texts = {"mode": "balanced", "fit": "crop", "schedule": "", "layers": ""}
    of = {**texts, "start_percent": 0.0, "end_percent": 1.0, "strength": 1.0}
    canny = next(node for node in NODES if node.__name__ == "ControlStackCanny")
    edges = canny.execute(image=hint(), low_threshold=100, high_threshold=200, resolution=0)[0]
    answer = Add.execute(net, edges, **of)
    assert [kind.number for kind in answer[0].units[0].types] == [0]
    asking = Add.execute(net, hint(), **of).ui["text"][0]
    assert "choose one of canny, tile, depth, blur, pose/openpose, gray/grey, lq" in asking
    with pytest.raises(ValueError, match="takes one type at a time, found 'canny, depth'"):
        ours(base, net, union_type="canny, depth")
    for other in ("normal", "segment", "repaint", "hed"):
        with pytest.raises(ValueError, match=r"has no type .*: choose 'auto' or one of canny, "):
            ours(base, net, union_type=other)
