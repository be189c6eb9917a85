"""Measure what our speed claims rest on.

Each section runs ours and a reference in turn, in one process, and prints the ratio of their times
with its spread. Reading order: timing (pairs and tables), bare_opencv and steps (one section each),
__main__ (the table of sections).
"""
