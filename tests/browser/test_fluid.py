"""Fifty nodes with both fields open: dragging a point keeps the page fluid."""

from __future__ import annotations

import pytest

ENOUGH_FPS = 30
DRAGS = 12


@pytest.mark.slow
@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes2"])
def test_dragging_among_fifty_nodes_keeps_thirty_frames_a_second(drive, running, vue):
    """What the page is able to: of equal drags the best counts, because other work on the machine
    (another test's browser, a neighbour in CI) takes frames away and never adds any. Where even the
    page at rest gives fewer than 50, as on a slow machine without a graphics card, dragging must
    keep 60 % of what there is.
    """
    seen = drive(
        "fluid.mjs", {"address": running.address, "vue": vue, "enough": ENOUGH_FPS, "drags": DRAGS}
    )
    best = max(seen["drags"], key=lambda drag: drag["fps"])
    figures = (
        f"{best['fps']:.0f} frames a second (worst {best['worst_ms']:.0f} ms), at rest"
        f" {seen['rest']['fps']:.0f}"
    )
    print(f"{seen['shown']} plots, one point dragged, the best of {len(seen['drags'])}: {figures}")
    assert seen["changed"] == 1
    assert seen["errors"] == []
    assert best["fps"] >= min(ENOUGH_FPS, 0.6 * seen["rest"]["fps"])
