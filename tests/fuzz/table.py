"""The table of fuzzers: a row each for what strangers can send. Add rows in a file of their own."""

from __future__ import annotations

from . import fuzz_files, fuzz_texts
from .frame import Fuzzer

ROWS: tuple[Fuzzer, ...] = (*fuzz_files.ROWS, *fuzz_texts.ROWS)
