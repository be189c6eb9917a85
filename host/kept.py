"""Keep a few arrays up to a number of bytes, until Python's garbage is collected as a whole.

ComfyUI's free button asks for that collection, and nothing else of it tells a pack to let go.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.uint8]
WHOLE = 2
"""The generation that a collection of everything is of."""


class Kept:
    """Arrays by key, the least recently used ones dropped first."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._arrays: OrderedDict[Hashable, Array] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> Array | None:
        """Return what is kept under a key, or None."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def put(self, key: Hashable, array: Array) -> None:
        """Keep an array; one beyond the limit is not kept."""
        if self._collected not in gc.callbacks:
            gc.callbacks.append(self._collected)
        if array.nbytes > self._limit_bytes:
            return
        with self._lock:
            self._arrays[key] = array
            while sum(each.nbytes for each in self._arrays.values()) > self._limit_bytes:
                self._arrays.popitem(last=False)

    def nbytes(self) -> int:
        """Return how much is kept."""
        with self._lock:
            return sum(array.nbytes for array in self._arrays.values())

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "stop" and info.get("generation") == WHOLE and not self._lock.locked():
            self._arrays = OrderedDict()
