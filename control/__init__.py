"""The residual engine.

Reading order: schedule, layers, rows, hints, masks (when, how deep, for whom, of what, where),
unions, residuals, families, stack, adapter.
"""
