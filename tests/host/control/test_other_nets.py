"""Check other nets than plain ControlNets: T2I-Adapters, Control-LoRAs, unions, other packs'."""

from __future__ import annotations

import pytest


@pytest.fixture
def adapter():
    """Return a T2I-Adapter of ComfyUI's own class, at the tiny model's widths."""
    import comfy.controlnet
    import comfy.t2i_adapter.adapter as t2i
    import torch

    torch.manual_seed(4)
    net = t2i.Adapter(
        cin=192, channels=[32, 64, 128, 128], nums_rb=2, ksize=1, sk=True, use_conv=False, xl=False
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.05)
    return comfy.controlnet.T2IAdapter(net.eval(), 3, 8, "nearest-exact")


@pytest.fixture
def union(world):
    """Return a union net of six types with 320 channels: its fusion is 320 wide by construction."""
    import comfy.controlnet
    import comfy.model_management

    net = other(
        model_channels=320, channel_mult=[1], num_res_blocks=[1], transformer_depth=[1], union=6
    )
    return comfy.controlnet.ControlNet(net, load_device=comfy.model_management.get_torch_device())


def other(union=None, **changes):
    import comfy.cldm.cldm
    import comfy.ops

    from workbench.tiny_family import family

    shape = {
        k: v
        for k, v in family.TINY.items()
        if k not in ("out_channels", "transformer_depth_output")
    }
    net = comfy.cldm.cldm.ControlNet(
        **{**shape, **family.TINY_HEADS, **changes},
        hint_channels=3,
        union_controlnet_num_control_type=union,
        operations=comfy.ops.disable_weight_init,
    )
    family.fill(net, 3)
    return net.eval()


def test_a_t2i_adapter_is_the_hosts(world, adapter):
    units = [{"net": adapter, "image": world.hint(5), "strength": 0.7, "end_percent": 0.8}]
    units.append({"net": world.nets[0], "image": world.hint()})
    image = world.sample(*world.host(units))
    assert image.equal(world.sample(*world.ours(units)))
    assert not image.equal(world.sample(*world.host(units[1:])))


@pytest.mark.parametrize(
    "more",
    [
        *({"mode": mode} for mode in ("prompt", "control")),
        {"layers": "soft 0.8"},
        {"effect_mask": 1},
    ],
)
def test_what_needs_a_layout_is_refused_without_one(world, more):
    """A control object without a known layout is refused before a step, with what to do instead."""
    import comfy.controlnet
    import torch

    class Unknown(comfy.controlnet.ControlBase):
        def get_control(self, *args):
            raise AssertionError("no step may be made")

    more = {k: torch.rand(1, 8, 8) if v == 1 else v for k, v in more.items()}
    with pytest.raises(ValueError, match="this pack does not know nets of this class"):
        world.ours([{"net": Unknown(), "image": world.hint(), **more}])
    with pytest.raises(ValueError, match="does not use an inpaint_mask"):
        world.ours([{"net": Unknown(), "image": world.hint(), "inpaint_mask": torch.ones(8, 8)}])


def test_a_schedule_scales_any_net(world, adapter):
    units = [{"net": adapter, "image": world.hint(5), "strength": 0.7}]
    half = world.sample(*world.ours([{**units[0], "schedule": "0:0.5"}]))
    assert half.equal(world.sample(*world.host([{**units[0], "strength": 0.35}])))


def test_a_control_lora_is_the_hosts(world, control_lora):
    units = [{"net": control_lora, "image": world.hint(5), "strength": 0.7}]
    image = world.sample(*world.host(units))
    assert image.equal(world.sample(*world.ours(units)))
    assert not image.equal(world.sample(world.positive, world.negative))


def test_a_control_lora_is_merged_once_a_run(world, control_lora):
    """At speed fast; the base's weights, which it shares, stay as they are."""
    import torch

    base = world.model.model.diffusion_model.state_dict()["input_blocks.0.0.weight"]
    before, calls, real = base.clone(), [], torch.mm
    units = [{"net": control_lora, "image": world.hint(5), "strength": 0.7}]
    chain = world.ours(units, speed="fast")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "mm", lambda *args: (calls.append(args[0].shape), real(*args))[1])
        fast = world.sample(*chain)
        assert len(calls) == 1
        exact = world.sample(*world.host(units))
        assert len(calls) == 1 + 3
    assert (fast - exact).abs().max() <= 1e-5 * exact.abs().max()
    assert base.equal(before)
    assert chain[0][0][1]["control"].journal.merged == 1


