"""Download weights from a hub on this machine that cuts, lies and refuses, onto disks that fill."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from torch import nn

CONTENT = bytes(range(256)) * 8192  # 2 MiB, several blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LINK = "/someone/nets/resolve/main/tiny.pth"


@dataclass
class Hub:
    """What the server sends, and what it was asked for."""

    url: str = ""
    content: bytes = CONTENT
    etag: str = SHA256
    ignores_ranges: bool = False
    refusal: tuple[int, str] | None = None
    """A status and the hub's code for it."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes each of the next connections ends."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, Range, Authorization) of every request for the file."""

    def ranges(self) -> list[str]:
        return [wanted for method, wanted, _ in self.asked if method == "GET"]


def handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_): ...

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, *, body: bool):
            wanted = self.headers.get("Range", "")
            if self.path == LINK:  # the library asks for more on its own account
                hub.asked.append((self.command, wanted, self.headers.get("Authorization", "")))
            if hub.refusal or self.path != LINK:
                status, code = hub.refusal or (404, "EntryNotFound")
                self.send_response(status)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first = (
                0
                if hub.ignores_ranges or not wanted
                else int(wanted.removeprefix("bytes=").rstrip("-"))
            )
            self.send_response(206 if first else 200)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hub.etag}"')
            self.send_header("Content-Length", str(len(hub.content) - first))
            self.end_headers()
            if body:
                rest = hub.content[first:]
                self.wfile.write(rest[: hub.cuts.pop(0)] if hub.cuts else rest)

    return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def downloads(host, hub, monkeypatch):
    from pack.host import downloads

    monkeypatch.setattr(downloads, "address", lambda weights: f"{hub.url}{LINK}")
    monkeypatch.setattr(downloads, "PAUSE_S", 0)
    return downloads


@pytest.fixture
def weights(host):
    from pack.preprocessors.spec import Weights

    return Weights(
        "tiny.pth",
        "someone/nets",
        nn.Identity,
        "research only",
        True,
        sha256=SHA256,
        size_bytes=len(CONTENT),
    )


def ignore(*_): ...


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_download_shows_the_licence_first_and_counts_its_bytes(downloads, hub, weights, tmp_path):
    lines, seen = [], []
    folder = tmp_path / "models" / "new"
    path = downloads.fetch(
        weights,
        folder,
        lambda *at: seen.append(at),
        lambda line: lines.append((line, list(hub.asked))),
    )
    assert path == folder / "tiny.pth"
    assert path.read_bytes() == CONTENT
    assert names(folder) == ["tiny.pth"]
    ((line, asked_before),) = lines
    assert (
        line
        == "Downloading tiny.pth of someone/nets, licence: research only. Its use is restricted."
    )
    assert asked_before == []
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))
    assert len(seen) > 4


def test_a_cut_connection_is_resumed(downloads, hub, weights, tmp_path):
    hub.cuts = [700_000, 900_000]
    assert downloads.fetch(weights, tmp_path, ignore, ignore).read_bytes() == CONTENT
    first, second, third = hub.ranges()
    assert first == ""
    assert 0 < int(second[6:-1]) <= 700_000
    assert int(second[6:-1]) < int(third[6:-1]) <= 1_600_000
    assert names(tmp_path) == ["tiny.pth"]


def test_cancelling_keeps_the_part_and_the_next_run_resumes_it(downloads, hub, weights, tmp_path):
    class CancelledError(Exception): ...

    def stop_half_way(done: int, total: int) -> None:
        if done > total / 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        downloads.fetch(weights, tmp_path, stop_half_way, ignore)
    assert names(tmp_path) == ["tiny.pth.part"]
    came = (tmp_path / "tiny.pth.part").stat().st_size
    assert came >= len(CONTENT) / 2
    assert downloads.fetch(weights, tmp_path, ignore, ignore).read_bytes() == CONTENT
    assert hub.ranges() == ["", f"bytes={came}-"]
    assert names(tmp_path) == ["tiny.pth"]


def test_a_server_without_ranges_starts_over(downloads, hub, weights, tmp_path):
    hub.ignores_ranges = True
    (tmp_path / "tiny.pth.part").write_bytes(b"x" * 1000)
    assert downloads.fetch(weights, tmp_path, ignore, ignore).read_bytes() == CONTENT


def test_a_whole_part_is_only_checked(downloads, hub, weights, tmp_path):
    (tmp_path / "tiny.pth.part").write_bytes(CONTENT)
    assert downloads.fetch(weights, tmp_path, ignore, ignore).read_bytes() == CONTENT
    assert hub.asked == []


