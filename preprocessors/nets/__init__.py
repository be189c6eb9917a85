"""One network per file, with the state-dict keys of the published files.

Each header names paper, upstream code and licence; each class its input range and its outputs.
"""
