"""What the frontend translates is what the server says."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("control", "files", "host", "nodes", "preprocessors", "training")
WORDS = 5  # of a raised text that counts as a sentence; shorter ones fill the blanks of others
STRINGS = r'"(?:[^"\\]|\\.)*"(?:\s*\+\s*"(?:[^"\\]|\\.)*")*'
FILLED = r'(?:\{".*?\}|\S+(?: \S+){0,3})'  # what a blank may stand for: few words, or JSON
ENGLISH = {
    "expected one output of the network, got {}",  # a fault of this pack itself
    "{} at {}, step {}",  # a cell of the report's table
}


def skeleton(sentence: str) -> str:
    """Write `{}` for every blank."""
    return re.sub(r"\{[^{}]*\}", "{}", sentence)


def text_of(node: ast.AST) -> str | None:
    """Return a literal text, or that of an f-string with `{}` for what it fills in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return "".join(map(str, parts))


@cache
def spoken() -> set[str]:
    """Collect every text of the server, with `{}` for what it fills in."""
    texts: set[str] = set()
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (text := text_of(node)) is not None:
                    texts.add(text)
    return texts


def english_of(table: str) -> list[str]:
    """Read the English sentences of rows in JavaScript: ["a" + "b", "other"]."""
    pairs = re.findall(rf"\[({STRINGS}),\s*{STRINGS}\],", table)
    return ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', english)) for english in pairs]


@cache
def tables() -> dict[str, list[str]]:
    """Read the English of the tables in js/lib/sentences*.js: of sentences, and of phrases."""
    english: dict[str, list[str]] = {"sentences": [], "phrases": []}
    for file in sorted((ROOT / "js" / "lib").glob("sentences_*.js")):
        text = file.read_text(encoding="utf-8")
        start = text.index("export const phrases")
        for name, part in (("sentences", text[:start]), ("phrases", text[start:])):
            english[name] += english_of(part)
    text = (ROOT / "js" / "lib" / "sentences.js").read_text(encoding="utf-8")
    english["grammar"] = english_of(text[text.index("const PHRASES") : text.index("const BLANK")])
    return english


def answers() -> set[str]:
    """Collect the sentences that the server raises or returns, with `{}` for what they fill in."""
    nodes = (
        node
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    )
    texts: set[str | None] = set()
    for node in nodes:
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            texts.update(text_of(argument) for argument in node.exc.args)
        elif isinstance(node, ast.Return) and node.value is not None:
            texts.add(text_of(node.value))
    return {text for text in texts if text is not None and len(text.split()) >= WORDS}


def fits(row: str, text: str, blank: str = ".+?") -> bool:
    """Tell whether a row of the table translates a text."""
    wanted = re.escape(skeleton(row)).replace(r"\{\}", blank)
    return re.fullmatch(wanted, text, re.DOTALL) is not None


@pytest.mark.parametrize("sentence", tables()["sentences"])
def test_a_translated_sentence_is_one_of_the_servers(sentence):
    """A changed sentence would stay English: then its row in js/lib/sentences_*.js changes too."""
    assert any(fits(sentence, text) for text in spoken()), sentence


@pytest.mark.parametrize("phrase", tables()["phrases"])
def test_a_translated_phrase_is_part_of_what_the_server_says(phrase):
    piece = max(re.split(r"\{\w+\}|\. ", phrase), key=len)
    assert any(piece.strip(" :") in text for text in spoken()), phrase


def test_every_sentence_that_is_raised_or_returned_has_a_translation():
    """A new sentence gets its row in js/lib/sentences_*.js."""
    sentences = answers()
    assert len(sentences) > 150
    translated = [row for table in tables().values() for row in table]

    def is_translated(text: str) -> bool:
        # js/lib/sentences.js parts a sentence from a name or fault in front, and from its full stop
        forms = {text, text.removesuffix("."), re.sub(r"^\{\}:? ", "", text).removesuffix(".")}
        return any(fits(row, form, FILLED) for row in translated for form in forms)

    assert {text for text in sentences if not is_translated(text)} == ENGLISH
