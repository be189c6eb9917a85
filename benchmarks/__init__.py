"""What speed claims rest on: ours against a reference, interleaved in one process, as ratios with
their spread.

Reading order: timing (pairs and tables), preprocess and steps (one section each), __main__ (the
table of sections).
"""
