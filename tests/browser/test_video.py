"""Preprocess Video in the page: what it writes is played under the node, in all cells."""

from __future__ import annotations

import base64

import pytest

from workbench import moving_disc

pytestmark = pytest.mark.slow
CELLS = ("pinned-classic", "pinned-nodes2", "newest-classic", "newest-nodes2")
SIDE, FRAMES = 64, 50


def scenes(stage):
    path = moving_disc.write(stage.folder() / "moving.mp4", FRAMES, SIDE)
    content = base64.b64encode(path.read_bytes()).decode()
    for cell in CELLS:
        yield "video_scenes.mjs", stage.cell(cell, clip=content)


@pytest.fixture(params=CELLS)
def seen(request, played) -> dict:
    return played("video_scenes.mjs", request.param)


def test_its_hints_are_played_under_the_node(seen):
    plays = seen["plays"]
    assert plays["uploaded"] == 200
    for name, side in (("first", 96), ("larger", 128)):
        assert plays[name]["end"] == "execution_success"
        (video,) = plays[name]["shown"]
        assert video["size"] == [side, side]
        assert video["seconds"] == pytest.approx(FRAMES / moving_disc.RATE, abs=0.05)
    assert plays["first"]["shown"][0]["file"] != plays["larger"]["shown"][0]["file"]
    assert seen["errors"] == []


def test_what_was_set_is_queued_and_stored(seen):
    plays = seen["plays"]
    queued = {**plays["larger"]["queued"]}
    queued.pop("video-preview", None)  # the page's own widget, once there is a video
    assert queued["method"] == "canny"
    assert queued["resolution"] == 128
    assert queued["encoding"] == "h264"
    assert queued["video"] == "object"  # a link
    assert {name for name in queued if name.startswith("method.")} >= {"method.low_threshold"}
    assert plays["opened"] == queued
