"""Pairs of target and hint with their prompts, checked before anything is trained.

Three forms: a folder as ControlNet's own tutorial has it (`prompt.json`, one JSON per line with
`source`, `target`, `prompt`); a folder of pictures with a method that makes the hints (each may
have a caption beside it, `NAME.txt`); and batches from the graph. Does not import ComfyUI.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from torch import Tensor

from ..control.fits import over_white
from ..host.folders import FileNameError, inside, shortened
from . import pictures
from .pictures import FilePicture, KeptPicture, Picture, PictureError, TensorPicture

PROMPTS = "prompt.json"
MULTIPLE = 64  # pixels: eight for the latents, times three halvings in the UNet
READERS = 4  # threads that decode: Pillow releases the interpreter
READ_AHEAD = 64  # pairs
UNREADABLE_TEXT = "prompts that are not UTF-8 text"
MAX_ASPECT = 1.02  # between a hint and its target: more is another crop, not another scale

Progress = Callable[[int, int], None]
Method = Callable[[Tensor], Tensor]
"""A hint for a target: (H,W,3) → (H,W,3)."""


@dataclass(frozen=True)
class Pair:
    """A target, its hint and its prompt."""

    target: Picture
    hint: Picture
    prompt: str
    size: tuple[int, int] | None = None
    """Width and height of the target as it is stored; None: not yet looked at."""


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
        """Read a target, (height,width,3) in [0,1]."""
        return pictures.fitted(self.pairs[index].target.read(), self.width, self.height)

    def hint(self, index: int) -> Tensor:
        """Read a hint, (height,width,3) in [0,1]; -1 where an inpaint hint is masked."""
        pair = self.pairs[index]
        return pictures.fitted(pair.hint.read(), self.width, self.height, like=pair.size)

    def name(self, index: int) -> str:
        """Return what sentences call a pair."""
        target = self.pairs[index].target
        return target.path.name if isinstance(target, FilePicture) else f"picture {index}"


@dataclass(frozen=True)
class Row:
    """A pair that is not yet inspected; sentences call it `name`."""

    name: str
    open: Callable[[], tuple[bytes | Tensor, bytes | Tensor | None, Pair]]
    """Target and hint as they are stored (no hint: the method makes it), and the pair."""


@dataclass(frozen=True)
class Source:
    """Rows of a data set, and what is wrong with its list: counts by kind, and examples."""

    rows: Sequence[Row]
    faults: Counter[str] = field(default_factory=Counter[str])
    examples: Sequence[str] = ()
    notes: Sequence[str] = ()
    """Lines for the report on what is odd but usable."""


# -- where pairs come from -------------------------------------------------------------------------


def from_inputs(
    root: Path,
    name: str,
    targets: Tensor | None,
    hints: Tensor | None,
    prompts: str,
    *,
    with_method: bool,
) -> Source:
    """Take the rows from the folder `name` below `root`, or from IMAGE batches (B,H,W,3).

    Raises ValueError where both or neither are given, and where hints are given twice or not at
    all.
    """
    if name.strip() and (targets is not None or hints is not None):
        raise ValueError("folder and target are both given: empty one of them")
    if name.strip():
        return from_folder(folder(root, name), with_method=with_method)
    if targets is None:
        raise ValueError("no pictures: name a folder of ComfyUI's input folder, or connect target")
    if hints is None and not with_method:
        raise ValueError("no hints: connect hint, or choose a method that makes them")
    if hints is not None and with_method:
        raise ValueError(
            "hint is connected and a method is chosen: disconnect it, or choose the method 'given'"
        )
    return from_batches(targets.clone(), None if hints is None else hints.clone(), prompts)


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
            f"folder: expected the name of a folder in {root.name}/, found"
            f" {shortened(name)!r}. There: {shortened(offered)}."
        ) from error
    if not path.is_dir():
        raise ValueError(
            f"folder: there is no {shortened(clean)!r} in {root.name}/. There:"
            f" {shortened(offered)}."
        )
    return path


def folder_state(root: Path, name: str) -> str:
    """Hash names, sizes and times of all files below a data set's folder.

    Where there is no such folder, the sentence that says so.
    """
    try:
        path = folder(root, name)
    except ValueError as error:
        return str(error)
    digest = hashlib.sha256()
    for parent, subfolders, files in os.walk(path):
        subfolders.sort()
        for file in sorted(files):
            stat = os.lstat(os.path.join(parent, file))
            digest.update(f"{parent}/{file} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def from_folder(path: Path, *, with_method: bool) -> Source:
    """Take the rows from a folder in either form.

    Raises ValueError where it has neither.
    """
    if (path / PROMPTS).is_file():
        return _read_list(path, with_method=with_method)
    if not with_method:
        raise ValueError(
            f"{path.name}/ has no {PROMPTS}. Expected one JSON per line, "
            '{"source": "source/0.png", "target": "target/0.png", "prompt": "..."}; '
            "or choose a method, which makes the hints from the pictures of the folder."
        )
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in pictures.SUFFIXES)
    if not files:
        raise ValueError(
            f"{path.name}/ has no pictures: expected files ending in"
            f" {', '.join(pictures.SUFFIXES)}."
        )
    return _captioned(path, files)


def _captioned(folder: Path, files: Sequence[Path]) -> Source:
    """Take a row from each picture that has a caption which can be read, or none."""
    rows, faults, examples = [], Counter[str](), []
    for file in files:
        caption = _caption(folder, file)
        if caption is None:
            faults[UNREADABLE_TEXT] += 1
            examples.append(f"{file.stem}.txt")
        else:
            rows.append(_file_row(folder, file.name, None, caption))
    shared = Counter(file.stem for file in files)
    twice = [
        stem for stem, count in shared.items() if count > 1 and (folder / f"{stem}.txt").exists()
    ]
    notes = [f"{stem}.txt is the caption of {shared[stem]} pictures" for stem in twice[:3]]
    return Source(rows, faults, examples, notes)


def _caption(folder: Path, picture: Path) -> str | None:
    """Return a picture's caption, empty where it has none; None where it cannot be decoded."""
    try:
        file = pictures.within(folder, picture.with_suffix(".txt").name)
    except PictureError:
        return ""
    try:
        text = pictures.decoded_text(pictures.contents(file))
    except PictureError:
        return None
    return None if text is None else text.strip()


