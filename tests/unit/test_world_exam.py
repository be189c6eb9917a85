"""Test the exam of the drawn world with models that follow every hint exactly, or none.

Who follows all hints must reach 1 in every place where a net acts, and chance elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench import inprocess
from workbench.world import drawn_hints, judge, sampling, scenery

ROOT = Path(__file__).resolve().parents[2]
inprocess.load_package(ROOT / "benchmarks", "benchmarks")
from benchmarks import world_adherence, world_page  # noqa: E402

SIZE, COUNT = 64, 4


class Oracle(judge.Judge):
    """A sampler whose pictures are the scenes of their hints, and a reader that remembers them."""

    def __init__(self) -> None:
        self.guidance = 2.0
        self.elsewhere = scenery.landscape("nobody's", SIZE)
        self.maps: dict[bytes, tuple] = {}
        self.exam = None

    def sample(self, prompts, size, units=(), **apply):
        return torch.stack([self.draw(units, row) for row in range(len(prompts))])

    def draw(self, units, row):
        picture, classes, depth = (
            np.array(part)
            for part in (self.elsewhere.picture, self.elsewhere.classes, self.elsewhere.depth)
        )
        for unit in units:
            scene = self.scene_of(unit.net, unit.hints[row])
            mask = unit.settings.get("effect_mask", torch.ones(1, SIZE, SIZE))[0].numpy() > 0
            picture[mask] = scene.picture[mask]
            classes[mask], depth[mask] = scene.classes[mask], scene.depth[mask]
        drawn = torch.from_numpy(picture).float() / 255
        self.maps[drawn.numpy().tobytes()] = classes, depth
        return drawn

    def scene_of(self, net, hint):
        (index,) = [i for i, own in enumerate(self.exam.hints[net]) if own.equal(hint)]
        return self.exam.scenes[index]

    def read(self, sampled):
        maps = [self.maps[np.ascontiguousarray(rows.numpy()).tobytes()] for rows in sampled]
        return tuple(np.stack([pair[at] for pair in maps]) for at in (0, 1))


@pytest.fixture(scope="module")
def exam():
    oracle = Oracle()
    exam = world_adherence.Exam(oracle, oracle, SIZE, COUNT, COUNT)
    oracle.exam = exam
    return exam


def rows(exam, title: str) -> dict[str, list[float]]:
    """Return the figures of a table by their row."""
    (theme,) = [theme for theme in world_adherence.THEMES if theme.title.startswith(title)]
    table = [*theme.rows(exam, exam.count_of(theme))]
    assert all(len(row) == len(theme.head) for row in table)
    return {
        name: [float(cell) if "/" not in cell else 0.0 for cell in cells if cell]
        for name, *cells in table
    }


def test_whoever_follows_hints_reaches_one_at_every_strength(exam):
    table = rows(exam, "Strengths")
    for net in drawn_hints.NETS:
        for strength in sampling.STRENGTHS:
            right, shuffled = table[f"{net} {strength:g}"][:2]
            assert shuffled < 0.95
            assert right == pytest.approx(1.0, abs=1e-3) if strength else right < 0.95
        assert table[f"{net} 1"][-2:] == [1.0, 1.0]  # colours of house and tree


def test_a_mask_is_judged_inside_and_outside(exam):
    for net, figures in rows(exam, "Left half").items():
        inside, unmasked, none, outside, none_there, unmasked_there = figures
        assert inside == unmasked == unmasked_there == 1.0, net
        assert outside == pytest.approx(none_there, abs=0.002), net
        assert none < 0.95


def test_two_nets_are_judged_in_their_own_halves(exam):
    table = rows(exam, "Two nets")
    assert table["both"] == [1.0, 1.0]
    assert table["edges left"][0] == 1.0 > table["edges left"][1]
    assert table["classes right"][1] == 1.0 > table["classes right"][0]
    assert max(table["no control"]) < 0.95


def test_words_that_the_hint_lacks_are_not_seen_by_whoever_follows_the_hint(exam):
    table = rows(exam, "Modes")
    assert {"depth control", "edges cond_only, cfg 5"} <= table.keys()
    assert exam.models.guidance == 2.0
    for figures in table.values():
        assert figures[:2] == pytest.approx([1.0, 1.0], abs=1e-3)
        assert figures[2:] in ([0.0], [])


def test_sheets_are_written_and_shown(exam, tmp_path, monkeypatch):
    monkeypatch.setattr(world_page, "DOCS", tmp_path)
    monkeypatch.setattr(world_page, "PICTURES", tmp_path / "world")
    monkeypatch.setattr(world_page, "PAGE", tmp_path / "world.md")
    world_page.PAGE.write_text("<!-- 64 px -->\n<!-- end of 64 px -->\n", encoding="utf-8")
    rows(exam, "Strengths"), rows(exam, "Left half"), rows(exam, "Modes")
    files = world_page.write_pictures(SIZE, exam.scenes, exam.sampled, exam.shown)
    world_page.write("64 px", [], "caption", files)
    names = {*(f"{net}-64" for net in drawn_hints.NETS), "halves-64", "modes-64"}
    assert {file.stem for file in (tmp_path / "world").iterdir()} == {*names, "hints"}
    text = world_page.PAGE.read_text(encoding="utf-8")
    assert text.count("](world/") == len(names)
    sheet = Image.open(tmp_path / "world" / "edges-64.jpg")
    assert sheet.size == (7 * 166 + 6, COUNT * (160 + 6 + 20))


def test_the_page_keeps_what_stands_outside_its_marks(tmp_path, monkeypatch):
    page = tmp_path / "world.md"
    page.write_text("before\n<!-- 64 px -->\nold\n<!-- end of 64 px -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(world_page, "PAGE", page)
    blocks = [("Title", ("a", "b"), [("1", "2")])]
    world_page.write("64 px", blocks, "four pictures")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- 64 px -->\n\nfour pictures\n\n### Title\n\n| a | b |\n|")
    assert text.endswith("| 1 | 2 |\n\n<!-- end of 64 px -->\nafter\n")
    assert "old" not in text
    with pytest.raises(ValueError, match="expected the marks"):
        world_page.write("32 px", blocks, "")
