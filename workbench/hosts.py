"""Find ComfyUI on this machine. Standard library only."""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]


RECENT = (0, 30)  # batteries of tests run whole from this version on
Case = TypeVar("Case")


@dataclass(frozen=True)
class Host:
    """An installation of ComfyUI."""

    path: Path
    version: str

    @property
    def order(self) -> tuple[int, ...]:
        """The version as numbers."""
        return tuple(int(n) for n in re.findall(r"\d+", self.version))


def find() -> list[Host]:
    """Return the hosts to use, newest first.

    `COMFYUI_DIR` (several, separated as in PATH) decides alone. Else the host that this pack is
    installed in; else comfy-cli's default workspace and its siblings named ComfyUI-*.
    """
    if named := os.environ.get("COMFYUI_DIR"):
        paths = [path for path in named.split(os.pathsep) if path]
        candidates = [read(Path(path).expanduser()) for path in paths]
        for path, host in zip(paths, candidates, strict=True):
            if host is None:
                sys.exit(
                    f"COMFYUI_DIR names {path!r}, which is not ComfyUI: expected"
                    " comfy/controlnet.py in it"
                )
    elif ROOT.parent.name == "custom_nodes" and read(ROOT.parents[1]):
        candidates = [read(ROOT.parents[1])]
    else:
        workspace = default_workspace()
        candidates = [read(p) for p in (workspace, *sorted(workspace.parent.glob("ComfyUI-*")))]
    return sorted((host for host in candidates if host), key=lambda host: host.order, reverse=True)


def cross_section(cases: Sequence[Case], every: int = 4) -> list[Case]:
    """Return all cases for a recent ComfyUI, each n-th for an older one that is under test."""
    hosts = find()
    is_older = bool(hosts) and hosts[0].order < RECENT
    return list(cases)[:: every if is_older else 1]


def read(path: Path) -> Host | None:
    """Return the host in `path`, or None where there is none."""
    if not (path / "comfy" / "controlnet.py").is_file():
        return None
    version = path / "comfyui_version.py"
    text = version.read_text() if version.is_file() else ""
    match = re.search(r'__version__\s*=\s*"([^"]+)"', text)
    return Host(path.resolve(), match.group(1) if match else "0.0.0")


def default_workspace() -> Path:
    """Return comfy-cli's default workspace: what its config file says, else where it installs."""
    home = Path.home()
    config, workspace = {
        "win32": (home / "AppData/Local/comfy-cli", home / "Documents/comfy/ComfyUI"),
        "darwin": (
            home / "Library/Application Support/comfy-cli",
            home / "Documents/comfy/ComfyUI",
        ),
    }.get(sys.platform, (home / ".config/comfy-cli", home / "comfy/ComfyUI"))
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(config / "config.ini")
    configured = parser.defaults().get("default_workspace", "").strip()
    return Path(configured).expanduser() if configured else workspace
