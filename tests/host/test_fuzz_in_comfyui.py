"""The fuzzers that need ComfyUI, in small: `python3 tests --fuzz N` runs them at length."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import frame, table

SEED, CASES = 21, 25
NEEDING = [row for row in table.ROWS if row.needs_host]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's and torch's, of damaged files
@pytest.mark.parametrize("row", NEEDING, ids=lambda row: row.name)
def test_no_hostile_case_is_raw_slow_large_or_abroad(host, row):
    import folder_paths

    base = Path(folder_paths.get_output_directory()).parent
    outcome = frame.run(row, max(5, round(CASES * row.share)), SEED, base)
    print(outcome)
    for folder in ("controlnet", "checkpoints", "nets"):
        for case in (base / "models" / folder).glob("case*"):
            case.unlink()
    assert outcome.failures == []
