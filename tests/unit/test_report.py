"""Journals read into a report: sizes by hand, steps in order, text and picture."""

from __future__ import annotations

import copy
import math
import time

import pytest
import torch

from pack.control.report import journal, model_blocks, numbers, plot, text
from pack.control.report.sheet import sheet

NET = {"name": "canny.safetensors", "family": "ControlNet for SD1.5", "strength": 0.8}


def call(sigma, norms, blocks=None, computed=(0, 1), began=0.0, took=0.01):
    call = journal.Call(sigma, 1.0, computed, began, began + took)
    call.norms = {block: torch.tensor(values) for block, values in norms.items()}
    call.blocks.norms = {block: torch.tensor(values) for block, values in (blocks or {}).items()}
    return call


def member(*calls, off=(), idle="", **more):
    notes = journal.Journal(runs=1, calls=list(calls), off=list(off), encoded=min(1, len(calls)))
    return numbers.Member(**{**NET, **more}, journal=notes, idle=idle)


def test_size_is_the_residuals_norm_over_the_blocks():
    """|(3, 4)| / |(6, 8)| = 5 / 10."""
    report = numbers.report(
        [member(call(7.0, {("input", 0): [3.0, 4.0]}, {("input", 0): [6.0, 8.0]}))]
    )
    assert report.nets[0].sizes == ((pytest.approx(0.5),),)
    assert report.nets[0].is_relative
    assert report.sigmas == (7.0,)


def test_only_the_rows_that_were_computed_count():
    """cond_only: the negative prompt's block is as large as it likes."""
    one = call(7.0, {("middle", 0): [0.0, 3.0]}, {("middle", 0): [100.0, 6.0]}, computed=(1,))
    report = numbers.report([member(one)]).nets[0]
    assert report.sizes == ((pytest.approx(0.5),),)
    assert report.rows == 1


def test_one_norm_stands_for_all_rows():
    """A T2I-Adapter's features are the same for both prompts: |(2, 2)| / |(4, 4)|."""
    report = numbers.report(
        [member(call(7.0, {("feature", 2): [2.0]}, {("input", 2): [4.0, 4.0]}))]
    ).nets[0]
    assert report.sizes == ((pytest.approx(0.5),),)


def test_fewer_residuals_than_blocks_belong_to_the_last():
    """The UNet takes them from the end of the list."""
    norms = {("input", 0): [1.0, 1.0]}
    blocks = {("input", 0): [9.0, 9.0], ("input", 1): [2.0, 2.0]}
    assert numbers.report([member(call(7.0, norms, blocks))]).nets[0].sizes == (
        (pytest.approx(0.5),),
    )


def test_calls_of_one_step_are_one_cell_and_steps_fall():
    """Two batches of one step: sqrt(1 + 4) / sqrt(4 + 16)."""
    block = ("middle", 0)
    calls = [
        call(3.0, {block: [8.0]}, {block: [1.0]}, (0,)),
        call(7.0, {block: [1.0]}, {block: [2.0]}, (0,)),
        call(7.0, {block: [2.0]}, {block: [4.0]}, (0,)),
    ]
    report = numbers.report([member(*calls, off=[1.0])])
    assert report.sigmas == (7.0, 3.0, 1.0)
    assert report.nets[0].sizes == ((pytest.approx(0.5), pytest.approx(8.0), None),)
    assert report.nets[0].peak == (pytest.approx(8.0), block, 1)
    assert report.nets[0].overall == pytest.approx(math.sqrt((0.25 + 64) / 2))


def test_without_blocks_it_is_the_norm_of_a_row():
    report = numbers.report([member(call(1.0, {("double", 0): [3.0, 5.0]}))]).nets[0]
    assert not report.is_relative
    assert report.sizes == ((pytest.approx(math.sqrt((9 + 25) / 2)),),)


def test_a_block_of_the_net_is_one_column_however_often_it_is_added():
    """|2| at blocks of 3 and 4: sqrt(2 * 4) / sqrt(9 + 16); the second own block reaches none."""
    shared = {("double", 0): [2.0], ("double", 1): [2.0], ("single", 0): [1.0]}
    one = call(7.0, shared, {("double", 0): [3.0], ("double", 1): [4.0]}, computed=(0,))
    one.own = {("double", 0): 0, ("double", 1): 0, ("single", 0): 1}
    one.blocks.norms["single", 0] = torch.tensor([5.0])
    net = numbers.report([member(one)]).nets[0]
    assert net.blocks == (("block", 0), ("block", 1))
    assert net.sizes == ((pytest.approx(math.sqrt(8 / 25)),), (pytest.approx(0.2),))
    assert "blk 1" in text.text(numbers.report([member(one)]))


