"""Pairs of target and hint with their prompts, checked before anything is trained. Knows nothing of
the host.

Three forms: a folder as the original tutorial has it (`prompt.json`, one JSON a line with `source`,
`target`, `prompt`); a folder of pictures with a method that makes the hints (a caption may stand
beside each, `NAME.txt`); and batches from the graph.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from torch import Tensor

from ..host.folders import FileNameError, inside
from . import pictures
from .pictures import FilePicture, KeptPicture, Picture, PictureError, TensorPicture

PROMPTS = "prompt.json"
MULTIPLE = 64  # pixels: eight for the latents, times three halvings in the UNet
READERS, AT_ONCE = (
    4,
    64,
)  # threads that decode (Pillow lets go of the interpreter), and pairs under way
MAX_ASPECT = 1.02  # between a hint and its target: more is another crop, not another scale

Progress = Callable[[int, int], None]
Method = Callable[[Tensor], Tensor]
"""A hint for a target: (H,W,3) → (H,W,3)."""


@dataclass(frozen=True)
class Pair:
    target: Picture
    hint: Picture
    prompt: str


@dataclass(frozen=True)
class Dataset:
    """Pairs of one size. `digest` tells data sets apart by content."""

    pairs: tuple[Pair, ...]
    width: int
    height: int
    digest: str
    hint_method: str = ""
    hint_params: dict[str, object] = field(default_factory=dict[str, object])
    report: str = ""

    def target(self, index: int) -> Tensor:
        """(height,width,3) in [0,1]."""
        return pictures.fitted(self.pairs[index].target.read(), self.width, self.height)

    def hint(self, index: int) -> Tensor:
        """(height,width,3) in [0,1]."""
        return pictures.fitted(self.pairs[index].hint.read(), self.width, self.height)


@dataclass(frozen=True)
class Row:
    """A pair before it is looked at: `name` is how sentences call it, a fault is what is known to
    be wrong.
    """

    name: str
    open: Callable[[], tuple[bytes | Tensor, bytes | Tensor | None, Pair]]
    """Target and hint as they are stored (no hint: the method makes it), and the pair."""


def folder(root: Path, name: str) -> Path:
    """Return the data set's folder below `root`.

    Raises ValueError where there is none of that name, or where it lies elsewhere.
    """
    subfolders = sorted(entry.name for entry in islice(root.iterdir(), 1000) if entry.is_dir())
    offered = ", ".join(subfolders) or "none yet"
    clean = name.strip().replace("\\", "/")
    try:
        if Path(clean).is_absolute():
            raise FileNameError("path", clean)
        path = inside(root, clean, detours=True)
    except FileNameError as error:
        raise ValueError(
            f"folder: expected the name of a folder in {root.name}/, found {name!r}. There:"
            f" {offered}."
        ) from error
    if not path.is_dir():
        raise ValueError(f"folder: there is no {clean!r} in {root.name}/. There: {offered}.")
    return path


def from_folder(path: Path, *, with_method: bool) -> tuple[list[Row], Counter[str], list[str]]:
    """Rows of a folder, and the faults of its list: how many of each kind, and examples.

    Raises ValueError where the folder has neither form.
    """
    listed = path / PROMPTS
    if listed.is_file() or not with_method:
        if not listed.is_file():
            raise ValueError(
                f"{path.name}/ has no {PROMPTS}. Expected one JSON a line, "
                '{"source": "source/0.png", "target": "target/0.png", "prompt": "..."}; '
                "or choose a method, which makes the hints from the pictures of the folder."
            )
        return _listed(path, with_method=with_method)
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in pictures.SUFFIXES)
    if not found:
        raise ValueError(
            f"{path.name}/ has no pictures: expected files ending in"
            f" {', '.join(pictures.SUFFIXES)}."
        )
    return [_row(path, p.name, None, _caption(path, p)) for p in found], Counter(), []


def _caption(folder: Path, picture: Path) -> str:
    try:
        beside = pictures.within(folder, picture.with_suffix(".txt").name)
        return beside.read_text(encoding="utf-8", errors="replace").strip()
    except PictureError:
        return ""


def _listed(path: Path, *, with_method: bool) -> tuple[list[Row], Counter[str], list[str]]:
    rows, faults, examples = [], Counter[str](), []
    needed = ("target",) if with_method else ("source", "target")
    with pictures.within(path, PROMPTS).open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                if not all(isinstance(entry.get(key), str) for key in needed):
                    raise ValueError
            except (ValueError, AttributeError):
                faults["malformed lines"] += 1
                examples.append(f"{PROMPTS} line {number}")
                continue
            source = None if with_method else entry["source"]
            rows.append(_row(path, entry["target"], source, str(entry.get("prompt") or "")))
    return rows, faults, examples


def _row(folder: Path, target: str, source: str | None, prompt: str) -> Row:
    def opened() -> tuple[bytes, bytes | None, Pair]:
        first = pictures.within(folder, target)
        second = None if source is None else pictures.within(folder, source)
        pair = Pair(FilePicture(first), FilePicture(second or first), prompt)
        return pictures.contents(first), None if second is None else pictures.contents(second), pair

    return Row(target, opened)


def from_batches(targets: Tensor, hints: Tensor | None, prompts: str) -> list[Row]:
    """Rows of IMAGE batches (B,H,W,3); `prompts` has one line for all, or one a picture. Raises
    ValueError.
    """
    lines = [line.strip() for line in prompts.splitlines()] or [""]
    if len(lines) not in (1, len(targets)):
        raise ValueError(
            f"prompts: expected one line, or one for each of {len(targets)} pictures, found"
            f" {len(lines)}"
        )
    if hints is not None and len(hints) != len(targets):
        raise ValueError(f"hint: expected as many as targets, {len(targets)}, found {len(hints)}")
    lines = lines * len(targets) if len(lines) == 1 else lines
    return [_batch_row(i, targets, hints, lines[i]) for i in range(len(targets))]


def _batch_row(index: int, targets: Tensor, hints: Tensor | None, prompt: str) -> Row:
    target = targets[index, ..., :3].float().contiguous()
    hint = None if hints is None else hints[index, ..., :3].float().contiguous()
    pair = Pair(TensorPicture(target), TensorPicture(target if hint is None else hint), prompt)
    return Row(f"picture {index}", lambda: (target, hint, pair))


def checked(
    rows: Sequence[Row],
    width: int,
    height: int,
    *,
    method: Method | None = None,
    hint_method: str = "",
    hint_params: dict[str, object] | None = None,
    faults: Counter[str] | None = None,
    examples: Sequence[str] = (),
    leave_out: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Read every picture once: what is wrong is counted, and refused (ValueError) unless it may be
    left out.

    With `method`, hints are made here, from the targets as they are trained.
    """
    if width % MULTIPLE or height % MULTIPLE or min(width, height) < MULTIPLE:
        raise ValueError(
            f"width and height: expected multiples of {MULTIPLE}, found {width}×{height}"
        )
    counts, named = Counter(faults or {}), list(examples)
    listed = len(rows) + sum(counts.values())
    pairs, digest, sizes = (
        [],
        hashlib.sha256(repr((width, height, hint_method, hint_params)).encode()),
        Counter(),
    )
    for done, (row, found) in enumerate(_looked_at(rows)):
        if progress:
            progress(done, len(rows))
        if isinstance(found, PictureError):
            counts[found.kind] += 1
            named.append(f"{row.name} ({found})" if row.name not in str(found) else str(found))
            continue
        pair, content, size = found
        if method is not None:
            pair = _with_hint(pair, method, width, height)
        pairs.append(pair)
        sizes[size] += 1
        digest.update(content)
    _refuse(counts, named, listed, bool(pairs), leave_out=leave_out)
    report = described(pairs, width, height, hint_method, sizes, counts, named)
    if progress:
        progress(len(rows), len(rows))
    return Dataset(
        tuple(pairs), width, height, digest.hexdigest(), hint_method, hint_params or {}, report
    )