def _read_list(path: Path, *, with_method: bool) -> Source:
    rows, faults, examples = [], Counter[str](), []
    required = ("target",) if with_method else ("source", "target")
    for number, line in enumerate(_lines(pictures.contents(pictures.within(path, PROMPTS))), 1):
        if line is not None and not line.strip():
            continue
        entry = None if line is None else _listed(line, required)
        if entry is None:
            faults[UNREADABLE_TEXT if line is None else "malformed lines"] += 1
            examples.append(f"{PROMPTS} line {number}")
            continue
        source = None if with_method else entry["source"]
        rows.append(_file_row(path, entry["target"], source, entry["prompt"]))
    return Source(rows, faults, examples)


def _lines(data: bytes) -> Iterable[str | None]:
    """Go through the lines of a list; None for one that cannot be decoded."""
    if (text := pictures.decoded_text(data)) is not None:
        return re.split(r"\r\n|\n|\r", text)
    return (pictures.decoded_text(line) for line in data.splitlines())


def _listed(line: str, required: Sequence[str]) -> dict[str, str] | None:
    """Read a line of the list; None for one that is not an object of texts."""
    try:
        entry = json.loads(line)
        prompt = entry.get("prompt") or ""
        texts = {key: entry[key] for key in required} | {
            "prompt": str(prompt) if isinstance(prompt, int | float) else prompt
        }
        for text in texts.values():
            text.encode()  # not so half of a surrogate pair
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
    return texts


def _file_row(folder: Path, target: str, source: str | None, prompt: str) -> Row:
    def open_files() -> tuple[bytes, bytes | None, Pair]:
        target_file = pictures.within(folder, target)
        hint_file = None if source is None else pictures.within(folder, source)
        pair = Pair(FilePicture(target_file), FilePicture(hint_file or target_file), prompt)
        content = pictures.contents(target_file)
        return content, None if hint_file is None else pictures.contents(hint_file), pair

    return Row(target, open_files)