def test_a_model_without_single_blocks_adds_their_residuals_to_its_only_kind():
    one = call(7.0, {("single", 1): [1.0]}, {("double", 1): [4.0]}, computed=(0,))
    one.own = {("single", 1): 3}
    net = numbers.report([member(one)]).nets[0]
    assert (net.blocks, net.sizes) == ((("block", 3),), ((pytest.approx(0.25),),))


def test_features_are_counted_from_1_the_middles_too():
    norms = {("feature", 2): [1.0], ("feature", 5): [1.0], ("middle", 0): [1.0]}
    blocks = {("input", 2): [2.0], ("input", 5): [2.0], ("middle", 0): [2.0]}
    one = call(7.0, norms, blocks, computed=(0,))
    one.own = {("feature", 2): 0, ("feature", 5): 1, ("middle", 0): 2}
    net = numbers.report([member(one)]).nets[0]
    assert net.blocks == tuple(("feature", i) for i in range(3))
    assert [text.block_name(block) for block in net.blocks] == ["feat 1", "feat 2", "feat 3"]


def test_what_a_net_inside_the_model_changed_is_over_what_was_there():
    one = call(7.0, {("block", 0): [3.0, 4.0]}, computed=(0, 1))
    one.beside = {("block", 0): torch.tensor([6.0, 8.0])}
    one.own, one.ended, one.spans = {("block", 0): 0}, None, [(1.0, 1.002), (1.01, 1.013)]
    net = numbers.report([member(one)]).nets[0]
    assert (net.is_relative, net.sizes) == (True, ((pytest.approx(0.5),),))
    assert net.ms == pytest.approx(5.0)


def test_times_are_of_a_call_and_of_a_step():
    block = ("middle", 0)
    calls = [
        call(s, {block: [1.0, 1.0]}, {block: [1.0, 1.0]}, began=i * 0.1)
        for i, s in enumerate((9.0, 5.0, 1.0))
    ]
    report = numbers.report([member(*calls)])
    assert report.nets[0].ms == pytest.approx(10.0)
    assert report.step_ms == pytest.approx(100.0)
    assert "10 %" in text.text(report)


def test_norms_have_the_blocks_that_the_host_adds_them_to():
    shared = torch.ones(2, 3, 4)
    tokens = model_blocks.norms_of(
        {"input": [shared, None, shared], "middle": [], "output": [shared]}
    )
    assert set(tokens) == {("double", 0), ("double", 2), ("single", 0)}
    assert tokens["double", 0].tolist() == pytest.approx([math.sqrt(12)] * 2)
    assert tokens["double", 0] is tokens["double", 2]
    maps = model_blocks.norms_of(
        {"input": [None, torch.ones(1, 1, 2, 2)], "middle": [], "output": [torch.ones(1, 1, 1, 1)]}
    )
    assert set(maps) == {("feature", 0), ("input", 0)}


def test_half_floats_do_not_overflow():
    assert (
        model_blocks.row_norms(torch.full((1, 4, 64, 64), 1000.0, dtype=torch.float16))
        .isfinite()
        .all()
    )


def test_a_run_starts_once_however_often_the_host_announces_it():
    notes = journal.Journal()
    notes.start()
    notes.start()
    assert notes.runs == 1
    notes.off.append(3.0)
    notes.start()
    assert (notes.runs, notes.off) == (2, [])
    assert copy.deepcopy([notes])[0] is notes


def texts():
    block = ("input", 3)
    ran = member(call(7.0, {block: [1.0, 1.0]}, {block: [2.0, 2.0]}))
    yield "no control", numbers.Report(), ["no ControlNets from Apply ControlNet Stack"]
    yield "not sampled", numbers.report([member()]), ["nothing has been sampled"]
    yield (
        "ran",
        numbers.report([ran], ["ControlNet"]),
        ["canny.safetensors", "0.500 at in 3, step 1", "other nodes", "1 prepared, 0 reused"],
    )
    yield (
        "idle",
        numbers.report([ran, member(idle="never acts")]),
        ["never acts", "|residual| / |block|"],
    )
    yield "all idle", numbers.report([member(idle="never acts")]), ["never acts"]
    off = member(off=[9.0, 7.0])
    yield "never in range", numbers.report([off]), ["never in range"]


