"""Run ComfyUI on a base directory of its own: start it, drive it over HTTP, always stop it.

Plain requests use urllib, so that they may be made from anywhere, even while a run is followed; a
run is followed over aiohttp's websocket.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .hosts import ROOT, Host

FLAGS = (
    "--disable-api-nodes",
    "--disable-auto-launch",
    "--use-pytorch-cross-attention",  # the default on a CPU is several times slower
)
MODEL_FOLDERS = ("checkpoints", "controlnet", "model_patches")
NOT_COPIED = shutil.ignore_patterns(
    ".*", "__pycache__", "node_modules", "demo", "tests", "benchmarks", "workbench", "output"
)
COPY_MARK = "copied-by-controlstack"
# By the name that each has in custom_nodes, whatever its folder is called here.
PACKS = {"controlstack": ROOT, "tiny_family": ROOT / "workbench" / "tiny_family"}


class HostError(RuntimeError):
    """The host could not be started, or a run failed; the message says why."""


class RefusedError(HostError):
    """Raised where ComfyUI does not accept a prompt: `node_errors` by node id, as it gave them."""

    def __init__(self, message: str, node_errors: dict[str, Any]):
        super().__init__(message)
        self.node_errors = node_errors


@dataclass(frozen=True)
class Progress:
    """How far one node is; `value` counts to `maximum` (a sampler counts its steps)."""

    node: str
    value: float
    maximum: float


@dataclass
class Result:
    """What a run leaves: outputs by node id, the nodes taken from the cache, and how it ended.

    `ran`: the nodes that were executed, in this order, those of an expanded node too.
    """

    prompt_id: str
    outputs: dict[str, Any] = field(default_factory=dict)
    cached: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0

    def images(self, node: str) -> list[dict[str, str]]:
        """Return the records of a node's images, for `Server.image`."""
        return self.outputs.get(node, {}).get("images", [])


