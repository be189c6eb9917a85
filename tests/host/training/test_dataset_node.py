"""Test what the data set's node refuses and shows, with the pack's own methods."""

from __future__ import annotations

import pytest
import torch

from .conftest import discs

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick


def execute(targets, method, hints=None):
    from pack.nodes.train import Dataset

    with torch.inference_mode():
        return Dataset.execute("", method, 64, 64, target=targets, hint=hints, prompts="a disc")


@pytest.mark.quick
@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ({"method": "inpaint_hint", "masked": "-1"}, "inpaint_hint .*gives the picture itself"),
        ({"method": "segmentation", "engine": "blank"}, "segmentation .*hints of one colour only"),
    ],
)
def test_methods_that_need_a_second_input_are_refused(host, method, sentence):
    """Without a mask or a label map their hints are the picture, or nothing."""
    with pytest.raises(ValueError, match=sentence):
        execute(discs(3)[0], method)


def test_methods_that_draw_are_accepted(host):
    for method in (
        {"method": "canny", "low_threshold": 20, "high_threshold": 40},
        {"method": "tile"},
        {"method": "color_grid"},
    ):
        assert len(execute(discs(3)[0], method)[0].pairs) == 3


def test_the_node_shows_its_report_and_its_first_pair(host):
    """Show the hint, then the target, side by side: a swap is seen before training."""
    from pathlib import Path

    import folder_paths
    import numpy as np
    from PIL import Image

    targets, _ = discs(2)
    hints = 1 - targets
    output = execute(targets, {"method": "given"}, hints)
    shown = output.ui if isinstance(output.ui, dict) else output.ui.as_dict()
    assert "2 pairs at 64×64" in "".join(shown["text"])
    (record,) = shown["images"]
    file = Path(folder_paths.get_temp_directory()) / record["subfolder"] / record["filename"]
    levels = np.asarray(Image.open(file).convert("RGB")) / 255
    expected = torch.cat([hints[0], targets[0]], 1).numpy()
    assert np.abs(levels - expected).max() < 1.5 / 255
