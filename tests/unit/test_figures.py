"""The figures of `workbench/figures.py` stay within what the project promises."""

from __future__ import annotations

import pytest

from workbench import figures

TREE = figures.Tree(figures.ROOT)
HIGHEST = {
    "lines over 100 columns": 0,
    "nested comprehensions or ternaries per 100 functions": 2,
    "D401": 0,
    "locals named found, made, told, said, known, kept": 0,
    "sentences with 'is' and then 'no'": 0,
    "files that share a base name": 0,
    "modules in import circles": 0,
    "lines of the longest file": 600,
}


@pytest.mark.parametrize("figure", figures.FIGURES, ids=lambda figure: figure.name)
def test_a_figure_stays_within_its_limit(figure):
    if figure.name in HIGHEST:
        places = figure.places(TREE)
        listed = "\n".join(map(str, places[:20]))
        assert figure.value(TREE, places) <= HIGHEST[figure.name], listed


def test_every_limit_is_of_a_figure():
    assert HIGHEST.keys() <= {figure.name for figure in figures.FIGURES}


@pytest.mark.parametrize(
    ("source", "figure"),
    [
        ("made = 1\n", "locals"),
        ("def f(told):\n    return told\n", "locals"),
        ('raise ValueError("this is " "no net")\n', "sentences"),
        ("x = [[b for b in a] for a in c]\n", "nested"),
        ("x = 1 if a else 2 if b else 3\n", "nested"),
        (f"# {'x' * 100}\n", "lines over"),
        ('def f():\n    """Returns nothing."""\n', "D401"),
    ],
)
def test_figures_see_what_they_measure(tmp_path, source, figure):
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "a.py").write_text(source, encoding="utf-8")
    figures.subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    measured = next(row for row in figures.FIGURES if row.name.startswith(figure))
    assert measured.places(figures.Tree(tmp_path))


def test_there_is_no_file_is_good_english(tmp_path):
    (tmp_path / "a.md").write_text("There is no such file.\n", encoding="utf-8")
    figures.subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert not figures.is_no(figures.Tree(tmp_path))
