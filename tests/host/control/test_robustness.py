"""Check the run after a failure or a copy, and that bad input gets a sentence."""

from __future__ import annotations

import pytest


def units_of(world, count=2, **more):
    return [{"net": world.nets[i], "image": world.hint(i), **more} for i in range(count)]


class StopError(Exception):
    pass


@pytest.fixture
def fail_in_call(world, monkeypatch):
    """Make the n-th forward of any ControlNet raise `error`."""
    import comfy.cldm.cldm

    def arm(n, error):
        real = comfy.cldm.cldm.ControlNet.forward
        calls = []

        def forward(self, *args, **kwargs):
            calls.append(1)
            if len(calls) == n:
                raise error
            return real(self, *args, **kwargs)

        monkeypatch.setattr(comfy.cldm.cldm.ControlNet, "forward", forward)

    yield arm
    monkeypatch.undo()


@pytest.mark.parametrize("mode", ["balanced", "control"])
@pytest.mark.parametrize("call", [1, 4])
@pytest.mark.parametrize("how", ["interrupted", "out of memory"])
def test_the_run_after_a_failed_one_is_a_fresh_one(
    world, fail_in_call, monkeypatch, mode, call, how
):
    import comfy.model_management
    import torch

    error = {
        "interrupted": comfy.model_management.InterruptProcessingException,
        "out of memory": torch.OutOfMemoryError,
    }[how]
    fresh = world.sample(*world.ours(units_of(world, mode=mode)), steps=4)
    chain = world.ours(units_of(world, mode=mode))
    modules = [net.control_model for net in world.nets]
    fail_in_call(call, error("stopped by the test"))
    with pytest.raises(error):
        world.sample(*chain, steps=4)
    monkeypatch.undo()
    assert world.sample(*chain, steps=4).equal(fresh)
    assert [net.control_model for net in world.nets] == modules


def test_a_failed_run_of_another_size_leaves_nothing_behind(world, fail_in_call, monkeypatch):
    chain = world.ours(units_of(world))
    fresh = world.sample(*world.ours(units_of(world)), steps=3)
    fail_in_call(5, StopError())
    with pytest.raises(StopError):
        world.sample(*chain, steps=3, size=(16, 8), batch=2)
    monkeypatch.undo()
    assert world.sample(*chain, steps=3).equal(fresh)


def test_a_finished_run_keeps_no_tensor(world):
    chain = world.ours(units_of(world))
    world.sample(*chain)
    control = chain[0][0][1]["control"]
    assert control.run.hints.prepared == {}
    assert control.run.factors == {}
    assert control.inner.cond_hint is None
    assert control.inner.control_model is world.nets[1].control_model


def test_copies_act_alike(world):
    import torch

    chain = world.ours(
        units_of(
            world,
            mode="control",
            fit="pad",
            schedule="0s:1, 2s:0.5 | smooth",
            layers="linear 0.2..1",
            frame_strength="0:0.7",
            effect_mask=torch.rand(1, 9, 9),
            inpaint_mask=torch.eye(16),
        )
    )
    image = world.sample(*chain)
    assert not image.equal(world.sample(*world.ours(units_of(world))))
    twin = chain[0][0][1]["control"].copy()
    twin.set_previous_controlnet(chain[0][0][1]["control"].previous_controlnet.copy())
    copied = [[[entry[0], {**entry[1], "control": twin}] for entry in side] for side in chain]
    assert world.sample(*copied).equal(image)


def test_clones_for_other_devices_act_alike(world):
    import torch

    chain = world.ours(units_of(world, 1, layers="soft 0.9"))
    control = chain[0][0][1]["control"]
    if not hasattr(control.inner, "deepclone_multigpu"):
        pytest.skip("this host has no multi-GPU clones")
    image = world.sample(*chain)
    clone = control.deepclone_multigpu(torch.device("cpu"), autoregister=True)
    assert control.multigpu_clones == {torch.device("cpu"): clone}
    assert clone.inner.control_model is not control.inner.control_model
    control.multigpu_clones.clear()
    cloned = [[[entry[0], {**entry[1], "control": clone}] for entry in side] for side in chain]
    assert world.sample(*cloned).equal(image)


def test_a_hint_encoder_that_depends_on_time_is_not_cached(world):
    """Caching is safe for convolutions alone; another encoder or module runs as ComfyUI runs it."""
    import copy

    import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
    import torch

    from pack.control.hint_cache import twin_with_cached_hint

    class Timed(openaimodel.TimestepBlock):
        def forward(self, x, emb):
            return x

    module = copy.copy(world.nets[0].control_model)
    assert twin_with_cached_hint(module) is not None
    encoder = openaimodel.TimestepEmbedSequential(*module.input_hint_block, Timed())
    module._modules = {**module._modules, "input_hint_block": encoder}
    assert twin_with_cached_hint(module) is None
    assert twin_with_cached_hint(torch.nn.Identity()) is None


