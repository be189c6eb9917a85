"""Queue Preprocess Video as the page does: from Load Video to a file, its sound, Cancel, a restart.

References: ComfyUI's own Get Video Components before the node of the same method, and the file of a
run that nobody stopped.
"""

from __future__ import annotations

import urllib.parse

import numpy as np
import pytest

from workbench import moving_disc

FRAMES, SIDE = 200, 96
CANNY = {"low_threshold": 60, "high_threshold": 120}


@pytest.fixture(scope="module")
def clip(base):
    """Write a clip of a disc that moves, with a tone, where Load Video lists it."""
    path = base / "input" / "moving.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    return moving_disc.write(path, FRAMES, SIDE)


@pytest.fixture
def prompt(clip):
    method = {f"method.{name}": value for name, value in CANNY.items()}
    node = {"video": ["1", 0], "resolution": 0, "method": "canny", "encoding": "lossless"}
    return {
        "1": {"class_type": "LoadVideo", "inputs": {"file": clip.name}},
        "2": {"class_type": "ControlStackPreprocessVideo", "inputs": {**node, **method}},
        "3": {
            "class_type": "SaveVideo",
            "inputs": {
                "video": ["2", 0],
                "filename_prefix": "saved",
                "format": "auto",
                "codec": "auto",
            },
        },
    }


def shown(running, result):
    """Return the record of the video that the node shows, and its bytes as the page gets them."""
    (record,) = result.images("2")
    return record, running.ask("/view?" + urllib.parse.urlencode(record))


def decoded(path):
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


def test_its_file_has_the_hints_of_the_frames_and_the_sound(running, base, clip, prompt, host):
    """The frames are those of Canny Edge on ComfyUI's own frames, saved as pictures."""
    result = running.run(prompt)
    record, content = shown(running, result)
    file = base / "output" / record["subfolder"] / record["filename"]
    assert file.read_bytes() == content
    assert moving_disc.sounds(file) == moving_disc.sounds(clip) != []
    assert [*(base / "output").glob("saved*")], "Save Video takes it on"
    frames = {
        "1": prompt["1"],
        "2": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
        "3": {
            "class_type": "ControlStackCanny",
            "inputs": {"image": ["2", 0], "resolution": 0, **CANNY},
        },
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "f"}},
    }
    pictures = running.run(frames).images("4")
    expected = np.stack([np.asarray(running.image(each).convert("L")) for each in pictures])
    others = (decoded(file) != expected).mean()
    assert others <= (0 if host.order >= (0, 33) else 0.01)  # older ones decode by other steps
    assert expected.max() == 255


def test_a_cancelled_run_goes_on_where_it_was_and_is_the_same_file(running, base, prompt):
    prompt["2"]["inputs"]["method.low_threshold"] = 40
    _, unbroken = shown(running, running.run(prompt))
    for file in (base / "output" / "controlstack").glob("moving*"):
        file.unlink()
    running.free()
    steps = []

    def cancel(progress):
        if progress.node == "2" and progress.value >= FRAMES // 2:
            running.interrupt()

    assert running.run(prompt, cancel).interrupted
    assert not [*(base / "output" / "controlstack").glob("moving*")], "no half file"
    again = running.run(prompt, lambda progress: steps.append((progress.node, progress.value)))
    assert min(value for node, value in steps if node == "2" and value) >= FRAMES // 4
    assert shown(running, again)[1] == unbroken


def test_queued_again_it_is_the_same_file_at_once(running, prompt):
    first = shown(running, running.run(prompt))
    running.free()
    again = running.run(prompt)
    assert "2" in again.ran
    assert shown(running, again) == first
