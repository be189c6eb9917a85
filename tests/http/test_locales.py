"""Every text of our nodes is there in each language, and reaches the page."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
LANGUAGES = ("en", "zh")

_spec = importlib.util.spec_from_file_location("locales", Path(__file__).with_name("locales.py"))
locales = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(locales)


def read(language: str, name: str) -> dict:
    return json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))


def write(language: str, texts: dict) -> None:
    text = json.dumps(texts, indent=1, ensure_ascii=False) + "\n"
    (LOCALES / language / "nodeDefs.json").write_text(text, encoding="utf-8")


@pytest.fixture
def source(object_info, pytestconfig) -> dict:
    """The texts as the nodes have them; with --write-locales the files get what they lack."""
    found = locales.english(object_info)
    if pytestconfig.getoption("--write-locales", default=False):
        write("en", found)
        for language in LANGUAGES[1:]:
            write(language, locales.completed(read(language, "nodeDefs"), found))
    return found


def test_english_is_what_the_nodes_say(source):
    assert read("en", "nodeDefs") == source, "run this with --write-locales"


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_nothing_is_missing_and_nothing_is_left_over(source, language):
    wanted, there = dict(locales.texts(source)), dict(locales.texts(read(language, "nodeDefs")))
    missing = [key for key in wanted if not there.get(key)]
    assert missing == [], "translate these (--write-locales adds them as empty texts)"
    assert sorted(there.keys() - wanted.keys()) == []


def test_chinese_is_chinese():
    """Every sentence has Chinese signs in it: none was left in English."""
    sentences = (
        text for key, text in locales.texts(read("zh", "nodeDefs")) if not key.endswith(".name")
    )
    assert [
        text for text in sentences if not any("\u4e00" <= sign <= "\u9fff" for sign in text)
    ] == []


def test_settings_are_translated_alike():
    assert [key for key, _ in locales.texts(read("en", "settings"))] == [
        key for key, _ in locales.texts(read("zh", "settings"))
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_host_hands_them_to_its_page(running, language):
    given = running.ask("/i18n")[language]
    assert given["nodeDefs"]["ControlStackAdd"] == read(language, "nodeDefs")["ControlStackAdd"]
    assert (
        given["settings"]["ControlStack_LiveHint"]
        == read(language, "settings")["ControlStack_LiveHint"]
    )
