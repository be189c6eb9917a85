"""What the frontend translates is what the server says."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("control", "files", "host", "nodes", "preprocessors")
GRAMMAR = "{field}: expected {expected} at character {at}, found"  # JavaScript's own


def skeleton(sentence: str) -> str:
    """Write `{}` for every blank."""
    return re.sub(r"\{[^{}]*\}", "{}", sentence)


@cache
def spoken() -> set[str]:
    """Collect every text of the server, with `{}` for what it fills in."""
    texts = set()
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.add(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = (
                        part.value if isinstance(part, ast.Constant) else "{}"
                        for part in node.values
                    )
                    texts.add("".join(map(str, parts)))
    return texts


def rows() -> list[str]:
    """Read the English sentences of the table in sentences.js."""
    table = (ROOT / "js" / "lib" / "sentences.js").read_text(encoding="utf-8")
    table = table[table.index("const SENTENCES") : table.index("const BLANK")]
    strings = r'"(?:[^"\\]|\\.)*"(?:\s*\+\s*"(?:[^"\\]|\\.)*")*'
    pairs = re.findall(rf"\[({strings}),\s*({strings})\],", table)
    joined = ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', english)) for english, _ in pairs]
    return [sentence for sentence in joined if not sentence.startswith(GRAMMAR)]


@pytest.mark.parametrize("sentence", rows())
def test_a_translated_sentence_is_one_of_the_servers(sentence):
    """A changed sentence would stay English: then its row in js/lib/sentences.js changes too."""
    wanted = re.escape(skeleton(sentence)).replace(r"\{\}", r".+?")
    assert any(re.fullmatch(wanted, text, re.DOTALL) for text in spoken()), sentence
