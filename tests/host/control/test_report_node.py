"""Control Report on real runs: sizes as hooks on the model measure them, for copies too."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import replace

import pytest


def report_of(positive):
    from pack.control.adapter import members_of
    from pack.control.report.numbers import report

    return report(*members_of(positive))


@pytest.fixture
def measured(world):
    """Norms as forward hooks see them.

    Of each block of the UNet, and of each zero convolution of the first net.
    """
    import torch

    seen = {"block": {}, "residual": {}}
    handles = []

    def watch(kind, key, module):
        def note(_module, _args, output):
            seen[kind].setdefault(key, []).append(torch.linalg.vector_norm(output.double()).item())

        handles.append(module.register_forward_hook(note))

    unet, net = world.model.model.diffusion_model, world.nets[0].control_model
    for i, module in enumerate(unet.input_blocks):
        watch("block", ("input", i), module[-1])
        watch("residual", ("input", i), net.zero_convs[i])
    watch("block", ("middle", 0), unet.middle_block[-1])
    watch("residual", ("middle", 0), net.middle_block_out)
    yield seen
    for handle in handles:
        handle.remove()


def test_sizes_equal_what_hooks_measure(world, measured):
    strength = 0.7
    chain = world.ours([{"net": world.nets[0], "image": world.hint(), "strength": strength}])
    world.sample(*chain, steps=4, batch=2)
    net = report_of(chain[0]).nets[0]
    assert len(net.blocks) == 13
    assert (net.ran, net.off, net.encoded, net.rows) == (4, 0, 1, 16)
    for block, sizes in zip(net.blocks, net.sizes, strict=True):
        for step, size in enumerate(sizes):
            expected = strength * measured["residual"][block][step] / measured["block"][block][step]
            assert size == pytest.approx(expected, rel=1e-4), (block, step)


def test_steps_that_were_left_out_are_reported(world):
    units = [
        {"net": world.nets[0], "image": world.hint(), "end_percent": 0.5},
        {"net": world.nets[1], "image": world.hint(), "strength": 0.0},
        {"net": world.nets[2], "image": world.hint(), "schedule": "0:0, 0.5:0, 0.5:1"},
    ]
    chain = world.ours(units)
    world.sample(*chain, steps=4)
    report = report_of(chain[0])
    assert [(net.ran, net.off) for net in report.nets] == [(2, 2), (0, 0), (2, 2)]
    assert report.nets[1].member.idle
    assert [cell is None for cell in report.nets[0].by_step] == [False, False, True, True]
    assert [cell is None for cell in report.nets[2].by_step] == [True, True, False, False]


def test_the_node_gives_latent_text_and_plot(world):
    from pack.nodes.report import Report

    positive, negative = world.ours([{"net": world.nets[0], "image": world.hint()}])
    latent = {"samples": world.sample(positive, negative)}
    out = Report.execute(positive, latent)
    assert out[0] is latent
    assert "1 ControlNet, 3 steps" in out[1]
    assert out[2].shape[2:] == (1024, 3)


def test_a_second_run_replaces_the_first(world):
    chain = world.ours([{"net": world.nets[0], "image": world.hint()}])
    world.sample(*chain, steps=4)
    world.sample(*chain, steps=3)
    report = report_of(chain[0])
    assert (len(report.sigmas), report.runs) == (3, 2)


def test_copies_report_to_the_original(world):
    """Tiled upscalers sample with copies of the chain."""
    positive, negative = world.ours([{"net": net, "image": world.hint()} for net in world.nets[:2]])
    twin = positive[0][1]["control"].copy()
    twin.set_previous_controlnet(positive[0][1]["control"].previous_controlnet.copy())
    copied = [[[c[0], {**c[1], "control": twin}] for c in side] for side in (positive, negative)]
    world.sample(*copied)
    assert [net.ran for net in report_of(positive).nets] == [3, 3]


def test_mixed_chains_name_what_is_not_measured(world):
    units = [{"net": world.nets[i], "image": world.hint(i)} for i in range(2)]
    positive, negative = world.host(units[:1])
    positive, negative = world.ours(units[1:], positive, negative)
    world.sample(positive, negative)
    report = report_of(positive)
    assert [net.ran for net in report.nets] == [3]
    assert report.foreign == ("ControlNet",)


def test_a_positive_without_our_controls_gets_a_sentence(world):
    from pack.nodes.report import Report

    assert "no ControlNets from Apply ControlNet Stack" in Report.execute(world.positive, {})[1]
    unsampled = world.ours([{"net": world.nets[0], "image": world.hint()}])
    assert "nothing has been sampled" in Report.execute(unsampled[0], {})[1]


def test_other_patches_of_the_model_keep_working(world):
    """Ours stand beside them in transformer_options, for one call each."""
    seen = []
    model = world.model.clone()
    model.set_model_input_block_patch(
        lambda h, options: (seen.append(options["block"]), h * 1.01)[1]
    )
    model.set_model_output_block_patch(
        lambda h, skip, options: (seen.append(options["block"]), (h, skip))[1]
    )
    units = [{"net": world.nets[0], "image": world.hint()}]
    ours = world.sample(*world.ours(units), model=model)
    count = len(seen)
    assert ours.equal(world.sample(*world.host(units), model=model))
    assert count == len(seen) - count == 3 * 24
    assert not model.model_options["transformer_options"]["patches"].keys() - {
        "input_block_patch",
        "output_block_patch",
    }
    assert len(model.model_options["transformer_options"]["patches"]["input_block_patch"]) == 1


def test_noting_reads_nothing_from_the_device(world, monkeypatch):
    """Beyond the one sigma: no item, no list, no copy to the CPU until the report is asked for."""
    import torch

    chain = world.ours([{"net": net, "image": world.hint()} for net in world.nets])
    control = chain[0][0][1]["control"]
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)
    x, t = torch.zeros(2, 4, 8, 8), torch.tensor([7.0, 7.0])
    cond = {"c_crossattn": torch.cat([world.positive[0][0], world.negative[0][0]])}
    options = {"cond_or_uncond": [1, 0]}
    control.get_control(x, t, cond, 2, dict(options))
    for name in ("item", "tolist", "cpu", "numpy", "__bool__"):
        monkeypatch.setattr(
            torch.Tensor, name, lambda *_, name=name: pytest.fail(f"{name} waits for the device")
        )
    from pack.control.report.model_blocks import BLOCKS

    with monkeypatch.context() as patched:
        patched.setattr(control, "evaluate", lambda *_: own)
        own = {
            "input": [],
            "middle": [torch.ones(2, 8, 1, 1)],
            "output": [torch.ones(2, 8, 8, 8)] * 12,
        }
        control.previous_controlnet = None
        control.get_control(x, t, cond, 2, given := dict(options))
    given["block"] = ("input", 3)
    for patch in given["patches"]["input_block_patch"]:
        patch(torch.ones(2, 8, 8, 8), given)
    assert ("input", 3) in given[BLOCKS].norms


@pytest.mark.slow
@pytest.mark.alone
def test_noting_costs_little(world):
    """CPU time of one thread.

    Neither other work on the machine nor threads that wait for each other count there. The
    benchmark's claim is 3 % of a step; the steps here are far smaller, so noting them weighs more.
    """
    import torch

    from pack.control.report.journal import Journal

    class Silent(Journal):
        def begin(self, *_):
            return None

        def end(self, *_):
            return None

    chain = world.ours([{"net": net, "image": world.hint()} for net in world.nets])
    control = chain[0][0][1]["control"]
    members = [
        control,
        control.previous_controlnet,
        control.previous_controlnet.previous_controlnet,
    ]
    journals = [member.journal for member in members]

    def took(noting):
        for member, notes in zip(members, journals, strict=True):
            member.journal = notes if noting else Silent()
        began = time.process_time()
        world.sample(*chain, steps=6, size=(16, 16))
        return time.process_time() - began

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        took(True)
        ratios = [
            took(True) / took(False) if i % 2 else 1 / (took(False) / took(True)) for i in range(12)
        ]
    finally:
        torch.set_num_threads(threads)
    assert statistics.median(ratios) < 1.08


class Page:
    """A server that keeps what it is to send."""

    client_id = "page"

    def __init__(self):
        self.sent = []

    def send_sync(self, event, data, client):
        self.sent.append((event, json.loads(json.dumps(data, allow_nan=False)), client))


@pytest.fixture
def page(monkeypatch):
    from pack.host import results

    page = Page()
    monkeypatch.setattr(results, "prompt_server", lambda: page)
    return page


def test_the_page_is_told_what_each_net_did(world, page):
    """Once for each run, with the figures of the report, and why a net did nothing."""
    import torch

    from pack.nodes.apply import Apply

    units = [
        {"net": world.nets[0], "image": world.hint()},
        {"net": world.nets[1], "image": world.hint(), "strength": 0.0},
        {"net": world.nets[2], "image": world.hint(), "schedule": "0:0, 1:0"},
        {"net": world.nets[2], "image": world.hint(), "start_percent": 0.98, "end_percent": 0.99},
        {"net": world.nets[1], "image": world.hint(), "effect_mask": torch.zeros(1, 8, 8)},
    ]
    stack = replace(stack := world.stack(units), units=tuple(numbered(stack.units)))
    chain = list(Apply.execute(world.positive, stack, world.negative).args)
    for _ in range(2):
        world.sample(*chain, steps=4)
    assert [(event, client) for event, _, client in page.sent] == [
        ("controlstack.results", "page")
    ] * 2
    nets = page.sent[-1][1]["nets"]
    assert [net["node"] for net in nets] == ["0", "1", "2", "3", "4"]
    assert [net["reason"] for net in nets] == ["", "strength", "schedule", "never", "mask"]
    report = report_of(chain[0])
    assert nets[0]["size"] == pytest.approx(report.nets[0].overall)
    assert nets[0]["share"] == pytest.approx(report.share(report.nets[0]))
    assert 0.0 < nets[0]["share"] < 1.0
    assert all(net["size"] is None for net in nets[1:])


def numbered(units):
    return (replace(unit, node=str(i)) for i, unit in enumerate(units))


def test_a_run_survives_what_cannot_be_told(world, page, caplog):
    from pack.nodes.apply import Apply

    page.send_sync = lambda *_: 1 / 0
    stack = world.stack([{"net": world.nets[0], "image": world.hint()}])
    chain = list(Apply.execute(world.positive, stack, world.negative).args)
    assert world.sample(*chain, steps=1).isfinite().all()
    assert "could not be told" in caplog.text
