"""A hub that lies in thirty ways: each ends in a sentence, and the next run is right.

Every lie is told about a file that our table pins and about one whose size and sha256 only the hub
knows. Afterwards an honest hub answers: nothing that was left behind may spoil that run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from torch import nn

from workbench import hosts

TABLE = json.dumps({"a": {"dtype": "U8", "shape": [2_000_000], "data_offsets": [0, 2_000_000]}})
CONTENT = struct.pack("<Q", len(TABLE)) + TABLE.encode() + bytes(range(250)) * 8000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LINK = "/someone/nets/resolve/main/tiny.safetensors"
PAGE = b"<!DOCTYPE html><html>Welcome. Please log in.</html>"
HUB = f'ETag: "{SHA256}"\r\nX-Repo-Commit: {"0" * 40}\r\n'


@dataclass
class Ask:
    """One request, and the connection on which it came."""

    method: str
    path: str
    offset: int
    headers: dict[str, str]
    connection: socket.socket

    def send(self, *parts: bytes) -> None:
        with contextlib.suppress(OSError):  # the other end hangs up on a liar
            for part in parts:
                self.connection.sendall(part)

    def answer(self, status: str, headers: str = "", body: bytes = b"") -> None:
        """Send a whole answer; its length is told unless `headers` do."""
        if "Content-Length" not in headers and "chunked" not in headers:
            headers += f"Content-Length: {len(body)}\r\n"
        head = f"HTTP/1.1 {status}\r\nConnection: close\r\n{HUB}{headers}\r\n".encode()
        self.send(head, b"" if self.method == "HEAD" else body)

    def honest(self) -> None:
        if self.method == "HEAD" or not self.offset:
            length = f"Content-Length: {len(CONTENT)}\r\n"
            return self.answer("200 OK", length, CONTENT)
        span = f"bytes {self.offset}-{len(CONTENT) - 1}/{len(CONTENT)}"
        return self.answer(
            "206 Partial Content", f"Content-Range: {span}\r\n", CONTENT[self.offset :]
        )


@dataclass
class Hub:
    """The server; `lie` answers, or nothing of it where that is None."""

    url: str = ""
    lie: Callable[[Ask], None] | None = None
    asked: list[Ask] = field(default_factory=list)
    sent: int = 0


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            data = b""
            while b"\r\n\r\n" not in data:
                if not (block := self.request.recv(65536)):
                    return
                data += block
            first, *lines = data.decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
            start = headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-")
            ask = Ask(first.split(" ")[0], first.split(" ")[1], int(start), headers, self.request)
            if ask.path.startswith("/someone"):  # the library asks for more on its own account
                hub.asked.append(ask)
            if ask.path.startswith("/someone") and hub.lie is not None:
                hub.lie(ask)
            elif ask.path == LINK:
                ask.honest()
            else:
                ask.answer("404 Not Found", "X-Error-Code: EntryNotFound\r\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.allow_reuse_address = server.daemon_threads = True
    server.server_bind()
    server.server_activate()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub()) as hub:
        yield hub


@pytest.fixture
def downloads(host, hub, monkeypatch):
    from pack.host import downloads, streams

    monkeypatch.setattr(downloads, "address", lambda weights: f"{hub.url}{LINK}")
    monkeypatch.setattr(downloads, "PAUSE_S", 0)
    monkeypatch.setattr(streams, "TIMEOUT_S", 1.0)
    return downloads


@pytest.fixture
def weights(host):
    from pack.preprocessors.spec import Weights

    return Weights(
        "tiny.safetensors",
        "someone/nets",
        nn.Identity,
        "MIT",
        sha256=SHA256,
        size_bytes=len(CONTENT),
    )


def ignore(*_): ...


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- the lies --------------------------------------------------------------------------------------


def only_get(lie: Callable[[Ask], None]) -> Callable[[Ask], None]:
    """Answer questions about size and sha256 honestly, and lie in the file."""
    return lambda ask: ask.honest() if ask.method == "HEAD" else lie(ask)


def of_status(status: str, headers: str = "", body: bytes = b""):
    return lambda ask: ask.answer(status, headers, body)


def body(headers: str, content: bytes):
    return only_get(lambda ask: ask.answer("200 OK", headers, content))


def endless(ask: Ask) -> None:
    ask.answer("200 OK", "Transfer-Encoding: chunked\r\n")
    block = b"10000\r\n" + b"\1" * 65536 + b"\r\n"
    with contextlib.suppress(OSError):
        for _ in range(2000):  # 130 MB
            ask.connection.sendall(block)


def stalled(ask: Ask) -> None:
    ask.answer("200 OK", f"Content-Length: {len(CONTENT)}\r\n", CONTENT[:1000])
    time.sleep(3)


def ranged(begin_shift: int, whole_shift: int):
    """Answer a request for a part with another part, or with that of another file."""

    def lie(ask: Ask) -> None:
        if not ask.offset:
            return ask.answer("200 OK", f"Content-Length: {len(CONTENT)}\r\n", CONTENT[:500_000])
        span = f"bytes {ask.offset + begin_shift}-{len(CONTENT) - 1}/{len(CONTENT) + whole_shift}"
        rest = CONTENT[ask.offset :]
        return ask.answer("206 Partial Content", f"Content-Range: {span}\r\n", rest)

    return only_get(lie)


BOMB = zlib.compressobj(9, wbits=31)
GZIP = BOMB.compress(bytes(50_000_000)) + BOMB.flush()
OTHER = CONTENT[:-1] + b"!"
LENGTH = f"Content-Length: {len(CONTENT)}\r\n"
HTML = "Content-Type: text/html; charset=utf-8\r\n"
# name: (the lie, words of the sentence for the pinned file, and for the other where they differ)
LIES: dict[str, tuple[Callable[[Ask], None], str] | tuple[Callable[[Ask], None], str, str]] = {
    "a login page": (of_status("200 OK", HTML, PAGE), "web page instead of the file"),
    "a login page without a type": (
        of_status("200 OK", "", PAGE),
        "the server offers 51",
        "found|damaged|text file|another file",
    ),
    "a page as long as the file": (
        body(HTML + LENGTH, PAGE.ljust(len(CONTENT))),
        "web page instead of the file",
    ),
    "sent on to a page": (
        lambda ask: (
            ask.answer("200 OK", HTML, PAGE)
            if ask.path.endswith("login")
            else ask.answer("302 Found", "Location: /someone/login\r\n")
        ),
        "web page instead of the file",
    ),
    "another file of the same size": (body(LENGTH, OTHER), "received another file"),
    "a shorter file": (body("", CONTENT[:-9]), "the server offers 2,0"),
    "a longer file": (body("", CONTENT + b"more"), "the server offers 2,0"),
    "a body without an end": (only_get(endless), "received another file"),
    "packed by gzip": (body("Content-Encoding: gzip\r\n", GZIP), r"packed the file \(gzip\)"),
    "packed by br": (body("Content-Encoding: br\r\n" + LENGTH, CONTENT), r"packed .*\(br\)"),
    "empty answers": (only_get(of_status("200 OK")), "after 0 of 2,0"),
    "nothing at all": (lambda ask: None, "could not be downloaded"),
    "no HTTP": (lambda ask: ask.send(b"220 ftp ready\r\n"), "could not be downloaded"),
    "half a head": (lambda ask: ask.send(b"HTTP/1.1 200 OK\r\nContent-"), "could not be down"),
    "a line that goes dead": (only_get(stalled), "could not be downloaded"),
    "ends after 1,000 bytes": (
        only_get(lambda ask: ask.answer("200 OK", LENGTH, CONTENT[:1000])),
        "after 1,000 of 2,0",
    ),
    "a length that is a word": (
        of_status("200 OK", "Content-Length: many\r\n", CONTENT),
        "could not be downloaded",
    ),
    "a negative length": (
        of_status("200 OK", "Content-Length: -5\r\n", CONTENT),
        "could not be downloaded",
    ),
    "a length of a petabyte": (
        of_status("200 OK", f"Content-Length: {10**15}\r\n", CONTENT),
        "the server offers 1,000,000,000,000,000",
    ),
    "no part of it": (
        only_get(
            lambda ask: (
                ask.answer("416 Range Not Satisfiable")
                if ask.offset
                else ask.answer("200 OK", LENGTH, CONTENT[:1000])
            )
        ),
        "no such part of the file",
    ),
    "always 416": (only_get(of_status("416 Range Not Satisfiable")), r"416"),
    "a part that nobody asked for": (
        only_get(of_status("206 Partial Content", "Content-Range: bytes 0-9/10\r\n", b"x" * 10)),
        "a part of the file, the whole was asked for",
    ),
    "another part": (ranged(-100, 0), "another part of the file"),
    "a part of another file": (ranged(0, 1000), "the server offers 2,0"),
    "a part without its place": (
        only_get(
            lambda ask: ask.answer(
                "206 Partial Content", "Content-Range: chapter two\r\n", CONTENT[ask.offset :]
            )
        ),
        "another part of the file",
    ),
    "no content": (only_get(of_status("204 No Content")), "answered 204 instead of a file"),
    "a redirect in a circle": (
        of_status("302 Found", f"Location: {LINK}\r\n"),
        "could not be downloaded",
    ),
    "a redirect to a file": (
        of_status("302 Found", "Location: file:///etc/passwd\r\n"),
        "could not be downloaded",
    ),
    "too many requests": (of_status("429 Too Many Requests"), "too much was asked of it"),
    "out of order, at length": (
        of_status("503 Service Unavailable", "Transfer-Encoding: chunked\r\n", b"10000\r\n"),
        "the server answered 503",
    ),
    "forbidden, with a page": (of_status("403 Forbidden", HTML, PAGE * 1000), "answered 403"),
    "no file": (
        of_status("404 Not Found", "X-Error-Code: EntryNotFound\r\n"),
        "it is not at that address",
    ),
}
assert len(LIES) >= 30
WAITS = "a line that goes dead"  # as long as the client waits for it


def _each_lie():
    """List the names of the lies, the one that takes long as slow; on older hosts a few.

    Downloads do not ask ComfyUI anything.
    """
    return [
        pytest.param(lie, marks=pytest.mark.slow if lie == WAITS else ())
        for lie in hosts.cross_section(list(LIES), 6)
    ]


@pytest.mark.parametrize("is_pinned", [True, False], ids=["pinned", "unpinned"])
@pytest.mark.parametrize("lie", _each_lie())
def test_a_lie_is_a_sentence_and_spoils_nothing(
    downloads, hub, weights, tmp_path, lie, is_pinned, monkeypatch
):
    wanted = weights if is_pinned else replace(weights, sha256="", size_bytes=0)
    answer, *words = LIES[lie]
    hub.lie = answer
    largest = []

    def watch(done: int, total: int) -> None:
        largest.append(sum(path.stat().st_size for path in tmp_path.iterdir()))

    began_s = time.monotonic()
    with pytest.raises(RuntimeError, match=words[0] if is_pinned else words[-1]) as refused:
        downloads.fetch(wanted, tmp_path, watch, ignore)
    sentence = str(refused.value)
    assert time.monotonic() - began_s < 15
    assert sentence.startswith("tiny.safetensors was not found and could not be downloaded: ")
    assert sentence.endswith(f"Download it from {hub.url}{LINK} and put it into {tmp_path}.")
    assert len(sentence) < 600
    assert set(names(tmp_path)) <= {"tiny.safetensors.part"}
    assert max(largest, default=0) <= len(CONTENT)
    hub.lie = None
    path = downloads.fetch(wanted, tmp_path, ignore, ignore)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["tiny.safetensors"]


@pytest.mark.parametrize("is_pinned", [True, False], ids=["pinned", "unpinned"])
def test_what_only_looks_like_a_lie_is_downloaded(downloads, hub, weights, tmp_path, is_pinned):
    """A server without lengths, without ranges, or that says `identity`."""
    wanted = weights if is_pinned else replace(weights, sha256="", size_bytes=0)
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part)
        for part in (*(CONTENT[i : i + 50_000] for i in range(0, len(CONTENT), 50_000)), b"")
    )
    answers = {
        "chunked": only_get(of_status("200 OK", "Transfer-Encoding: chunked\r\n", chunks)),
        "identity": only_get(of_status("200 OK", "Content-Encoding: identity\r\n", CONTENT)),
        "no ranges": only_get(of_status("200 OK", "Accept-Ranges: none\r\n", CONTENT)),
    }  # fmt: skip
    for name, answer in answers.items():
        hub.lie = answer
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.safetensors.part").write_bytes(CONTENT[:1000])
        assert downloads.fetch(wanted, tmp_path / name, ignore, ignore).read_bytes() == CONTENT


def test_a_file_that_no_hash_vouches_for_must_be_one_of_weights(
    downloads, hub, weights, tmp_path, monkeypatch
):
    """Where neither our table nor the hub has a sha256, the file itself is looked at."""
    unknown = replace(weights, sha256="", size_bytes=0)
    for file, content, words in (
        ("a.safetensors", b"Please log in.", "not a safetensors file|text file"),
        ("a.safetensors", CONTENT + b"more", "is damaged"),
        ("a.pth", b"Please log in.", "does not contain weights"),
        ("a.bin", b"PK\x03\x04" + bytes(3000), "is damaged or cut short"),
    ):

        def answer(ask: Ask, content: bytes = content) -> None:
            ask.send(
                f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(content)}"
                "\r\n\r\n".encode(),
                b"" if ask.method == "HEAD" else content,
            )

        hub.lie = answer
        with pytest.raises(RuntimeError, match=words):
            downloads.fetch(replace(unknown, file=file), tmp_path, ignore, ignore)
        assert names(tmp_path) == []


# -- stop ------------------------------------------------------------------------------------------


class StopError(Exception): ...


def dripping(ask: Ask) -> None:
    ask.answer("200 OK", f"Content-Length: {len(CONTENT)}\r\n", CONTENT[:5000])
    with contextlib.suppress(OSError):
        for byte in CONTENT[5000:5100]:
            time.sleep(0.1)
            ask.connection.sendall(bytes([byte]))


SLOW = {
    "a byte now and then": only_get(dripping),
    "a line that goes dead": only_get(lambda ask: (stalled(ask), time.sleep(8))),
    "no answer": only_get(lambda ask: time.sleep(8)),
    "no answer about the size": lambda ask: time.sleep(8),
}


@pytest.mark.alone
@pytest.mark.parametrize("case", SLOW)
def test_stop_is_heard_within_a_second(downloads, hub, weights, tmp_path, case, monkeypatch):
    monkeypatch.setattr(sys.modules["pack.host.streams"], "TIMEOUT_S", 30.0)
    hub.lie = SLOW[case]
    unknown = replace(weights, sha256="", size_bytes=0)
    pressed_s = time.monotonic() + 1.5

    def stop(*_):
        if time.monotonic() > pressed_s:
            raise StopError

    with pytest.raises(StopError):
        downloads.fetch(unknown, tmp_path, stop, ignore)
    assert time.monotonic() - pressed_s < 1
    assert set(names(tmp_path)) <= {"tiny.safetensors.part"}
    hub.lie = None
    assert downloads.fetch(unknown, tmp_path, ignore, ignore).read_bytes() == CONTENT
    assert names(tmp_path) == ["tiny.safetensors"]


# -- secrets ---------------------------------------------------------------------------------------


def test_secrets_are_not_in_sentences_or_logs(
    downloads, hub, weights, tmp_path, monkeypatch, caplog
):
    """User, password and token are sent, and shown nowhere."""
    caplog.set_level("DEBUG")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    lines = []
    place = hub.url.removeprefix("http://")
    monkeypatch.setattr(
        downloads, "address", lambda _: f"http://me:hunter2@{place}{LINK}?sig=s3cr3t"
    )
    hub.lie = lambda ask: ask.answer(
        "302 Found", f"Location: http://127.0.0.1:1/{ask.headers['authorization']}?sig=s3cr3t\r\n"
    )
    unknown = replace(weights, sha256="", size_bytes=0)
    with pytest.raises(RuntimeError, match="could not be downloaded") as refused:
        downloads.fetch(unknown, tmp_path, ignore, lines.append)
    assert hub.asked[-1].headers["authorization"].startswith("basic ")
    shown = " ".join([str(refused.value), *lines, *(r.getMessage() for r in caplog.records)])
    assert f"{hub.url}{LINK} and put it" in shown
    ours = str(refused.value) + " ".join(lines)
    for secret in ("hunter2", "hf_secret"):
        assert secret not in shown
    assert "s3cr3t" not in ours
    hub.lie = None
    monkeypatch.setattr(downloads, "address", lambda _: f"{hub.url}{LINK}")
    downloads.fetch(unknown, tmp_path, ignore, ignore)
    assert hub.asked[-1].headers["authorization"] == "bearer hf_secret"


def test_a_token_that_cannot_be_sent_is_a_sentence(downloads, hub, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_zero\u200bwidth")
    for wanted in (weights, replace(weights, sha256="", size_bytes=0)):
        with pytest.raises(RuntimeError, match=r"the token \(HF_TOKEN\) contains characters"):
            downloads.fetch(wanted, tmp_path, ignore, ignore)
    assert hub.asked == []


@pytest.mark.parametrize("endpoint", ["", "http://[::1", "hub.example", "ftp://hub.example"])
def test_an_endpoint_that_is_not_an_address_is_a_sentence(
    host, weights, tmp_path, monkeypatch, endpoint
):
    """The library reads HF_ENDPOINT when it is imported, into this template."""
    import huggingface_hub.constants

    from pack.host import downloads

    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    with pytest.raises(RuntimeError, match="HF_ENDPOINT is not an address") as refused:
        downloads.fetch(weights, tmp_path, ignore, ignore)
    assert str(refused.value).endswith(
        f"Download it from https://huggingface.co{LINK} and put it into {tmp_path}."
    )


# -- two processes, and one that is killed ---------------------------------------------------------

FETCH = """
import sys
sys.path.insert(0, {tests!r})
import conftest
from workbench import hosts, inprocess
inprocess.open_host(hosts.find()[0])
from pathlib import Path
from torch import nn
from pack.host import downloads
from pack.preprocessors.spec import Weights
downloads.address = lambda _: {url!r}
weights = Weights("tiny.safetensors", "someone/nets", nn.Identity, "MIT", **{pins!r})
print("ready", flush=True)
sys.stdin.readline()
path = downloads.fetch(weights, Path({folder!r}), lambda *_: None, lambda _: None)
print("fetched", path.stat().st_size, flush=True)
"""


def fetching(hub: Hub, folder: Path) -> subprocess.Popen[str]:
    pins = {"sha256": SHA256, "size_bytes": len(CONTENT)}
    code = FETCH.format(
        tests=str(Path(__file__).parents[1]), url=f"{hub.url}{LINK}", pins=pins, folder=str(folder)
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def slowly(ask: Ask) -> None:
    """Send the file over two seconds."""
    ask.answer(
        "206 Partial Content" if ask.offset else "200 OK",
        f"Content-Length: {len(CONTENT) - ask.offset}\r\n"
        + (
            f"Content-Range: bytes {ask.offset}-{len(CONTENT) - 1}/{len(CONTENT)}\r\n"
            if ask.offset
            else ""
        ),
    )
    for at in range(ask.offset, len(CONTENT), 50_000):
        time.sleep(0.05)
        ask.send(CONTENT[at : at + 50_000])


@pytest.mark.slow
def test_two_processes_share_a_download_and_a_killed_one_is_resumed(
    downloads, hub, weights, tmp_path
):
    """One process is killed half way; two others then need the file at once, and ask once."""
    hub.lie = only_get(slowly)
    killed, other = processes = [fetching(hub, tmp_path) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    killed.stdin.write("\n")
    killed.stdin.flush()
    part = tmp_path / "tiny.safetensors.part"
    until_s = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 300_000):
        assert time.monotonic() < until_s
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    killed.wait()
    assert set(names(tmp_path)) == {"tiny.safetensors.part", "tiny.safetensors.part.lock"}
    came = part.stat().st_size
    other.stdin.write("\n")
    other.stdin.flush()
    assert downloads.fetch(weights, tmp_path, ignore, ignore).read_bytes() == CONTENT
    assert other.stdout.readline() == f"fetched {len(CONTENT)}\n"
    assert other.wait(20) == 0
    assert (tmp_path / "tiny.safetensors").read_bytes() == CONTENT
    assert names(tmp_path) == ["tiny.safetensors"]
    assert [ask.offset for ask in hub.asked] == [0, came]


@pytest.mark.parametrize("is_pinned", [True, False], ids=["pinned", "unpinned"])
def test_threads_share_a_download(downloads, hub, weights, tmp_path, is_pinned):
    hub.lie = only_get(slowly)
    wanted = weights if is_pinned else replace(weights, sha256="", size_bytes=0)
    results = []

    def one():
        results.append(downloads.fetch(wanted, tmp_path, ignore, ignore).read_bytes() == CONTENT)

    threads = [threading.Thread(target=one) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [True] * 5
    assert names(tmp_path) == ["tiny.safetensors"]
    assert [ask.method for ask in hub.asked].count("GET") == 1


@pytest.mark.alone
def test_stop_is_heard_while_another_process_downloads(downloads, weights, tmp_path):
    from pack.host.locks import locked

    pressed_s = time.monotonic() + 0.5

    def stop(*_):
        if time.monotonic() > pressed_s:
            raise StopError

    with locked(tmp_path / "tiny.safetensors.part.lock", ignore), pytest.raises(StopError):
        downloads.fetch(weights, tmp_path, stop, ignore)
    assert time.monotonic() - pressed_s < 1
    assert names(tmp_path) == []