@dataclass(frozen=True)
class Server:
    """A running host."""

    host: Host
    base: Path
    address: str
    log: Path
    process: subprocess.Popen[bytes]

    def ask(self, path: str, body: Any = None, *, method: str = "") -> Any:
        """Return the JSON (or bytes) that ComfyUI answers; a `body` makes it a POST."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data, {"Content-Type": "application/json"}
        )
        request.method = method or ("GET" if body is None else "POST")
        with _no_proxy.open(request, timeout=60) as answer:
            content = answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            return json.loads(content) if is_json else content

    def image(self, record: Mapping[str, str]):
        """Return a picture of a run's outputs as a PIL image."""
        from PIL import Image

        return Image.open(io.BytesIO(self.ask("/view?" + urllib.parse.urlencode(record))))

    def interrupt(self) -> None:
        """Cancel the run."""
        self.ask("/interrupt", {})

    def free(self) -> None:
        """Unload every model and forget every cached result.

        ComfyUI does it between runs, whenever it comes to it; after a run of next to nothing it
        has.
        """
        self.ask("/free", {"unload_models": True, "free_memory": True})
        self.run(NEXT_TO_NOTHING)

    def run(
        self, prompt: dict[str, Any], on_progress: Callable[[Progress], None] = lambda _: None
    ) -> Result:
        """Queue `prompt` (API form) and follow it to its end.

        Raises RefusedError where ComfyUI does not accept it, HostError where a node fails or the
        process dies.
        """
        return asyncio.run(_follow(self, prompt, on_progress))

    def tail(self, lines: int = 40) -> str:
        """Return the end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


NEXT_TO_NOTHING = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0},
    },
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}

# No proxy of the environment between us and our own machine.
_no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def place(pack: Path, custom_nodes: Path, name: str) -> Path:
    """Put a pack among a base directory's packs: a link, or a copy without the right to link.

    Raises HostError where something is in its place that we did not put there.
    """
    link = custom_nodes / name
    custom_nodes.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    elif (link / COPY_MARK).exists():
        shutil.rmtree(link)
    elif link.exists():
        raise HostError(
            f"{link} is in the way: expected nothing or a link there. Move it away, or choose"
            " another folder"
        )
    try:
        link.symlink_to(pack.resolve(), target_is_directory=True)
    except OSError:
        shutil.copytree(pack, link, ignore=NOT_COPIED)
        (link / COPY_MARK).touch()
    return link


@contextlib.contextmanager
def running(
    host: Host,
    base: Path,
    *,
    packs: Mapping[str, Path] = PACKS,
    cpu: bool = True,
    timeout_s: float = 240,
    page: Path | None = None,
) -> Iterator[Server]:
    """Run `host` on `base` with `packs` beside those already there; always stop it at the end.

    `page` is the folder of another frontend than ComfyUI's own (its `static`).

    Raises HostError, with the end of the log, when it does not start or one of the packs fails to
    load.
    """
    base.mkdir(parents=True, exist_ok=True)
    for name, folder in packs.items():
        place(folder, base / "custom_nodes", name)
    for folder in (
        "input",
        "output",
        "temp",
        "user",
        *(f"models/{name}" for name in MODEL_FOLDERS),
    ):
        (base / folder).mkdir(parents=True, exist_ok=True)
    log = base / "host.log"
    port = _free_port()
    with _ending_on_signals(), log.open("wb") as lines:
        process = None
        try:
            # A signal in between would leave a ComfyUI that nobody stops.
            with _held(signal.SIGINT, *_polite()):
                process = subprocess.Popen(
                    [
                        sys.executable,
                        "main.py",
                        *_flags(host, base, port, cpu=cpu),
                        *_page_flags(page),
                    ],
                    cwd=host.path,
                    stdout=lines,
                    stderr=subprocess.STDOUT,
                    env=_surroundings(),
                    # We handle a Ctrl-C in the terminal: ComfyUI is stopped below, once.
                    **(
                        {"creationflags": 0x200} if os.name == "nt" else {"start_new_session": True}
                    ),
                )
            server = Server(host, base, f"http://127.0.0.1:{port}", log, process)
            _wait(server, timeout_s)
            _check_packs(server)
            yield server
        finally:
            if process is not None:
                _stop(process)


def _flags(host: Host, base: Path, port: int, *, cpu: bool) -> list[str]:
    """Return command-line flags: of ours, those that this version of ComfyUI declares."""
    declared = (host.path / "comfy" / "cli_args.py").read_text(encoding="utf-8")
    flags = [flag for flag in (*FLAGS, *(("--cpu",) if cpu else ())) if f'"{flag}"' in declared]
    return [
        *("--listen", "127.0.0.1", "--port", str(port)),
        *("--base-directory", str(base), "--database-url", "sqlite:///:memory:"),
        *flags,
    ]


def _page_flags(page: Path | None) -> list[str]:
    return [] if page is None else ["--front-end-root", str(page)]


def _surroundings() -> dict[str, str]:
    """Return an environment without network, and without bytecode in ComfyUI's folder."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ours = {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    return inherited | ours


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(server: Server, timeout_s: float) -> None:
    ends = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError):
            server.ask("/system_stats")
            return
        if server.process.poll() is not None:
            raise HostError(
                f"ComfyUI {server.host.version} ended while starting; its log ends"
                f" with:\n{server.tail()}"
            )
        if time.monotonic() > ends:
            raise HostError(
                f"ComfyUI {server.host.version} did not answer within {timeout_s:.0f} s; its log"
                f" ends with:\n{server.tail()}"
            )
        time.sleep(0.2)


