"""Check nets, models and reports where values are NaN or infinite: a sentence, and a picture."""

from __future__ import annotations

import itertools
import logging

import pytest

from workbench import tiny_bases

MODES = ("balanced", "prompt", "control", "cond_only")


@pytest.fixture
def poison():
    """Put a value into the first place of a net's weight, until the test ends."""
    import torch

    changed = []

    def put(net, key, value):
        weight = net.control_model.state_dict()[key].view(-1)
        changed.append((weight, weight[0].clone()))
        with torch.no_grad():
            weight[0] = float(value)
        return net

    def restore():
        for weight, first in reversed(changed):
            with torch.no_grad():
                weight[0] = first
        changed.clear()

    put.restore = restore
    yield put
    restore()


@pytest.fixture
def listening(caplog):
    caplog.set_level(logging.WARNING)
    return caplog


def residuals_of(world, net, mode):
    """Return the residuals of one call of a net, and its member, whose run has ended."""
    import torch

    chain = world.ours([{"net": net, "image": world.hint(), "mode": mode}])
    control = chain[0][0][1]["control"]
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 4, 16, 16, generator=generator)  # so that no block has a single token
    prompts = torch.cat([world.negative[0][0], world.positive[0][0]])
    t = torch.tensor([7.0, 7.0])
    options = {"cond_or_uncond": [1, 0]}
    with torch.no_grad():
        own = control.get_control(x, t, {"c_crossattn": prompts}, 2, options)
    control.cleanup()
    return own["middle"] + own["output"], control


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_net_that_is_broken_anywhere_is_left_out_and_named(world, listening, poison, mode):
    """At each of its layers, by NaN and by infinity in turns; every fourth layer in each mode."""
    keys = [key for key in world.nets[0].control_model.state_dict() if key.endswith("weight")]
    assert len(keys) > 100
    values = itertools.cycle(("nan", "inf", "-inf"))
    for key, value in list(zip(keys, values, strict=False))[MODES.index(mode) :: len(MODES)]:
        net = poison(world.nets[0], key, value)
        listening.clear()
        own, _ = residuals_of(world, net, mode)
        poison.restore()
        assert not any(residual.any() for residual in own), key
        (sentence,) = [record.getMessage() for record in listening.records]
        assert sentence.startswith("[ControlStack] ControlNet 'ControlNet' (ControlNet for a UNet")
        assert "gives values that are not finite (NaN or infinity) at step 1 of 1" in sentence
        assert "It was left out there, so the picture lacks its control. Its weights" in sentence


def test_a_sound_net_is_not_touched(world, listening):
    own, control = residuals_of(world, world.nets[0], "balanced")
    assert all(residual.isfinite().all() and residual.any() for residual in own)
    assert not listening.text
    assert control.journal.faults == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", ["alone", "first", "last"])
def test_the_picture_is_the_one_without_the_broken_net(world, listening, poison, mode, place):
    key = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    broken = {"net": poison(world.nets[0], key, "nan"), "image": world.hint(), "mode": mode}
    sound = {"net": world.nets[1], "image": world.hint(1), "mode": mode}
    units = {"alone": [broken], "first": [broken, sound], "last": [sound, broken]}[place]
    image = world.sample(*world.ours(units))
    wanted = world.ours([sound]) if place != "alone" else (world.positive, world.negative)
    assert image.equal(world.sample(*wanted))
    assert listening.text.count("at steps 1 to 3 of 3. It was left out there") == 1


@pytest.mark.slow
def test_a_net_that_breaks_in_mid_run_acts_before(world, listening, monkeypatch):
    """As half precision overflows: the weights are finite, some steps are not."""
    import comfy.cldm.cldm

    real, calls = comfy.cldm.cldm.ControlNet.forward, []

    def forward(self, *args, **kwargs):
        out = real(self, *args, **kwargs)
        calls.append(1)
        if len(calls) in (3, 4, 6):
            out["output"][5][0, 0, 0, 0] = float("inf")
        return out

    unit = {"net": world.nets[0], "image": world.hint()}
    text = "0s:1, 2s:0, 4s:1, 5s:0, 6s:1 | step"
    wanted = world.sample(*world.ours([{**unit, "schedule": text}]), steps=7)
    monkeypatch.setattr(comfy.cldm.cldm.ControlNet, "forward", forward)
    chain = world.ours([unit])
    assert world.sample(*chain, steps=7).equal(wanted)
    assert "at steps 3 to 4, 6 of 7. It was left out there" in listening.text
    assert "--force-fp32" in listening.text
    tables = report(chain[0])
    assert "at steps 3 to 4, 6 of 7" in tables
    row = next(line for line in tables.splitlines() if line.startswith("   3 "))
    assert "nan" in row
    assert " x " in row, "the other residuals of the net were left out too"


def report(positive, latent=None):
    from pack.nodes.report import Report

    latent = latent or {"samples": None}
    out = Report.execute(positive, latent)
    assert out[0] is latent
    assert out[2].isfinite().all()
    return out[1]


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_the_report_of_a_broken_run_has_the_sentence_and_the_plot(world, listening, poison, value):
    net = poison(world.nets[0], "zero_convs.3.0.weight", value)
    units = [{"net": net, "image": world.hint()}, {"net": world.nets[1], "image": world.hint()}]
    chain = world.ours(units)
    world.sample(*chain)
    tables = report(chain[0])
    assert "first: zero_convs.3.0.weight): download it again" in tables
    assert "nan: not a finite value" in tables
    assert listening.text.count("zero_convs.3.0.weight") == 1, "said once, not for each prompt"
    world.sample(*chain, steps=2)
    assert "at steps 1 to 2 of 2" in report(chain[0])


