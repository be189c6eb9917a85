"""Fifty nodes with both fields open: dragging a point keeps the page fluid."""

from __future__ import annotations

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes2"])
def test_dragging_among_fifty_nodes_keeps_thirty_frames_a_second(drive, running, vue):
    """Of three measurements the best counts: other work on the machine only ever takes frames away.

    Where the page at rest gives fewer than 50, as without a graphics card on a slow machine, dragging must keep 60 % of
    what there is.
    """
    seen = []
    for _ in range(3):
        seen.append(drive("fluid.mjs", {"address": running.address, "vue": vue}))
        if kept(seen[-1]) >= 1:
            break
    best = max(seen, key=kept)
    rest, dragging = best["rest"], best["dragging"]
    figures = f"{dragging['fps']:.0f} frames a second (worst {dragging['worst_ms']:.0f} ms), at rest {rest['fps']:.0f}"
    print(f"{best['shown']} plots, one point dragged: {figures}")
    assert best["changed"] == 1
    assert best["errors"] == []
    assert kept(best) >= 1


def kept(measured):
    """Frames while dragging over those that there must be."""
    return measured["dragging"]["fps"] / min(30, 0.6 * measured["rest"]["fps"])