@pytest.mark.parametrize(
    ("report", "parts"), [pytest.param(report, parts, id=name) for name, report, parts in texts()]
)
def test_every_case_has_a_text_and_a_picture(report, parts):
    words = text.text(report)
    assert all(part in words for part in parts), words
    picture = plot.plot(report)
    assert picture.shape[0] == 1
    assert picture.shape[2:] == (1024, 3)
    assert 0.0 <= picture.min() < 0.5 < picture.max() <= 1.0, "black on white"


def test_many_nets_blocks_and_steps_stay_readable():
    blocks = [("double", i) for i in range(57)]
    calls = [call(100.0 - i, {b: [1.0, 1.0] for b in blocks}) for i in range(60)]
    report = numbers.report([member(*calls) for _ in range(9)])
    assert plot.plot(report).shape[1] < 2000
    assert max(len(line) for line in text.text(report).splitlines()) < 160


@pytest.mark.parametrize(
    ("highest", "last"), [(0.37, 0.4), (1.0, 1.0), (0.0, 1.0), (67.8, 80.0), (1e-4, 1e-4)]
)
def test_ticks_are_round(highest, last):
    ticks = plot.nice_ticks(highest)
    assert ticks[0] == 0.0
    assert ticks[-1] == pytest.approx(last)
    assert 2 <= len(ticks) <= 6


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_times_off_cuda_are_those_of_the_device(kind, monkeypatch):
    """Its calls return at once; what they take is seen by waiting for it."""
    waits = []
    monkeypatch.setattr(getattr(torch, kind), "synchronize", lambda: waits.append(time.sleep(0.02)))
    began = journal.now(torch.device(kind))
    assert journal.milliseconds(began, journal.now(torch.device(kind))) >= 20
    assert len(waits) == 2
    journal.now(torch.device("cpu"))
    assert len(waits) == 2


# The labelled grid


def grid_of(count: int, labels: str = "", columns: int = 0):
    levels = torch.arange(count).reshape(count, 1, 1, 1) / 10
    return sheet(levels.expand(count, 32, 48, 3), labels, columns)[0]


@pytest.mark.parametrize(
    ("count", "columns", "shape"), [(1, 0, (1, 1)), (5, 0, (2, 3)), (5, 2, (3, 2))]
)
def test_a_grid_has_every_picture_in_its_place(count, columns, shape):
    page = grid_of(count, columns=columns)
    down, across = shape
    assert page.shape == (down * (32 + 6 + 20), across * (48 + 6) + 6, 3)
    for at in range(count):
        top, left = 6 + at // across * 58, 6 + at % across * 54
        cell = page[top : top + 32, left : left + 48]
        assert torch.allclose(cell, torch.full_like(cell, at / 10), atol=1 / 255)


def test_a_label_stands_below_its_picture_alone():
    changed = (grid_of(2, "A\nX") != grid_of(2, "B\nX")).any(-1).nonzero()
    assert len(changed)
    assert changed[:, 0].min() >= 38
    assert changed[:, 1].max() < 54


def test_more_labels_than_pictures_are_refused():
    with pytest.raises(ValueError, match="found 3 lines for 2 pictures: remove lines"):
        grid_of(2, "a\nb\nc")


def test_what_a_speed_spared_is_told():
    """Count by hand: four calls, two reused, the second fresh one 0.5 and the third 0.05 off."""
    from pack.control.report import journal, savings

    def call(sigma, **more):
        return journal.Call(sigma, 1.0, (0, 1), **more)

    calls = [
        call(9.0, shared=1, batch=(0.0, 1.0, 2)),
        call(8.0, is_reused=True),
        call(7.0, off_by=torch.tensor([0.25, 1.0]), shared=1),
        call(6.0, is_reused=True),
        call(5.0, off_by=torch.tensor([0.01, 4.0]), batch=(0.0, 1.0, 2)),
    ]
    spared = savings.savings_of(journal.Journal(calls=calls, merged=3))
    assert [*savings.lines("n", spared)] == [
        "n: what it gave was reused at 2 of 5 calls.",
        "n: what was reused was off by 50.0 % at most, at step 3.",
        "n: 2 rows of the negative got the positive's control.",
        "n: 2 calls ran in one forward with others of the same net.",
        "n: 3 layers were merged with the model's weights.",
    ]
    assert "off by 50 % at step 3, more than 10 %. Lower reuse" in savings.warning("n", spared)
    small = savings.savings_of(journal.Journal(calls=calls[3:]))
    assert small.off_by == pytest.approx(0.05)
    assert not savings.warning("n", small)
    assert not [*savings.lines("n", savings.savings_of(journal.Journal(calls=[call(9.0)])))]
    assert journal.duration(calls[0]) == 500.0