def test_a_broken_latent_is_not_the_nets_fault(world, listening, monkeypatch):
    real, calls = world.model.model.apply_model, []

    def apply_model(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs) * (float("nan") if len(calls) == 2 else 1.0)

    monkeypatch.setattr(world.model.model, "apply_model", apply_model)
    chain = world.ours([{"net": net, "image": world.hint()} for net in world.nets[:2]])
    world.sample(*chain, steps=4)
    sentence = "The latent is not finite (NaN or infinity) from step 3 of 4 on"
    assert listening.text.count(sentence) == 1, "once for the chain"
    assert "ControlNet 'ControlNet'" not in listening.text
    assert sentence in report(chain[0])


FAMILIES = ("T2I-Adapter XL", "SD3", "XLabs", "Qwen-Image", "HunyuanDiT", "Stable Cascade")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_nets_of_every_kind_are_left_out(host, listening, name):
    import torch

    import nodes

    base_name, make = tiny_bases.NETS[name]
    base, net = tiny_bases.BASES[base_name](), make()
    module = getattr(net, "control_model", None) or net.t2i_model
    with torch.no_grad():
        for weight in filter(torch.is_floating_point, module.state_dict().values()):
            weight.view(-1)[0] = float("nan")
    positive, negative = chain_on(base, net)
    latent = {"samples": torch.zeros(base.latent)}
    settings = (base.patcher, 7, 2, 5.0, "euler", "simple")
    image = nodes.common_ksampler(*settings, positive, negative, latent)[0]["samples"]
    plain = nodes.common_ksampler(*settings, base.positive, base.negative, latent)[0]["samples"]
    assert image.equal(plain)
    assert "at steps 1 to 2 of 2. It was left out there" in listening.text
    assert "at steps 1 to 2 of 2" in report(positive)


def chain_on(base, net):
    import torch

    from pack.nodes.apply import Add, Apply

    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    plain = {"start_percent": 0.0, "end_percent": 1.0, "mode": "balanced", "fit": "crop"}
    stack = Add.execute(net, image, strength=0.7, schedule="", layers="", **plain)[0]
    out = Apply.execute(base.positive, stack, base.negative, vae=base.vae)
    return out[0], out[1]


# -- what reached the picture ----------------------------------------------------------------------


SHRINKS = {
    "as the node comes": {},
    "before the skip": {"downscale_after_skip": False},
    "from block 1": {"block_number": 1},
    "a third": {"downscale_factor": 3.0},
    "half of the run": {"end_percent": 0.5},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ControlNet", "T2I-Adapter"])
@pytest.mark.parametrize("how", SHRINKS)
def test_residuals_that_deep_shrink_drops_are_marked(world, caplog, kind, how):
    """As many as ComfyUI's log says; where nothing is dropped, nothing is marked."""
    from comfy_extras.nodes_model_downscale import PatchModelAddDownscale

    settings = {
        "block_number": 3,
        "downscale_factor": 2.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "downscale_after_skip": True,
        "downscale_method": "bicubic",
        "upscale_method": "bicubic",
        **SHRINKS[how],
    }
    if hasattr(PatchModelAddDownscale, "execute"):
        model = PatchModelAddDownscale.execute(world.model, **settings)[0]
    else:
        model = PatchModelAddDownscale().patch(world.model, **settings)[0]
    net = world.nets[0] if kind == "ControlNet" else tiny_bases.t2i_net()
    unit = {"net": net, "image": world.hint(0, 1, 128, 128)}
    caplog.set_level(logging.WARNING)
    chain = world.ours([unit])
    image = world.sample(*chain, steps=4, size=(16, 16), model=model)
    count = caplog.text.count("control could not be applied")
    assert image.equal(world.sample(*world.host([unit]), steps=4, size=(16, 16), model=model))
    from pack.control.adapter import members_of
    from pack.control.report import numbers

    (net_report,) = numbers.report(*members_of(chain[0])).nets
    assert len(net_report.dropped) == count
    tables = report(chain[0])
    assert (f"{count} of " in tables) == bool(count)
    if kind == "ControlNet":
        assert count
        assert net_report.added + count == 13 * 4
        assert tables.count(" x") >= count


# -- a report that fails itself --------------------------------------------------------------------


@pytest.mark.parametrize("where", ["numbers.report", "text.text", "plot.plot"])
def test_a_report_that_fails_loses_nothing(world, monkeypatch, where):
    import pack.nodes.report as node

    def fail(*_):
        raise RuntimeError("broken by the test")

    chain = world.ours([{"net": world.nets[0], "image": world.hint()}])
    latent = {"samples": world.sample(*chain)}
    monkeypatch.setattr(node, where.partition(".")[2], fail)
    tables = report(chain[0], latent)
    assert "could not be written (RuntimeError: broken by the test)" in tables


NOTED_AT_STEPS = ("now", "norms_of", "by_block", "own_blocks", "watch_blocks")
NOTED_AT_BLOCKS = ("reaches", "_blocks_of")


@pytest.mark.parametrize("where", [*NOTED_AT_STEPS, *NOTED_AT_BLOCKS])
def test_notes_that_fail_do_not_end_a_run(world, monkeypatch, where):
    from pack.control.report import journal, model_blocks

    units = [{"net": world.nets[0], "image": world.hint()}]
    fresh = world.sample(*world.ours(units))
    chain = world.ours(units)

    def fail(*args):
        raise RuntimeError("broken by the test")

    is_at_steps = where in NOTED_AT_STEPS
    monkeypatch.setattr(journal if is_at_steps else model_blocks, where, fail)
    assert world.sample(*chain).equal(fresh)
    monkeypatch.undo()
    tables = report(chain[0])
    assert "1 ControlNet, 3 steps" in tables
    assert ("could not be measured (RuntimeError: broken by the test)" in tables) == is_at_steps