def from_batches(targets: Tensor, hints: Tensor | None, prompts: str) -> Source:
    """Take the rows from IMAGE batches (B,H,W,3); `prompts` has one line for all, or one each.

    Raises ValueError where counts do not agree.
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
    return Source([_batch_row(i, targets, hints, lines[i]) for i in range(len(targets))])


def _batch_row(index: int, targets: Tensor, hints: Tensor | None, prompt: str) -> Row:
    target = over_white(targets[index]).float().contiguous()
    hint = None if hints is None else over_white(hints[index]).float().contiguous()
    pair = Pair(TensorPicture(target), TensorPicture(target if hint is None else hint), prompt)
    return Row(f"picture {index}", lambda: (target, hint, pair))


# -- inspection ------------------------------------------------------------------------------------


def build(
    source: Source,
    width: int,
    height: int,
    *,
    method: Method | None = None,
    hint_method: str = "",
    hint_params: dict[str, object] | None = None,
    leave_out: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Read every picture once and build the data set.

    Faults are counted, and raise ValueError unless such pairs may be left out. With `method`, hints
    are made here, from the targets as they are trained.
    """
    if width % MULTIPLE or height % MULTIPLE or min(width, height) < MULTIPLE:
        raise ValueError(
            f"width and height: expected multiples of {MULTIPLE}, found {width}×{height}"
        )
    report_progress = progress or (lambda *_: None)
    faults, examples = Counter(source.faults), list(source.examples)
    total = len(source.rows)
    listed = total + sum(faults.values())
    pairs: list[Pair] = []
    sizes, looks = Counter[tuple[int, int]](), Counter[str]()
    digest = hashlib.sha256(repr((width, height, hint_method, hint_params)).encode())
    for done, (row, result) in enumerate(_inspect_all(source.rows)):
        report_progress(done, total)
        if isinstance(result, PictureError):
            faults[result.kind] += 1
            examples.append(_example(row, result))
            continue
        pair, content, size, odd = result
        if method is not None:
            pair, odd = _with_hint(pair, method, width, height)
        pairs.append(pair)
        looks.update(odd)
        sizes[size] += 1
        digest.update(content)
    _refuse_faults(faults, examples, listed, bool(pairs), leave_out=leave_out)
    _refuse_looks(looks, len(pairs), hint_method)
    report = _report(pairs, width, height, hint_method, sizes, faults, examples)
    report = "\n".join([report, *source.notes, *_remarks(looks, len(pairs))])
    report_progress(total, total)
    return Dataset(
        tuple(pairs), width, height, digest.hexdigest(), hint_method, hint_params or {}, report
    )


def _with_hint(pair: Pair, method: Method, width: int, height: int) -> tuple[Pair, list[str]]:
    """Make a pair's hint; return what is odd about it, too."""
    target = pictures.fitted(pair.target.read(), width, height)
    hint = method(target)
    hinted = Pair(pair.target, KeptPicture.of(hint), pair.prompt, (width, height))
    # A grey picture with a coloured map is what a method gives, not a swap.
    return hinted, [odd for odd in _looks(target, hint) if odd != SWAPPED]


BLANK, SAME, SWAPPED = "blank", "same", "swapped"


def _looks(target: Tensor, hint: Tensor) -> list[str]:
    """Tell what is odd about a target and its hint, (H,W,3) each."""
    has_one_size = target.shape == hint.shape
    is_same = has_one_size and bool(((hint - target).abs() < 1.5 / 255).all())
    is_swapped = pictures.is_grey(target) and not pictures.is_grey(hint)
    is_plain = pictures.is_plain(hint)
    colour = f"{BLANK} {(hint[0, 0] * 255).round().tolist()}"
    odd = {BLANK: is_plain, colour: is_plain, SAME: is_same, SWAPPED: is_swapped}
    return [name for name, is_so in odd.items() if is_so]


def _refuse_looks(looks: Counter[str], count: int, hint_method: str) -> None:
    """Raise ValueError where a method gives hints that nothing can be learned from."""
    if hint_method and looks[SAME] == count:
        raise ValueError(
            f"method: {hint_method} with these settings gives the picture itself as its hint, so a"
            " net would learn to copy. Choose another method or other settings, or connect hints."
        )
    if hint_method and any(
        look.startswith(f"{BLANK} ") and n == count for look, n in looks.items()
    ):
        raise ValueError(
            f"method: {hint_method} with these settings gives hints of one colour only, which say"
            " nothing. Choose another method or other settings, or connect hints."
        )


