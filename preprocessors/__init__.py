"""Turn pictures into hints. `CATALOGUE` lists every method; nothing here knows ComfyUI.

Every row is called alike: `catalogue(key)(image, resolution=0, progress=None, networks=None,
**params)`. Image and hint are (B,H,W,C) in [0,1].

A new method needs four files:

1. its family's file (`edges.py`, `lines.py`, …): the function, and a `Preprocessor` in `ROWS`.
   Its node, its place in Preprocessor (any) and the ControlNets that it suits follow from the row;
2. `js/docs/<node_id>.md`: the help page, with a table row for every input;
3. a file of `tests/unit/`: a test against the method's reference that names its key;
4. `tests/node_surface.json`: `python3 tests --accept` pins the new node there.

`python3 tests` names any step left out; `tests/recipes.py` follows them on a copy.
Chinese texts (`locales/zh`) may follow later: until then the page shows the English ones.
"""

from __future__ import annotations

from . import color, depth, edges, lines, normals, pose, scribble, segmentation, softedges
from .spec import Param, Port, Preprocessor, refuse_unknown

__all__ = ["CATALOGUE", "Param", "Port", "Preprocessor", "catalogue"]

CATALOGUE: tuple[Preprocessor, ...] = (
    *edges.ROWS,
    *scribble.ROWS,
    *lines.ROWS,
    *softedges.ROWS,
    *depth.ROWS,
    *normals.ROWS,
    *segmentation.ROWS,
    *color.ROWS,
    *pose.ROWS,
)


def catalogue(key: str) -> Preprocessor:
    """Return the row of that key; raise ValueError naming the keys there are."""
    rows = {row.key: row for row in CATALOGUE}
    refuse_unknown("preprocessor", key, rows)
    return rows[key]