def test_a_net_with_a_forward_of_its_own_is_not_cached(world, counted):
    """A compiled forward is bound to its net, so a twin could not replace the hint encoder."""
    module = world.nets[0].control_model
    fresh = world.sample(*world.ours(units_of(world, 1)))
    counted["hint"].clear()
    module.forward = module.forward
    try:
        assert world.sample(*world.ours(units_of(world, 1)), steps=3).equal(fresh)
    finally:
        del module.forward
    assert counted["hint"][id(module.zero_convs)] == 3


def test_nothing_of_the_host_is_replaced(world):
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.samplers

    before = [
        dict(vars(o))
        for o in (
            comfy.controlnet,
            comfy.samplers,
            comfy.cldm.cldm.ControlNet,
            comfy.controlnet.ControlNet,
        )
    ]
    world.sample(*world.ours(units_of(world)))
    after = [
        dict(vars(o))
        for o in (
            comfy.controlnet,
            comfy.samplers,
            comfy.cldm.cldm.ControlNet,
            comfy.controlnet.ControlNet,
        )
    ]
    assert before == after


# -- input that people really have -----------------------------------------------------------------


def test_grey_alpha_and_half_pictures_act_as_their_colours(world):
    import torch

    grey = world.hint()[..., :1]
    wanted = world.sample(*world.ours([{"net": world.nets[0], "image": grey.repeat(1, 1, 1, 3)}]))
    for image in (grey, torch.cat([grey] * 3 + [torch.ones_like(grey)], dim=-1)):
        assert world.sample(*world.ours([{"net": world.nets[0], "image": image}])).equal(wanted)
    half = grey.repeat(1, 1, 1, 3).half()
    wanted = world.sample(*world.ours([{"net": world.nets[0], "image": half.float()}]))
    assert world.sample(*world.ours([{"net": world.nets[0], "image": half}])).equal(wanted)


def test_transparent_parts_are_white_as_in_every_preprocessor(world):
    import torch

    colours, alpha = world.hint(), (torch.rand(1, 64, 64, 1) * 2 - 0.5).clamp(0, 1)
    alpha = alpha[:, : colours.shape[1], : colours.shape[2]]
    flat = colours * alpha + (1 - alpha)
    wanted = world.sample(*world.host([{"net": world.nets[0], "image": flat}]))
    image = torch.cat([colours, alpha], dim=-1)
    assert world.sample(*world.ours([{"net": world.nets[0], "image": image}])).equal(wanted)


@pytest.mark.parametrize("size", [(1, 1), (7, 5000), (5000, 7)])
def test_odd_pictures_act_as_in_the_host(world, size):
    units = [{"net": world.nets[0], "image": world.hint(0, 1, *size)}]
    assert world.sample(*world.ours(units)).equal(world.sample(*world.host(units)))


def test_values_outside_0_to_1_pass_as_they_are(world):
    """Inpainting hints carry -1; clamping would break them."""
    units = [{"net": world.nets[0], "image": world.hint() * 4 - 2}]
    assert world.sample(*world.ours(units)).equal(world.sample(*world.host(units)))


def nan():
    import torch

    image = torch.rand(1, 8, 8, 3)
    image[0, 3, 3, 0] = float("nan")
    return image


