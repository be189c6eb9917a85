"""Host tests run in the host's process: one host a pytest process, the one that COMFYUI_DIR names or the newest."""

from __future__ import annotations

import pytest

from workbench import hosts, inprocess

FOUND = hosts.find()


def pytest_collection_modifyitems(items):
    if not FOUND:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="no ComfyUI found: set COMFYUI_DIR"))


@pytest.fixture(scope="session", autouse=True)
def host(tmp_path_factory):
    """The opened host, on a base directory of its own."""
    if not FOUND:
        yield None
        return
    inprocess.open_host(FOUND[0], base=tmp_path_factory.mktemp("base"))
    yield FOUND[0]
