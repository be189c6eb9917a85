"""Every translation belongs to a text of our nodes, and reaches the frontend."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
LANGUAGES = ("en", "zh")

_spec = importlib.util.spec_from_file_location("locales", Path(__file__).with_name("locales.py"))
locales = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(locales)


def read(language: str, name: str) -> dict:
    return locales.read(LOCALES, language, name)


def test_the_english_file_is_what_the_frontend_needs(object_info):
    needed = locales.needed_english(object_info)
    assert read("en", "nodeDefs") == needed, "run python3 tests --accept"


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_no_translation_is_stale(object_info, language):
    """A text that is not translated is shown in English: a warning, not a failure."""
    source = dict(locales.texts(locales.translatable(object_info)))
    translated = dict(locales.texts(read(language, "nodeDefs")))
    assert sorted(translated.keys() - source.keys()) == [], "run python3 tests --accept"
    assert [key for key, text in translated.items() if not text] == [], "an empty text is shown"
    if missing := sorted(source.keys() - translated.keys()):
        warnings.warn(f"locales/{language} does not translate {missing}", stacklevel=1)


def test_chinese_is_chinese():
    """Every sentence has Chinese characters in it: none was left in English."""
    sentences = (
        text for key, text in locales.texts(read("zh", "nodeDefs")) if not key.endswith(".name")
    )
    assert [
        text for text in sentences if not any("\u4e00" <= sign <= "\u9fff" for sign in text)
    ] == []


def test_a_setting_whose_methods_differ_has_no_shared_text(object_info):
    """Its key does not name the method, so one text would be wrong for all others."""
    for language in LANGUAGES:
        for node in ("ControlStackPreprocess", "ControlStackDataset"):
            inputs = read(language, "nodeDefs")[node]["inputs"]
            for name in ("engine", "threshold", "cell_px"):
                assert "tooltip" not in inputs.get(f"method_{name}", {})
            assert inputs["method_low_threshold"]["tooltip"]


def test_settings_are_translated_alike():
    assert [key for key, _ in locales.texts(read("en", "settings"))] == [
        key for key, _ in locales.texts(read("zh", "settings"))
    ]


def test_the_parts_of_our_category_are_translated(running, object_info):
    """The page translates each part of a category by itself; the pack's own name stays."""
    categories = [node["category"] for node in ours(object_info).values()]
    parts = {part for category in categories for part in category.split("/")} - {"ControlStack"}
    given = running.ask("/i18n")["zh"]["nodeCategories"]
    assert parts <= given.keys()


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_node_has_its_help_in_every_language(running, object_info, language):
    """Where the page looks for it: its title, and a table of all its inputs before any picture."""
    for node, texts in read(language, "nodeDefs").items():
        page = running.ask(f"/extensions/controlstack/docs/{node}/{language}.md").decode()
        assert page.startswith(f"# {texts['display_name']}\n")
        table, _, _ = page.partition("![")
        assert "|---|" in table
        if missing := [name for name in _inputs(object_info[node]) if f"| `{name}` |" not in page]:
            warnings.warn(f"js/docs/{node}/{language}.md lacks {missing}", stacklevel=1)


def ours(object_info: dict) -> dict:
    return {name: object_info[name] for name in locales.translatable(object_info)}


def _inputs(declared: dict) -> list[str]:
    return [name for group in ("required", "optional") for name in declared["input"].get(group, {})]


@pytest.mark.parametrize("page", sorted((ROOT / "js" / "docs").glob("*.md")), ids=lambda p: p.stem)
def test_the_help_begins_with_its_table(page):
    before_table, _, _ = page.read_text(encoding="utf-8").partition("\n|---")
    assert "![" not in before_table


@pytest.mark.parametrize("language", LANGUAGES)
def test_comfyui_hands_them_to_its_frontend(running, language):
    given = running.ask("/i18n")[language]
    node = "ControlStackPreprocess"
    assert given["nodeDefs"][node] == read(language, "nodeDefs")[node]
    assert (
        given["settings"]["ControlStack_LiveHint"]
        == read(language, "settings")["ControlStack_LiveHint"]
    )