def _check_packs(server: Server) -> None:
    """Raise HostError when a pack failed to load, which ComfyUI only logs.

    Its own optional nodes may fail.
    """
    log = server.log.read_text(errors="replace")
    failed = [
        line for line in log.splitlines() if "(IMPORT FAILED)" in line and "custom_nodes" in line
    ]
    if failed:
        before = "\n".join(log.partition("Import times for custom nodes")[0].splitlines()[-30:])
        raise HostError(
            f"ComfyUI {server.host.version} could not load {failed[0].split()[-1]}; its log"
            f" says:\n{before}"
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _polite() -> list[signal.Signals]:
    """List the signals that ask a process to end: kill, and a closed terminal."""
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Unwind the stack when this process is asked to end, so that ComfyUI is stopped too."""
    with _handled(_polite(), _exit):
        yield


@contextlib.contextmanager
def _held(*signals: signal.Signals) -> Iterator[None]:
    """Delay signals within the block until its end."""
    received: list[int] = []
    with _handled(signals, lambda number, _: received.append(number)):
        yield
    for number in received:
        signal.raise_signal(number)


@contextlib.contextmanager
def _handled(
    signals: Iterable[signal.Signals], handler: Callable[[int, object], object]
) -> Iterator[None]:
    """Install `handler` for these signals, except ignored ones; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        each: signal.signal(each, handler)
        for each in signals
        if signal.getsignal(each) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for each, handler_before in before.items():
            signal.signal(each, handler_before)


def _exit(number: int, _frame: object) -> None:
    sys.exit(128 + number)


async def _follow(
    server: Server, prompt: dict[str, Any], on_progress: Callable[[Progress], None]
) -> Result:
    import aiohttp

    began = time.monotonic()
    client = uuid.uuid4().hex
    async with (
        aiohttp.ClientSession(server.address) as session,
        session.ws_connect(f"/ws?clientId={client}", max_msg_size=0) as socket_,
    ):
        async with session.post("/prompt", json={"prompt": prompt, "client_id": client}) as answer:
            reply = await answer.json()
            if answer.status != 200:
                raise RefusedError(_refusal(reply), reply.get("node_errors") or {})
        result = Result(reply["prompt_id"])
        async for message in socket_:
            if message.type == aiohttp.WSMsgType.TEXT and _note(
                json.loads(message.data), result, on_progress
            ):
                break
        else:
            raise HostError(
                f"ComfyUI ended in the middle of a run; its log ends with:\n{server.tail()}"
            )
        result.outputs = await _history(session, result)
    result.seconds = time.monotonic() - began
    return result


def _note(
    message: Mapping[str, Any], result: Result, on_progress: Callable[[Progress], None]
) -> bool:
    """Take one message in; return whether it is the run's last.

    Raises HostError when a node failed.
    """
    kind, data = message["type"], message.get("data", {})
    if data.get("prompt_id") != result.prompt_id:
        return False
    if kind == "execution_error":
        raise HostError(
            f"node {data['node_id']} ({data['node_type']}) failed:"
            f" {data['exception_message'].strip()}\n" + "".join(data["traceback"])
        )
    if kind == "execution_cached":
        result.cached = list(data["nodes"])
    if kind == "executing" and data.get("node") is not None:
        result.ran.append(data["node"])
    if kind == "progress_state":
        for node, state in data["nodes"].items():
            if state["state"] != "pending":
                on_progress(Progress(node, state["value"], state["max"]))
    result.interrupted = kind == "execution_interrupted"
    return kind in ("execution_success", "execution_interrupted")


async def _history(session: Any, result: Result) -> dict[str, Any]:
    """Return the outputs of a run: `execution_success` is sent before the history has them."""
    for _ in range(200):
        async with session.get(f"/history/{result.prompt_id}") as answer:
            entry = (await answer.json()).get(result.prompt_id)
        if entry is not None:
            return entry["outputs"]
        await asyncio.sleep(0.05)
    raise HostError(
        f"ComfyUI's history does not list run {result.prompt_id} ten seconds after its end"
    )


def _refusal(reply: Mapping[str, Any]) -> str:
    sentences = [reply["error"]["message"]]
    for node, errors in (reply.get("node_errors") or {}).items():
        details = "; ".join(
            f"{error['message']} ({error['details']})" for error in errors["errors"]
        )
        sentences.append(f"node {node} ({errors['class_type']}): {details}")
    return "\n".join(sentences)
