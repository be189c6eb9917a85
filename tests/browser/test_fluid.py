"""Fifty nodes with both fields open: dragging a point costs the drawing of one field, no more."""

from __future__ import annotations

import pytest

MOST_CALLS = 4_000  # of what draws, for a move: one curve with its numbers takes 2,300
MOST_CURVES = 2_500  # the time of a move, in times of writing the path of one curve: 450 to 1,100
ROUNDS = 2
CELLS = ("pinned-classic", "pinned-nodes2")
DRAWING = ("widgets/", "lib/")  # elsewhere there are timers, which count more on slow machines


def scenes(stage):
    for cell in CELLS:
        yield "fluid.mjs", stage.cell(cell, rounds=ROUNDS)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_move_of_the_pointer_draws_one_field_of_a_hundred(played, cell):
    """What our code does, not how fast the machine is or how much else runs on it.

    Calls are counted, so redrawing the other 99 fields is seen on any machine. The time is the
    processor's for the page's thread, without what the same moves take when nothing is dragged, and
    compared with a fixed piece of work in the same page: it shows work that is slow in few calls.
    """
    seen = played("fluid.mjs", cell)
    drawing = {name: count for name, count in seen["calls"].items() if name.startswith(DRAWING)}
    calls = sum(drawing.values())
    idle_ms, drag_ms, unit_ms = (
        min(one[key] for one in seen["rounds"]) for key in ("idleMs", "dragMs", "unitMs")
    )
    move_ms = drag_ms - idle_ms
    print(
        f"{seen['shown']} plots, one point dragged: {calls:.0f} calls a move, {move_ms:.1f} ms,"
        f" {move_ms / unit_ms:.0f} times writing a curve"
    )
    assert seen["changed"] == 1
    assert seen["errors"] == []
    assert 0 < calls <= MOST_CALLS, sorted(drawing.items(), key=lambda one: -one[1])[:10]
    assert move_ms <= MOST_CURVES * unit_ms
