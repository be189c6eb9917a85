"""Tell the frontend what each net did, when sampling has ended."""

from __future__ import annotations

import logging
import math
from typing import Any

from ..control.adapter import StackedControl, shares_of
from ..control.report.numbers import NetReport
from ..control.stack import Unit
from .progress import prompt_server

EVENT = "controlstack.results"


def send(control: StackedControl) -> None:
    """Send the page what the chain's nets did in the run that has just ended.

    Without a server, as in tests and scripts, nothing is read.
    """
    server = prompt_server()
    if server is None:
        return
    try:
        nets = [_result(*each) for each in shares_of(control)]
        server.send_sync(EVENT, {"nets": nets}, server.client_id)
    except Exception:  # the picture is done; what is said about it must not lose it
        logging.exception("[ControlStack] what the nets did could not be told")


def _result(unit: Unit, net: NetReport, share: float | None) -> dict[str, Any]:
    """Describe one net: its node, its share of a step, its size, and why it did nothing, or ""."""
    size = net.overall
    return {
        "node": unit.node,
        "share": _finite(share),
        "size": _finite(size),
        "is_relative": net.is_relative,
        "reason": unit.idle_reason or _reason(net, size),
    }


def _reason(net: NetReport, size: float | None) -> str:
    if not net.ran:
        return "never"
    return "zero" if size == 0.0 else ""


def _finite(value: float | None) -> float | None:
    """JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None
