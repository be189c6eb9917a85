"""Compute what ControlNets add to a base model: the residual engine.

Reading order: grammar, schedule, layers (when, how deep); frames, hints, fits, masks (which rows,
which picture, where); unions, residuals (what a net adds); layouts, net_info (what a net is);
stack, units (a net with its settings, read from wires); checks, attach (before sampling); adapter,
hint_cache (during sampling); report (after it).

A net that adds residuals is described by a row of `layouts.LAYOUTS`. A net that acts inside the
base model will be a row of a table of its own, `patches.py`, beside it.
"""
