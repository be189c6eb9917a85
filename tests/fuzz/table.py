"""The table of fuzzers: a row each for what strangers can send. Add rows in a file of their own."""

from __future__ import annotations

from . import fuzz_data, fuzz_drawings, fuzz_files, fuzz_models, fuzz_panels, fuzz_texts
from .frame import Fuzzer

ROWS: tuple[Fuzzer, ...] = (
    *fuzz_files.ROWS,
    *fuzz_texts.ROWS,
    *fuzz_data.ROWS,
    *fuzz_models.ROWS,
    *fuzz_drawings.ROWS,
    *fuzz_panels.ROWS,
)
