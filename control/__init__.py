"""The residual engine.

Reading order: schedule, layers, masks (when, how deep, where), residuals, families, stack, adapter.
"""