def _with_hint(pair: Pair, method: Method, width: int, height: int) -> Pair:
    hint = method(pictures.fitted(pair.target.read(), width, height))
    return Pair(pair.target, KeptPicture.of(hint), pair.prompt)


Found = tuple[Pair, bytes, tuple[int, int]]


def _looked_at(rows: Sequence[Row]) -> Iterable[tuple[Row, Found | PictureError]]:
    """Rows in their order with what was found, read by a few threads a few rows ahead."""
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            yield from zip(some, readers.map(_look, some), strict=True)


def _look(row: Row) -> Found | PictureError:
    try:
        target, hint, pair = row.open()
        size, other = _size(target, row.name), None if hint is None else _size(hint, row.name)
    except PictureError as error:
        return error
    if other is not None and max(size[0] * other[1], size[1] * other[0]) > MAX_ASPECT * min(
        size[0] * other[1], size[1] * other[0]
    ):
        return PictureError(
            "of another shape than their hint", f"{row.name} is {_by(size)}, its hint {_by(other)}"
        )
    content = hashlib.sha256(pair.prompt.encode())
    for part in (target, hint):
        content.update(
            part if isinstance(part, bytes) else b"" if part is None else part.numpy().tobytes()
        )
    return pair, content.digest(), size


def _size(stored: bytes | Tensor, name: str) -> tuple[int, int]:
    """Width and height, after decoding it once."""
    image = pictures.decoded(stored, name) if isinstance(stored, bytes) else stored
    if not bool(image.isfinite().all()) or image.numel() == 0:
        raise PictureError("unreadable", f"{name} has no pixels, or values that are no numbers")
    return image.shape[1], image.shape[0]


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def _refuse(
    counts: Counter[str], named: Sequence[str], listed: int, any_left: bool, *, leave_out: bool
) -> None:
    if counts and not (leave_out and any_left):
        first = "; ".join(named[:3])
        raise ValueError(
            f"{sum(counts.values())} of {listed} pairs cannot be used: {_counted(counts)}. "
            f"First: {first}. Repair them" + (", or switch leave_out on." if any_left else ".")
        )
    if not any_left:
        raise ValueError("the data set is empty: expected at least one pair of pictures")


def described(
    pairs: Sequence[Pair],
    width: int,
    height: int,
    hint_method: str,
    sizes: Counter[tuple[int, int]],
    counts: Counter[str],
    named: Sequence[str],
) -> str:
    """What the node says under itself."""
    empty = sum(not pair.prompt for pair in pairs)
    fitted = sum(count for size, count in sizes.items() if size != (width, height))
    small = sum(count for size, count in sizes.items() if size[0] < width or size[1] < height)
    lines = [f"{len(pairs)} pairs at {width}×{height}, hints from {hint_method or 'the data set'}"]
    lines += [
        f"{fitted} pictures of another size are scaled and cut to it ({small} of them enlarged)"
    ] * bool(fitted)
    lines += [f"{empty} prompts are empty"] * bool(empty)
    lines += [f"left out: {_counted(counts)} (first: {'; '.join(named[:3])})"] * bool(counts)
    return "\n".join(lines)
