"""Where the page speaks Chinese, so does everything on our nodes: labels, widgets, what nodes say,
and the report. Names stay: of files, methods, choices and numbers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CELLS = ("pinned-classic", "newest-nodes2")
SURFACE = json.loads((ROOT / "tests" / "node_surface.json").read_text(encoding="utf-8"))
CHINESE = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
SINGLE = json.loads((ROOT / "example_workflows" / "01 One ControlNet.json").read_text("utf-8"))
SCENES = ("bar", "report", "photograph", "refused", "weights", "net")
# Not sentences: texts of the grammar, files, keys, addresses, names in quotes, signs, names
# of products and of families.
NAMES = re.compile(
    r"'[^']*'|\"[^\"]*\"|\S+[/\\_.]\S+|\[BETA\] controlstack|BETA|Insert|Delete"
    r"|[\d.]+:[\d.]+[^\u4e00-\u9fff]*|soft 0\.825|ComfyUI|ControlNet|Human Pose|ControlStack"
)
TYPES = (
    "auto|openpose|depth|hed/pidi/scribble/ted|canny/lineart/anime_lineart/mlsd|normal|segment"
    "|tile|repaint|canny|blur|pose/openpose|gray/grey|lq"
)  # of union nets, as they stand in the text
SAME = f"Insert|Delete|0:0.*smooth|soft 0.825|{TYPES}"  # in every language
pytestmark = pytest.mark.slow


def scenes(stage):
    for cell in CELLS:
        yield "chinese_scenes.mjs", stage.cell(cell, types=[*SURFACE], single=SINGLE)


@pytest.fixture(scope="module")
def shown(played) -> dict[str, dict]:
    """Return what is seen in each cell."""
    return {cell: played("chinese_scenes.mjs", cell) for cell in CELLS}


def english(text: str) -> str:
    """Find two English words behind each other, without names; "" where there are none."""
    rest = NAMES.sub(" ", text)
    match = re.search(r"[A-Za-z]{2,}[ ,]+(?:[A-Za-z']+[ ,]+)*[A-Za-z]{2,}", rest)
    return match[0] if match else ""


@pytest.mark.parametrize("cell", CELLS)
def test_no_sentence_on_a_node_is_english(shown, cell):
    assert shown[cell]["errors"] == []
    assert shown[cell]["nodes"].keys() == {*SURFACE, "menu"}
    sentences = {
        node: [text for text in texts if english(text)]
        for node, texts in shown[cell]["nodes"].items()
    }
    assert {node: texts for node, texts in sentences.items() if texts} == {}


@pytest.mark.parametrize("cell", CELLS)
def test_titles_and_labels_are_chinese(shown, cell):
    """Every input is labelled as the translation says, none by its English name."""
    for node, row in CHINESE.items():
        seen = shown[cell]["nodes"][node]
        assert row["display_name"] in seen, node
        labels = {name: texts["name"] for name, texts in row["inputs"].items() if texts.get("name")}
        shown_by_name = [name for name, label in labels.items() if name in seen and label != name]
        assert shown_by_name == [], node
        first = next(iter(SURFACE[node]["inputs"]))["name"]
        if node != "ControlStackLoad":  # whose value leaves no room for its label in classic
            assert labels[first] in seen, (node, first)


@pytest.mark.parametrize("cell", CELLS)
def test_widgets_speak_the_language_of_the_page(shown, cell):
    """Signs, numbers and texts of the grammar are the same in every language."""
    nodes, fields = shown[cell]["nodes"], shown[cell]["fields"]
    assert {"预设", "钟形", "平滑", "添加点", "中间块", "各层相同"} <= set(nodes["ControlStackAdd"])
    assert {"预设", "钟形", "平滑", "添加点", "中间块", "各层相同"} <= set(fields)
    others = [text for text in fields if not re.search("[\u4e00-\u9fff]", text)]
    plain = {text: re.sub(SAME, "", NAMES.sub("", text)) for text in others}
    assert [text for text, rest in plain.items() if re.search("[A-Za-z]{2,}", rest)] == []
    assert [text for text in fields if english(re.sub(SAME, "", text))] == []
    assert {"关", "实时", "对比", "与原图对比"} <= {*nodes["ControlStackCanny"], *nodes["menu"]}


@pytest.mark.parametrize("cell", CELLS)
def test_the_panel_is_chinese_with_all_its_folds_open(shown, cell):
    """Rows, their settings, presets, what is wrong with them, and the panel as a text."""
    texts = shown[cell]["panel"]
    assert [text for text in texts if english(re.sub(SAME, "", text))] == []
    chinese = [text for text in texts if re.search("[\u4e00-\u9fff]", text)]
    assert len(chinese) > 60
    assert {"强度", "预设", "时间曲线"} <= {
        word for text in chinese for word in re.split("[：: ]", text)
    }


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("cell", CELLS)
def test_what_nodes_say_is_chinese(shown, cell, scene):
    texts = shown[cell]["said"][scene]
    assert [text for text in texts[1:] if english(text)] == []
    assert any(len(re.findall("[\u4e00-\u9fff]", text)) > 8 for text in texts)
    inputs = CHINESE["ControlStackAdd"]["inputs"]
    if scene == "refused":
        assert any(text.startswith(inputs["schedule"]["name"] + "：") for text in texts)


@pytest.mark.parametrize("cell", CELLS)
def test_the_report_is_a_table_in_chinese(shown, cell):
    texts = shown[cell]["said"]["report"]
    assert {"网络", "占每步", "大小", "步", "全部", "中间"} <= set(texts)
    assert any(text.startswith("控制报告：1 个 ControlNet，3 步") for text in texts)
    assert not {"net", "step", "sigma", "size", "largest"} & set(texts)
