"""Read the tooltips of every method's settings in the frontend, by hovering over them.

Over a value, each shows its method's own text, or its translation. Over a label, the classic
renderer shows the text of a key that does not name the method: there a setting whose methods have
different texts shows nothing, in any language. The Nodes 2.0 of ComfyUI 0.8, still an experiment
there, has only these keys over values too.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from pack.preprocessors import CATALOGUE
from pack.preprocessors.spec import Param

ROOT = Path(__file__).resolve().parents[2]
NODES = ("ControlStackPreprocess", "ControlStackDataset")
CHINESE = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
METHODS = {row.key: row for row in CATALOGUE if row.params}
RENDERERS = ("classic", "nodes2")
LANGUAGES = ("en", "zh")
PAIRS = [*product(RENDERERS, LANGUAGES)]
VALUES_IN_NODES2 = (0, 20)  # seen there; not in 0.8


def scenes(stage):
    nodes = {node: [*METHODS] for node in NODES}
    yield "tooltip_scenes.mjs", stage.cell("pinned-both", locales=LANGUAGES, nodes=nodes)


@pytest.fixture(scope="module")
def seen(played) -> dict:
    """Collect what the frontend showed, by renderer and language."""
    shown = played("tooltip_scenes.mjs", "pinned-both")
    return {(renderer, language): shown[language][renderer] for renderer, language in PAIRS}


def expected(method: str, param: Param, language: str) -> str:
    texts = CHINESE if language == "zh" else {}
    inputs = texts.get(METHODS[method].node_id, {}).get("inputs", {})
    return inputs.get(param.name, {}).get("tooltip") or param.tooltip


def texts_of(name: str, language: str) -> set[str]:
    """Collect what the methods that have a setting of that name say about it."""
    pairs = ((row.key, param) for row in METHODS.values() for param in row.params)
    return {expected(key, param, language) for key, param in pairs if param.name == name}


cell = pytest.mark.parametrize("language", LANGUAGES)
both_renderers = pytest.mark.parametrize("renderer", RENDERERS)
every_node = pytest.mark.parametrize("node", NODES)


@cell
@both_renderers
def test_the_frontend_threw_nothing(seen, renderer, language):
    assert seen[renderer, language]["errors"] == []


@cell
@both_renderers
@every_node
def test_a_value_shows_its_methods_own_text(seen, host, renderer, language, node):
    if renderer == "nodes2" and host.order < VALUES_IN_NODES2:
        by_key(seen[renderer, language][node], "value", language)
        return
    shown = seen[renderer, language][node]
    for method, row in METHODS.items():
        assert {name: texts["value"] for name, texts in shown[method].items()} == {
            param.name: expected(method, param, language) for param in row.params
        }, method


@cell
@every_node
def test_a_label_never_shows_another_methods_text(seen, language, node):
    by_key(seen["classic", language][node], "slot", language)


def by_key(shown: dict, spot: str, language: str) -> None:
    """Expect nothing where methods have different texts, and everywhere else the one they share."""
    for method, row in METHODS.items():
        for param in row.params:
            own, text = expected(method, param, language), shown[method][param.name][spot]
            differ = len(texts_of(param.name, language)) > 1
            assert text == ("" if differ else own), (method, param.name)


@cell
@both_renderers
@every_node
def test_a_setting_is_labelled_by_its_name(seen, renderer, language, node):
    """Not by the name that it has in prompts, which begins with the choice's."""
    inputs = CHINESE[node]["inputs"] if language == "zh" else {}
    for method, row in METHODS.items():
        labels = {
            name: texts["label"] for name, texts in seen[renderer, language][node][method].items()
        }
        assert labels == {
            param.name: inputs.get(f"method_{param.name}", {}).get("name", param.name)
            for param in row.params
        }
