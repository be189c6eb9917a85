"""Run hostile cases against the pack: each ends well or in a sentence, fast, small and at home.

A fuzzer is a row: it makes a case from a random generator, calls the pack with it, and names the
errors whose sentences users may see. This module runs rows and judges every case: an error is the
pack's own if one of its `raise` statements raised it, and the class is listed.
"""

from __future__ import annotations

import contextlib
import dis
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("preprocessors", "files", "control", "host", "nodes", "training")
SECONDS, MEGABYTES = 2.0, 200.0
"""Limits of one case: CPU time, and resident memory above what was there before."""
SENTENCE_CHARS = 1000
HANGS_S = 30
ADDRESS_SPACE_BYTES = 4 << 30
"""How much a run may reserve: what Linux would grant for 600 GB and then kill for is refused."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
WRITES = {  # audit event → positions of the paths that it changes
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "shutil.rmtree": (0,),
}
STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen")


@dataclass(frozen=True)
class Fuzzer:
    """A row of the table.

    `case(rng, base)` makes a case, the same for the same seed; it may write files below `base`,
    the folder in which ComfyUI's input, output, temp, user and models lie. `call(case)` is judged.
    """

    name: str
    case: Callable[[random.Random, Path], Any]
    call: Callable[[Any], object]
    errors: tuple[type[BaseException], ...] | Callable[[], tuple[type[BaseException], ...]]
    """Or a function that imports them: what imports ComfyUI is imported when it is open."""
    needs_host: bool = False
    share: float = 1.0
    """How many cases it gets of a run, relative to the others: less for slow ones."""

    def expected(self) -> tuple[type[BaseException], ...]:
        """Return the classes of errors whose sentences users may see."""
        return self.errors if isinstance(self.errors, tuple) else self.errors()


@dataclass
class Outcome:
    """What the cases of one row did."""

    name: str
    cases: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[float, str] = (0.0, "")

    def __str__(self) -> str:
        return (
            f"{self.name:28} {self.cases:7} cases, {self.refused:7} refused,"
            f" {len(self.failures):4} failures, slowest {self.slowest[0]:.2f} s,"
            f" largest {self.largest[0]:.0f} MB"
        )


class StuckError(BaseException):
    """Raised in a case that does not end; no `except Exception` may swallow it."""


def shares(rows: Sequence[Fuzzer], count: int) -> dict[str, int]:
    """Spread `count` cases over the rows by their shares, at least one each."""
    whole = sum(row.share for row in rows)
    return {row.name: max(1, round(count * row.share / whole)) for row in rows}


def run(row: Fuzzer, count: int, seed: int, base: Path) -> Outcome:
    """Run `count` cases of a row; the folder `base` is the only one that it may write to."""
    outcome, errors = Outcome(row.name), row.expected()
    with contextlib.suppress(Exception):  # imports are not part of a case
        row.call(row.case(random.Random(row.name), base))
    with _less_address_space():
        for index in range(count):
            case = row.case(random.Random(f"{seed}/{row.name}/{index}"), base)
            judge(outcome, f"{row.name} {index}", case, row.call, errors, base)
    return outcome


def judge(
    outcome: Outcome,
    label: str,
    case: Any,
    call: Callable[[Any], object],
    errors: tuple[type[BaseException], ...],
    base: Path,
) -> None:
    """Call the pack with one case and add the verdict to `outcome`."""
    error: BaseException | None = None
    _reset_peak()
    before_mb, began_s = _resident_mb(peak=False), time.process_time()
    with _watched(base) as trespasses, _alarm():
        try:
            call(case)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as raised:
            error = raised
    seconds, megabytes = time.process_time() - began_s, _resident_mb(peak=True) - before_mb
    outcome.cases += 1
    outcome.refused += error is not None
    outcome.slowest = max(outcome.slowest, (seconds, label))
    outcome.largest = max(outcome.largest, (megabytes, label))
    problems = [f"{act} outside ComfyUI's folders" for act in trespasses]
    if error is not None:
        problems += complaints(error, errors)
    if seconds > SECONDS:
        problems.append(f"took {seconds:.1f} s")
    if megabytes > MEGABYTES:
        problems.append(f"took {megabytes:.0f} MB")
    outcome.failures += [f"{label}: {problem}; case: {short(case)}" for problem in problems]


def complaints(error: BaseException, errors: tuple[type[BaseException], ...]) -> list[str]:
    """Say what is wrong with an error: another class, raised by a library, or no sentence."""
    text = f"{type(error).__name__}: {short(str(error))}"
    if type(error) not in errors:
        return [f"raw {text}"]
    if not _is_raised_by_the_pack(error):
        return [f"raised by a library: {text}"]
    if not 3 <= len(str(error)) <= SENTENCE_CHARS:
        return [f"a sentence of {len(str(error))} characters: {text}"]
    return []


def _is_raised_by_the_pack(error: BaseException) -> bool:
    """Tell whether a `raise` statement of the pack raised it, and not a call in its code."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return False
    code = last.tb_frame.f_code
    place = Path(code.co_filename)
    is_ours = place.is_relative_to(ROOT) and place.relative_to(ROOT).parts[0] in ROOMS
    return is_ours and dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"