BAD = {
    "no picture": (lambda t: {"image": t.rand(0, 8, 8, 3)}, "at least one picture"),
    "no pixel": (lambda t: {"image": t.rand(1, 0, 8, 3)}, "at least one pixel"),
    "two channels": (
        lambda t: {"image": t.rand(1, 8, 8, 2)},
        r"expected \(batch, height, width, 3\)",
    ),
    "one picture without a batch": (
        lambda t: {"image": t.rand(8, 8, 3)},
        r"expected \(batch, height, width, 3\)",
    ),
    "NaN": (lambda t: {"image": nan()}, "finite"),
    "schedule": (lambda t: {"schedule": "0:1, half:0"}, r"schedule: .* at character 6 .*'half:0'"),
    "schedule steps": (
        lambda t: {"schedule": "8s:0.5, 4s:1"},
        "schedule: .* a position not before 8",
    ),
    "schedule interpolation": (
        lambda t: {"schedule": "0:1 | cubic"},
        "the interpolation 'linear', 'smooth' or 'step'",
    ),
    "schedule curve": (lambda t: {"schedule": [(0.0, 1.0), (2.0, 0.5)]}, "x from 0 to 1"),
    "schedule of something else": (
        lambda t: {"schedule": 3},
        "expected a text or a curve's points",
    ),
    "layers": (lambda t: {"layers": "softly 0.8"}, "layers: .* at character 1 .*'softly"),
    "layers value": (lambda t: {"layers": "blocks 1, x"}, "layers: .* at character 11 .*'x'"),
    "layers kind": (lambda t: {"layers": "linear 1"}, r"two weights 'a\.\.b'"),
    "mode": (
        lambda t: {"mode": "softly"},
        "mode: expected 'balanced', 'prompt', 'control' or 'cond_only', found 'softly'",
    ),
    "fit": (
        lambda t: {"fit": "fill"},
        "fit: expected 'crop', 'stretch', 'pad' or 'region', found 'fill'",
    ),
    "region without an area": (lambda t: {"fit": "region"}, "the positive prompt has no area"),
    "inpaint mask": (lambda t: {"inpaint_mask": t.ones(0, 8, 8)}, "inpaint_mask: expected a mask"),
    "frame strength": (
        lambda t: {"frame_strength": "0.5:1"},
        "frame_strength: expected a whole number",
    ),
    "empty mask": (lambda t: {"effect_mask": t.ones(0, 8, 8)}, "effect_mask: expected a mask"),
    "mask with NaN": (lambda t: {"effect_mask": nan()[..., 0]}, "not finite"),
    "no net": (
        lambda t: {"net": "net.safetensors"},
        "expected a CONTROL_NET from a loader, found str",
    ),
    "union type": (
        lambda t: {"union_type": "depth"},
        "has no union types to choose from: leave union_type at 'auto'",
    ),
    "strength": (
        lambda t: {"strength": float("nan")},
        "strength: expected a finite number, found nan",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_a_sentence(world, case):
    import torch

    make, sentence = BAD[case]
    with pytest.raises(ValueError, match=sentence):
        world.ours([{"net": world.nets[0], "image": world.hint(), **make(torch)}])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"speed": "faster"}, "speed: expected 'exact', 'fast' or 'approximate', found 'faster'"),
        (
            {"speed": "approximate", "reuse": 0},
            "reuse: expected a number of steps from 1 to 10, found 0",
        ),
    ],
)
def test_a_speed_that_is_not_a_choice(world, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        world.ours(units_of(world, 1), **settings)


def test_a_stack_of_something_else(world):
    from pack.nodes.apply import Apply

    with pytest.raises(ValueError, match="expected a CONTROL_STACK"):
        Apply.execute(world.positive, [("net", "image")], world.negative)


def test_a_net_that_needs_a_vae(world):
    import comfy.latent_formats

    net = world.nets[0].copy()
    net.latent_format = comfy.latent_formats.SD15()
    with pytest.raises(ValueError, match="connect the model's VAE"):
        world.ours([{"net": net, "image": world.hint()}])


# -- nets that do not fit --------------------------------------------------------------------------


def other_net(**changes):
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
        **{**shape, **family.TINY_HEADS, **changes},
        hint_channels=3,
        operations=comfy.ops.disable_weight_init,
    )
    family.fill(module, 3)
    device = comfy.model_management.get_torch_device()
    return comfy.controlnet.ControlNet(module.eval(), load_device=device)


def test_a_net_of_another_base_is_refused_at_apply_and_before_the_first_step(world, counted):
    net = other_net(context_dim=2048)
    units = [{"net": net, "image": world.hint()}]
    sentence = (
        r"ControlNet 'ControlNet' \(ControlNet for SDXL\) does not fit the model, which is a UNet"
        r" with text width 64"
    )
    with pytest.raises(ValueError, match=sentence):
        world.ours(units, model=world.model)
    chain = world.ours(units)
    with pytest.raises(ValueError, match=sentence):
        world.sample(*chain)
    assert counted["unet"] == 0


def test_a_net_with_other_blocks_is_refused(world):
    net = other_net(channel_mult=[1, 2, 2, 2])
    with pytest.raises(ValueError, match="blocks of other widths"):
        world.ours([{"net": net, "image": world.hint()}], model=world.model)


def test_a_net_that_fits_is_accepted_with_the_model_connected(world):
    units = units_of(world, 1)
    assert world.sample(*world.ours(units, model=world.model)).equal(
        world.sample(*world.host(units))
    )
