"""The text of Control Stack Panel: read as the fixture says, which the page's tests read too."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pack.control import panel_rows
from pack.control.panel_rows import PanelError, read_panel

ROOT = Path(__file__).resolve().parents[2]
PANEL = json.loads((ROOT / "tests" / "fixtures" / "panel.json").read_text(encoding="utf-8"))


def cases(kind):
    return pytest.mark.parametrize("case", PANEL[kind], ids=lambda case: repr(case["text"])[:60])


@cases("good")
def test_rows_with_their_defaults(case):
    rows = [asdict(row) for row in read_panel(case["text"])]
    assert [row.pop("number") for row in rows] == list(range(1, len(rows) + 1))
    assert rows == case["rows"]


@cases("no_panel")
def test_what_is_no_panel_is_refused_in_a_sentence(case):
    with pytest.raises(PanelError) as refused:
        read_panel(case["text"])
    assert str(refused.value).startswith(case["sentence"])


@cases("wrong_rows")
def test_a_wrong_row_is_refused_by_its_number_and_net(case):
    with pytest.raises(PanelError) as refused:
        read_panel(case["text"])
    assert str(refused.value).startswith(case["sentence"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "rows: expected the text of a panel, found NoneType"),
        ('{"v":1,"rows":' + "[" * 100_000, "rows: expected JSON such as"),
        ('{"v":' + "9" * 5000 + "}", "rows: expected JSON such as"),
        (" " * 10 + "x" * 1_000_001, "rows: a panel's text has at most 1000000 characters"),
        (json.dumps({"v": 1, "rows": [{"net": "a"}] * 101}), "rows: a panel has at most 100 rows"),
    ],
    ids=["no text", "brackets", "digits", "long", "many"],
)
def test_too_much_is_refused(text, sentence):
    with pytest.raises(PanelError) as refused:
        read_panel(text)
    assert str(refused.value).startswith(sentence)


def test_the_name_of_a_row_is_short_and_printable():
    for net in ("x" * 5000, "a\nb\x1b[31m", "\ud800"):
        sentence = panel_rows.in_row(3, net, "no")
        assert sentence.startswith("row 3 (")
        assert sentence.isprintable()
        assert len(sentence) < 120