def _remarks(looks: Counter[str], count: int) -> list[str]:
    """Write what is odd about pairs, for the report."""
    lines = {
        BLANK: f"{looks[BLANK]} hints are of one colour",
        SAME: f"{looks[SAME]} hints are the picture itself",
        SWAPPED: (
            f"{looks[SWAPPED]} targets are grey and their hints coloured: are source and target"
            " swapped?"
        ),
    }
    least = {BLANK: 1, SAME: 1, SWAPPED: max(1, count // 2)}
    return [line for name, line in lines.items() if looks[name] >= least[name]]


Inspected = tuple[Pair, bytes, tuple[int, int], list[str]]
"""A pair, the hash of its content, the target's width and height, and what is odd about it."""


def _inspect_all(rows: Sequence[Row]) -> Iterable[tuple[Row, Inspected | PictureError]]:
    """Inspect rows in their order, with a few threads that read a few rows ahead."""
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(rows), READ_AHEAD):
            chunk = rows[start : start + READ_AHEAD]
            yield from zip(chunk, readers.map(_inspect, chunk), strict=True)


def _inspect(row: Row) -> Inspected | PictureError:
    try:
        target, hint, pair = row.open()
        picture = _decoded(target, row.name)
        hint_picture = picture if hint is None else _decoded(hint, row.name)
        size, hint_size = _size(picture), _size(hint_picture)
        if _is_other_shape(size, hint_size):
            raise PictureError(
                "of another shape than their hint",
                f"{row.name} is {_size_text(size)}, its hint {_size_text(hint_size)}",
            )
    except PictureError as error:
        return error
    content = hashlib.sha256(pair.prompt.encode())
    content.update(_stored_bytes(target))
    if hint is not None:
        content.update(_stored_bytes(hint))
    odd = [] if hint is None else _looks(picture, hint_picture)
    return replace(pair, size=size), content.digest(), size, odd


def _is_other_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether the aspects of two sizes differ by more than MAX_ASPECT."""
    products = size[0] * other[1], size[1] * other[0]
    return max(products) > MAX_ASPECT * min(products)


def _stored_bytes(stored: bytes | Tensor) -> bytes:
    return stored if isinstance(stored, bytes) else stored.numpy().tobytes()


def _size(picture: Tensor) -> tuple[int, int]:
    return picture.shape[1], picture.shape[0]


def _decoded(stored: bytes | Tensor, name: str) -> Tensor:
    """Decode a picture (H,W,3) once. Raises PictureError for one that cannot be trained on."""
    image = pictures.decoded(stored, name) if isinstance(stored, bytes) else stored
    if not bool(image.isfinite().all()) or image.numel() == 0:
        raise PictureError("unreadable", f"{name} has no pixels, or values that are not finite")
    return image


# -- sentences -------------------------------------------------------------------------------------


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _faults_text(faults: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in faults.most_common())


def _example(row: Row, error: PictureError) -> str:
    text = str(error)
    return shortened(text if row.name in text else f"{row.name} ({text})")


def _refuse_faults(
    faults: Counter[str], examples: Sequence[str], listed: int, any_left: bool, *, leave_out: bool
) -> None:
    if faults and not (leave_out and any_left):
        remedy = "Repair them, or switch leave_out on." if any_left else "Repair them."
        raise ValueError(
            f"{sum(faults.values())} of {listed} pairs cannot be used: {_faults_text(faults)}."
            f" First: {'; '.join(examples[:3])}. {remedy}"
        )
    if not any_left:
        raise ValueError("the data set is empty: expected at least one pair of pictures")


def _report(
    pairs: Sequence[Pair],
    width: int,
    height: int,
    hint_method: str,
    sizes: Counter[tuple[int, int]],
    faults: Counter[str],
    examples: Sequence[str],
) -> str:
    """Write the lines that the node shows."""
    lines = [f"{len(pairs)} pairs at {width}×{height}, hints from {hint_method or 'the data set'}"]
    resized = {size: count for size, count in sizes.items() if size != (width, height)}
    if resized:
        enlarged = sum(n for size, n in resized.items() if size[0] < width or size[1] < height)
        lines.append(
            f"{sum(resized.values())} pictures of another size are scaled and cropped to it"
            f" ({enlarged} of them enlarged)"
        )
    if empty := sum(not pair.prompt for pair in pairs):
        lines.append(f"{empty} prompts are empty")
    if faults:
        lines.append(f"left out: {_faults_text(faults)} (first: {'; '.join(examples[:3])})")
    return "\n".join(lines)
