"""Open one ComfyUI in this process: the newest found, or the one that COMFYUI_DIR names."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import hosts, inprocess

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    if not hosts.find():
        reason = "no ComfyUI was found: set COMFYUI_DIR to its folder to run the host tests"
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def host(tmp_path_factory) -> hosts.Host:
    """Open ComfyUI with its user, temp and output folders in a directory of their own.

    Tests import it, and our nodes, inside their functions.
    """
    newest = hosts.find()[0]
    base = tmp_path_factory.mktemp("base")
    for folder in ("input", "output", "temp", "user"):
        (base / folder).mkdir()
    inprocess.open_host(newest, base=base)
    import folder_paths

    assert Path(folder_paths.get_temp_directory()).is_relative_to(base)
    return newest
