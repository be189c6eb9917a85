"""Read from a server in a thread, so that the caller hears Cancel however slow the line is.

Bytes are passed on as they come over the wire, never unpacked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from time import monotonic
from typing import Any, TypeVar

TICK_S = 0.2
"""Time between two calls of `tick` while nothing comes."""
TIMEOUT_S = 30.0
"""Time after which a line that sends nothing counts as dead."""
QUEUED_BLOCKS = 64
TRANSPORTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "h11")
"""HTTP libraries that huggingface_hub has used; their errors have no common base class."""
UNUSABLE_RANGE = 416

T = TypeVar("T")
Tick = Callable[[], None]
"""Called some times a second; what it raises ends the work."""


class LineError(Exception):
    """The connection could not be made, or ended before the answer did."""


class RefusedError(Exception):
    """The server refuses: `status` is HTTP's, `code` the hub's own word for it."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"the server answered {status}")
        self.status, self.code = status, code


@dataclass(frozen=True)
class Head:
    """The beginning of an answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]


class _AbandonedError(Exception):
    """Nobody listens any more."""


_END = object()


def heard(produce: Callable[[Callable[[Any], None]], None], tick: Tick) -> Iterator[Any]:
    """Yield what `produce(put)` puts, in a thread of its own; `tick` is called meanwhile.

    Raises what `produce` or `tick` raises. The thread ends with the next thing that it puts.
    """
    queue: Queue[Any] = Queue(QUEUED_BLOCKS)
    is_abandoned = Event()

    def put(item: Any) -> None:
        while not is_abandoned.is_set():
            with suppress(Full):
                return queue.put(item, timeout=TICK_S)
        raise _AbandonedError

    def work() -> None:
        try:
            produce(put)
            end: Any = _END
        except Exception as error:
            end = error
        with suppress(_AbandonedError):
            put(end)

    Thread(target=work, name="controlstack download", daemon=True).start()
    try:
        yield from _taken(queue, tick)
    finally:
        is_abandoned.set()


def _taken(queue: Queue[Any], tick: Tick) -> Iterator[Any]:
    """Yield what comes until the end, calling `tick` by the clock. Raises errors that come."""
    ticked_s = -TICK_S
    while True:
        if monotonic() - ticked_s >= TICK_S:
            tick()
            ticked_s = monotonic()
        with suppress(Empty):
            item = queue.get(timeout=TICK_S)
            if item is _END:
                return
            if isinstance(item, Exception):
                raise item
            yield item


def asked(work: Callable[[], T], tick: Tick) -> T:
    """Return what `work` returns, from a thread of its own; `tick` is called meanwhile."""
    return next(heard(lambda put: put(work()), tick))


def answer(url: str, headers: Mapping[str, str], offset: int, tick: Tick) -> Iterator[Any]:
    """Yield the Head of the answer, then its bytes from `offset` on, as they come.

    Raises RefusedError, LineError, and huggingface_hub's OfflineModeIsEnabled.
    """
    wanted = {**headers, "Accept-Encoding": "identity"}
    if offset:
        wanted["Range"] = f"bytes={offset}-"

    def produce(put: Callable[[Any], None]) -> None:
        try:
            with _opened(url, wanted) as response:
                head = _head(response)
                put(head)
                if head.status < 300:
                    for block in _raw(response):
                        put(block)
        except Exception as error:  # the HTTP libraries' classes differ with their versions
            raise as_line_error(error) from error

    return heard(produce, tick)


def _opened(url: str, headers: Mapping[str, str]) -> Any:
    from huggingface_hub.utils import get_session

    session: Any = get_session()
    # huggingface_hub 1.0 uses httpx; before it requests, whose `stream` is a setting.
    if callable(getattr(session, "stream", None)):
        return session.stream("GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True)
    return session.get(url, headers=headers, timeout=TIMEOUT_S, stream=True)


def _head(response: Any) -> Head:
    """Return status and headers. Raises RefusedError; the body of a refusal is not read."""
    headers = {str(name).lower(): str(value) for name, value in response.headers.items()}
    status = int(response.status_code)
    if status >= 400 and status != UNUSABLE_RANGE:
        raise RefusedError(status, headers.get("x-error-code", ""))
    return Head(status, headers)


def _raw(response: Any) -> Iterator[bytes]:
    """Yield bytes as they come; `requests` gathers small blocks of them."""
    if callable(getattr(response, "iter_raw", None)):
        return response.iter_raw()
    return response.raw.stream(16 * 1024, decode_content=False)


def as_line_error(error: Exception) -> Exception:
    """Return LineError or RefusedError for what HTTP libraries raise, every other error itself."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return error
    if isinstance(error, HfHubHTTPError):
        response = error.response
        return RefusedError(response.status_code, response.headers.get("X-Error-Code") or "")
    is_transport = (
        isinstance(error, OSError) or type(error).__module__.partition(".")[0] in TRANSPORTS
    )
    return LineError(str(error) or type(error).__name__) if is_transport else error