def short(value: object, limit: int = 200) -> str:
    """Return the beginning of a value's text, in ASCII."""
    text = value if isinstance(value, str) else repr(value)
    return ascii(text[:limit])[1:-1] + ("…" if len(text) > limit else "")


# -- guards ----------------------------------------------------------------------------------------


class _Watch:
    """Listen to Python's audit events while a case runs; a hook can never be removed."""

    def __init__(self) -> None:
        self.base: Path | None = None
        self.thread = 0
        self.trespasses: list[str] = []
        self.is_hooked = False

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.base is None or threading.get_ident() != self.thread:
            return
        if event in STARTS:
            self.trespasses.append(event)
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            self._look(event, arguments[0])
        elif event in WRITES:
            for position in WRITES[event]:
                self._look(event, arguments[position])

    def _look(self, event: str, path: object) -> None:
        if self.base is None or not isinstance(path, str | bytes | os.PathLike):
            return
        with contextlib.suppress(ValueError):  # a name that no system call takes
            whole = os.path.realpath(os.path.dirname(os.path.abspath(os.fsdecode(path))))
            if whole != os.devnull and not Path(whole).is_relative_to(self.base):
                self.trespasses.append(f"{event} {short(os.fsdecode(path))}")


_watch = _Watch()


@contextlib.contextmanager
def _watched(base: Path) -> Iterator[list[str]]:
    if not _watch.is_hooked:
        sys.addaudithook(_watch.hear)
        _watch.is_hooked = True
    _watch.trespasses, _watch.thread, _watch.base = [], threading.get_ident(), base.resolve()
    try:
        yield _watch.trespasses
    finally:
        _watch.base = None


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    """Raise StuckError in a case that does not end."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise StuckError(f"not done after {HANGS_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, HANGS_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _less_address_space() -> Iterator[None]:
    try:
        import resource

        with open("/proc/self/statm") as file:
            now_bytes = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + ADDRESS_SPACE_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _reset_peak() -> None:
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _resident_mb(*, peak: bool) -> float:
    """Return resident memory now, or the most since `_reset_peak`; 0 where nobody can tell."""
    word = "VmHWM:" if peak else "VmRSS:"
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith(word):
                return int(line.split()[1]) / 1024
    return 0.0


# -- mutations that several rows use ---------------------------------------------------------------


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Cut, pad, swap, repeat or overwrite parts of a file."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, length = rng.randrange(len(content) + 1), rng.choice((1, 1, 4, 64, 1000))
        act = rng.randrange(6)
        if act == 0:
            del content[at:]
        elif act == 1:
            content[at:at] = rng.randbytes(length)
        elif act == 2:
            del content[at : at + length]
        elif act == 3:
            content[at : at + length] = content[at // 2 : at // 2 + length]
        elif act == 4:
            content[at : at + length] = bytes([rng.choice((0, 255, 127))]) * length
        elif content:
            content[at % len(content)] ^= 1 << rng.randrange(8)
    return bytes(content)


ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 2.7, 1e308, 1e400, -(10**30), 10**30, 10**400, "", "x", "\0",
    "\ud800", [], {}, [[]], [None], {"": None}, "9" * 5000,
)  # fmt: skip


def odd(rng: random.Random, depth: int = 2) -> Any:
    """Make a value of any JSON type, nested at most `depth` deep."""
    kind = rng.randrange(6)
    if depth and kind == 0:
        return [odd(rng, depth - 1) for _ in range(rng.randrange(4))]
    if depth and kind == 1:
        return {rng.choice(("a", "b", "", "shape")): odd(rng, depth - 1) for _ in range(3)}
    if kind == 2:
        return rng.randrange(-(2 ** rng.randrange(70)), 2 ** rng.randrange(70))
    if kind == 3:
        return rng.uniform(-1, 1) * 10 ** rng.randrange(-3, 12)
    return rng.choice(ODD_VALUES)


PIECES = (
    "a", "b.png", "sub", "..", ".", "/", "//", "\\", ":", "C:", "\\\\", "~", "$HOME", "%2e", "\0",
    "\n", "\ud800", "\udcff", "é", "日本", "🎨", "x" * 90, "ä" * 130, " ", "*", "?", "<", "|", '"',
    "CON", "nul.txt", "COM1", ".part", "[output]", " [temp]", "{", "-", "／", "‥", "\u202e",
    "e\u0301",
)  # fmt: skip


def name(rng: random.Random) -> str:
    """Make a name out of pieces that file systems give a meaning."""
    return "".join(rng.choice(PIECES) for _ in range(rng.choice((1, 2, 3, 4, 6, 12))))


def link_out(folder: Path, base: Path, link: str = "sub") -> None:
    """Put a link out of ComfyUI's folders into one of them.

    It leads to a folder without links of its own: one that leads back would make every walk over
    the models endless.
    """
    abroad = base.parent / "abroad"
    abroad.mkdir(exist_ok=True)
    if not (folder / link).is_symlink():
        (folder / link).symlink_to(abroad)


def by_name(rows: Iterable[Fuzzer], names: Sequence[str]) -> list[Fuzzer]:
    """Return the rows of these names, all for none. Raises ValueError for an unknown one."""
    table = {row.name: row for row in rows}
    if unknown := set(names) - table.keys():
        raise ValueError(f"there is no fuzzer {', '.join(unknown)}: choose from {', '.join(table)}")
    return [table[one] for one in names] if names else list(table.values())
