"""What our page asks of the server: two questions, each a POST with a small JSON, answered off the
event loop.

Nothing here is needed to run a workflow. A question names files, never paths; it changes nothing,
reads nothing outside the host's folders, and fetches nothing. JSON as the content type makes a
browser ask before another site may send one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from .answers import Refused, hint, nets

PREFIX = "/controlstack"
BODY_BYTES = 64 * 1024
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Newest:
    """One worker. Of the requests that wait for it only the newest is done; the older are refused."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="controlstack")
        self._turn = asyncio.Lock()
        self._newest = object()

    async def run(self, work: Callable[[], Any]) -> Any:
        """What `work` gives, from the worker's thread. Raises Refused where a newer request came
        while it waited.
        """
        ticket = self._newest = object()
        async with self._turn:
            if ticket is not self._newest:
                raise Refused(409, "a newer request took the place of this one")
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)


def register() -> None:
    """Put our routes on the host's server, once; without a server (in tests, in scripts) there is
    nothing to do.
    """
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is None or any(
        getattr(route, "path", "").startswith(PREFIX) for route in server.routes
    ):
        return
    server.routes.post(f"{PREFIX}/hint")(_handler(hint, "image/png"))
    server.routes.post(f"{PREFIX}/nets")(_handler(nets, "application/json"))


def _handler(answer: Callable[[dict[str, Any]], bytes], content_type: str):
    newest = Newest()

    async def handle(request: web.Request) -> web.Response:
        try:
            question = await _question(request)
            body = await newest.run(lambda: answer(question))
        except Refused as refused:
            return web.json_response(
                {"error": str(refused)}, status=refused.status, headers=HEADERS
            )
        except Exception:
            logging.exception("[ControlStack] %s failed", request.path)
            return web.json_response(
                {"error": "failed; see the server's log"}, status=500, headers=HEADERS
            )
        return web.Response(body=body, content_type=content_type, headers=HEADERS)

    return handle


async def _question(request: web.Request) -> dict[str, Any]:
    """The JSON object that was sent. Raises Refused for whatever else it is, before reading more
    than it may have.
    """
    if request.content_type != "application/json":
        raise Refused(415, f"expected application/json, found {request.content_type}")
    if _is_foreign(request):
        raise Refused(403, "this is for ComfyUI's own page")
    text = b""
    if (request.content_length or 0) <= BODY_BYTES:
        async for part in request.content.iter_chunked(BODY_BYTES):
            text += part
            if len(text) > BODY_BYTES:
                break
    if max(request.content_length or 0, len(text)) > BODY_BYTES:
        raise Refused(413, f"expected at most {BODY_BYTES} bytes")
    try:
        question = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "expected JSON") from error
    if not isinstance(question, dict):
        raise Refused(400, "expected a JSON object")
    return question


def _is_foreign(request: web.Request) -> bool:
    """Whether another site's page sends this: the host itself looks only where it is reached as
    localhost.
    """
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return True
    origin = request.headers.get("Origin")
    return (
        origin is not None
        and urlsplit(origin).netloc.lower() != request.headers.get("Host", "").lower()
    )
