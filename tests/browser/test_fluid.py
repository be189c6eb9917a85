"""Fifty nodes with both fields open: dragging a point keeps the page fluid."""

from __future__ import annotations

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes2"])
def test_dragging_among_fifty_nodes_keeps_thirty_frames_a_second(drive, running, vue):
    """Of three measurements the best counts: other work on the machine only ever takes frames away."""
    seen = []
    for _ in range(3):
        seen.append(drive("fluid.mjs", {"address": running.address, "vue": vue}))
        if seen[-1]["dragging"]["fps"] >= 30:
            break
    best = max(seen, key=lambda one: one["dragging"]["fps"])
    rest, dragging = best["rest"], best["dragging"]
    figures = f"{dragging['fps']:.0f} frames a second (worst {dragging['worst_ms']:.0f} ms), at rest {rest['fps']:.0f}"
    print(f"{best['shown']} plots, one point dragged: {figures}")
    assert best["changed"] == 1
    assert best["errors"] == []
    assert dragging["fps"] >= 30