def run(control, batched=2, **cond):
    """Return the residuals of one call with a negative and a positive row."""
    import torch

    x = torch.randn(batched, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    context = torch.randn(batched, 77, 64, generator=torch.Generator().manual_seed(2))
    kinds = {"cond_or_uncond": [1, 0]}
    out = control.get_control(
        x, torch.full((batched,), 7.0), {"c_crossattn": context, **cond}, batched, kinds
    )
    return out["output"] + out["middle"]


def started(world, unit):
    """Return the started chain member of one unit; its net need not fit the tiny model."""
    from dataclasses import replace

    from pack.control.attach import attach

    control = attach(world.stack([unit]), [world.positive], with_negative=True)[0][0][1]["control"]
    control.unit = replace(control.unit, net_info=replace(control.unit.net_info, source=None))
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    return control


def started_alone(world, net, strength):
    """Return ComfyUI's own control object on the same hint."""
    net = net.copy().set_cond_hint(world.hint().movedim(-1, 1), strength, (0.0, 1.0))
    net.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    return net


def test_a_net_that_reads_pooled_prompts_like_sdxl(world):
    """`y` has a row for each picture, as the prompt has: mode cond_only must pick its rows too."""
    import comfy.controlnet
    import comfy.model_management
    import torch

    device = comfy.model_management.get_torch_device()
    net = comfy.controlnet.ControlNet(
        other(num_classes="sequential", adm_in_channels=16), load_device=device
    )
    unit = {"net": net, "image": world.hint(), "strength": 0.7}
    y = torch.randn(2, 16, generator=torch.Generator().manual_seed(3))
    theirs = run(started_alone(world, net, 0.7), y=y)
    for a, b in zip(theirs, run(started(world, unit), y=y), strict=True):
        assert a.equal(b)
    for a, b in zip(theirs, run(started(world, {**unit, "mode": "cond_only"}), y=y), strict=True):
        assert not b[0].any()
        assert b[1].allclose(a[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("union_type", ["auto", "depth", "hed/pidi/scribble/ted"])
def test_a_union_net_with_one_type_is_the_hosts(world, union, union_type):
    """A union's hint feature is cached too: its convolutions run once, its fusion at each step."""
    from comfy.cldm.control_types import UNION_CONTROLNET_TYPES

    net = union.copy()
    if union_type != "auto":
        net.set_extra_arg("control_type", [UNION_CONTROLNET_TYPES[union_type]])
    theirs = started_alone(world, net, 0.7)
    ours = started(
        world, {"net": union, "image": world.hint(), "strength": 0.7, "union_type": union_type}
    )
    for _ in range(2):
        for a, b in zip(run(theirs), run(ours), strict=True):
            assert a.equal(b)


def test_a_union_type_that_the_net_lacks(world, union):
    with pytest.raises(
        ValueError, match="has no type 'tile': choose 'auto' or one of openpose, depth"
    ):
        world.ours([{"net": union, "image": world.hint(), "union_type": "tile"}])


def test_a_control_object_of_another_pack(world):
    """A subclass with its own get_control runs as it is, scaled by strength and range."""
    import comfy.controlnet

    class Foreign(comfy.controlnet.ControlNet):
        def get_control(self, *args):
            out = super().get_control(*args)
            return out and {place: [r * 2 for r in values] for place, values in out.items()}

        def copy(self):
            twin = Foreign(
                None, load_device=self.load_device, manual_cast_dtype=self.manual_cast_dtype
            )
            twin.control_model, twin.control_model_wrapped = (
                self.control_model,
                self.control_model_wrapped,
            )
            self.copy_to(twin)
            return twin

    base = world.nets[0]
    foreign = Foreign(
        base.control_model, load_device=base.load_device, manual_cast_dtype=base.manual_cast_dtype
    )
    foreign.control_model_wrapped = (
        base.control_model_wrapped
    )  # a patcher of its own would outlive this test half-dead
    units = [{"net": foreign, "image": world.hint(), "strength": 0.5, "end_percent": 0.7}]
    assert world.sample(*world.ours(units)).equal(world.sample(*world.host(units)))


# -- T2I-Adapters: features instead of blocks ------------------------------------------------------


def features(world, net, batch=1, **more):
    """Return an adapter's features for a negative and a positive chunk of `batch` latents each."""
    import torch

    control = started(world, {"net": net, "image": world.hint(5, more.pop("hints", 1)), **more})
    x = torch.zeros(2 * batch, 4, 8, 8)
    cond = {"c_crossattn": torch.zeros(2 * batch, 77, 64)}
    out = control.get_control(x, torch.full((2 * batch,), 7.0), cond, 2, {"cond_or_uncond": [1, 0]})
    return [feature for feature in reversed(out["input"]) if feature is not None]


def test_soft_features_are_a1111s(world, adapter):
    plain, soft = features(world, adapter), features(world, adapter, layers="soft")
    for a, b, weight in zip(plain, soft, (0.25, 0.62, 0.825, 1.0), strict=True):
        assert b.allclose(a * weight, rtol=1e-6)
    deep = features(world, adapter, layers="resolution")
    for a, b, weight in zip(plain, deep, (1, 2, 4, 8), strict=True):
        assert b.equal(a * weight)


def test_half_a_mask_leaves_the_other_half_of_every_feature(world, adapter):
    import torch

    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1.0
    for a, b in zip(
        features(world, adapter), features(world, adapter, effect_mask=mask), strict=True
    ):
        middle = a.shape[-1] // 2
        if middle:
            assert b[..., :middle].equal(a.expand(2, -1, -1, -1)[..., :middle])
            assert not b[..., middle:].any()


@pytest.mark.parametrize("hints", [1, 3])
@pytest.mark.parametrize("mode", ["cond_only", "control"])
def test_features_on_the_positive_prompt_only(world, adapter, hints, mode):
    plain = features(world, adapter, 3, hints=hints, layers="soft" if mode == "control" else "")
    for a, b in zip(plain, features(world, adapter, 3, hints=hints, mode=mode), strict=True):
        assert not b[:3].any()
        assert b[3:].allclose(a.expand(6, -1, -1, -1)[3:], rtol=1e-5)


def test_an_adapters_features_are_made_once_for_each_size(world, adapter):
    """ComfyUI computes them again whenever an area changes the size."""
    calls = []
    handle = adapter.t2i_model.register_forward_pre_hook(lambda *_: calls.append(1))
    area = [[world.positive[0][0], {"area": (5, 8, 3, 2), "strength": 1.0, "pooled_output": None}]]
    units = [{"net": adapter, "image": world.hint(5)}]
    how = {"steps": 4, "size": (10, 12)}
    image = world.sample(*world.ours(units, world.positive + area), **how)
    assert len(calls) == 2
    calls.clear()
    assert image.equal(world.sample(*world.host(units, world.positive + area), **how))
    assert len(calls) > 2
    handle.remove()