@pytest.mark.parametrize(
    "left", [b"", b"x" * 1000, CONTENT + b"too long"], ids=["nothing", "a part", "too much"]
)
def test_a_file_with_another_content_is_refused_and_deleted(
    downloads, hub, weights, tmp_path, left
):
    hub.content = CONTENT[:-1] + b"!"
    (tmp_path / "tiny.pth.part").write_bytes(left)
    with pytest.raises(
        RuntimeError, match=rf"received another file: expected sha256 {SHA256}"
    ) as refused:
        downloads.fetch(weights, tmp_path, ignore, ignore)
    assert f"Download it from {hub.url}{LINK} and put it into {tmp_path}" in str(refused.value)
    assert names(tmp_path) == []


def test_the_hubs_hash_is_used_where_our_table_has_none(downloads, hub, weights, tmp_path):
    unknown = replace(weights, sha256="", size_bytes=0)
    assert downloads.fetch(unknown, tmp_path, ignore, ignore).read_bytes() == CONTENT
    hub.content = b"other" * 1000
    with pytest.raises(RuntimeError, match="received another file"):
        downloads.fetch(unknown, tmp_path / "again", ignore, ignore)
    assert names(tmp_path / "again") == []


def test_a_connection_that_never_lasts_raises_a_sentence(downloads, hub, weights, tmp_path):
    hub.cuts = [0] * 50
    with pytest.raises(
        RuntimeError,
        match=r"tiny.pth was not found and could not be downloaded: .*Download it from",
    ):
        downloads.fetch(weights, tmp_path, ignore, ignore)
    assert "tiny.pth" not in names(tmp_path)
    assert len(hub.asked) == downloads.TRIES


def test_a_missing_server_raises_a_sentence(downloads, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "address", lambda weights: f"http://127.0.0.1:1{LINK}")
    with pytest.raises(RuntimeError, match=r"could not be downloaded: .*127\.0\.0\.1:1"):
        downloads.fetch(weights, tmp_path, ignore, ignore)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "EntryNotFound", "it is not at that address"),
        (401, "RepoNotFound", "it is not at that address, or needs a token"),
        (403, "GatedRepo", "asks you to accept its terms first, and for a token"),
        (500, "", "500"),
    ],
)
@pytest.mark.parametrize("is_size_known", [True, False], ids=["size known", "size asked for"])
def test_a_refusal_says_what_is_missing(
    downloads, hub, weights, tmp_path, status, code, words, is_size_known
):
    hub.refusal = status, code
    weights = weights if is_size_known else replace(weights, size_bytes=0)
    with pytest.raises(RuntimeError, match=words):
        downloads.fetch(weights, tmp_path, ignore, ignore)
    assert names(tmp_path) == []


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="this system has no /dev/full to stand for a full disk"
)
def test_a_full_disk_gets_its_space_back(downloads, hub, weights, tmp_path):
    (tmp_path / "tiny.pth.part").symlink_to("/dev/full")
    with pytest.raises(RuntimeError, match="the disk is full; the incomplete download was deleted"):
        downloads.fetch(weights, tmp_path, ignore, ignore)
    assert names(tmp_path) == []


def test_huggingface_hub_before_1_0_uses_requests(downloads, hub, weights, tmp_path, monkeypatch):
    import huggingface_hub.utils
    import requests

    monkeypatch.setattr(huggingface_hub.utils, "get_session", requests.Session)
    monkeypatch.setattr(
        huggingface_hub.utils, "hf_raise_for_status", requests.Response.raise_for_status
    )
    hub.cuts = [700_000]
    assert downloads.fetch(weights, tmp_path, ignore, ignore).read_bytes() == CONTENT
    assert len(hub.ranges()) == 2


def test_mirror_and_token_are_honoured(host, hub, weights, tmp_path, monkeypatch):
    """The library reads HF_ENDPOINT when it is imported, into this template; HF_TOKEN each time."""
    import huggingface_hub.constants

    from pack.host import downloads

    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", "hf_ours")
    unknown = replace(weights, sha256="", size_bytes=0)
    assert downloads.fetch(unknown, tmp_path, ignore, ignore).read_bytes() == CONTENT
    assert hub.asked == [("HEAD", "", "Bearer hf_ours"), ("GET", "", "Bearer hf_ours")]


@pytest.mark.parametrize("is_size_known", [True, False], ids=["size known", "size asked for"])
def test_nothing_is_asked_for_offline(
    downloads, hub, weights, tmp_path, monkeypatch, is_size_known
):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        RuntimeError, match=r"downloads are switched off \(HF_HUB_OFFLINE\)"
    ) as refused:
        downloads.fetch(
            weights if is_size_known else replace(weights, size_bytes=0), tmp_path, ignore, ignore
        )
    assert f"Download it from {hub.url}{LINK} and put it into {tmp_path}." in str(refused.value)
    assert hub.asked == []
    assert names(tmp_path) == []
