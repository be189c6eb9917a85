"""Open one ComfyUI in this process: the newest found, or the one that COMFYUI_DIR names.

With CONTROLSTACK_DEVICE=second it runs on `workbench.second_device` instead of the CPU, and only
the files `*second_device.py` and the tests of `ON_BOTH` are collected.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workbench import hosts, inprocess, second_device

HERE = Path(__file__).parent
DEVICE = os.environ.get("CONTROLSTACK_DEVICE", "cpu")
IS_SECOND = DEVICE == second_device.NAME
ON_BOTH = {
    "control/test_economy.py": (
        "test_each_size_is_encoded_once_a_run",
        "test_the_same_net_twice_has_two_hints",
        "test_cond_only_takes_one_unet_call_a_step_and_half_the_rows",
        "test_a_net_that_can_never_act_is_neither_loaded_nor_run",
        "test_a_step_where_the_schedule_is_zero_is_not_run",
    ),
}
"""Files, and the tests in them that run on the CPU and on the second device."""
collect_ignore_glob = [] if IS_SECOND else ["*second_device.py"]


def pytest_collection_modifyitems(config, items):
    if IS_SECOND:
        others = [item for item in items if not _is_for_the_second_device(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = filter(_is_for_the_second_device, items)
    if reason := _why_not():
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


def _is_for_the_second_device(item) -> bool:
    file = item.path.relative_to(HERE).as_posix()
    return file.endswith("second_device.py") or item.originalname in ON_BOTH.get(file, ())


def _why_not() -> str:
    if not hosts.find():
        return "no ComfyUI was found: set COMFYUI_DIR to its folder to run the host tests"
    if IS_SECOND:
        try:
            second_device.build()
        except second_device.CannotBuildError as error:
            return f"the second device was not built, so nothing was tested on one: {error}"
    return ""


@pytest.fixture(scope="session", autouse=True)
def host(tmp_path_factory) -> hosts.Host:
    """Open ComfyUI with its user, temp and output folders in a directory of their own.

    Tests import it, and our nodes, inside their functions.
    """
    newest = hosts.find()[0]
    base = tmp_path_factory.mktemp("base")
    for folder in ("input", "output", "temp", "user"):
        (base / folder).mkdir()
    inprocess.open_host(newest, device=DEVICE, base=base)
    import folder_paths

    assert Path(folder_paths.get_temp_directory()).is_relative_to(base)
    return newest
