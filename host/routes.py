"""Register the routes of our frontend that answer questions: each a POST with a small JSON body.

No workflow needs them. A request names files, never paths; it changes nothing, reads nothing
outside ComfyUI's folders and downloads nothing. Work is done off the event loop. Drawings have
routes of their own, in `drawing_routes`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from . import drawing_routes
from .answers import RequestError, hint, nets
from .progress import prompt_server
from .request_bodies import HEADERS, body_of

PREFIX = "/controlstack"
BODY_BYTES = 64 * 1024
MOST_ASKERS = 100
ASKER_CHARS = 200


class Newest:
    """Run one request at a time; of each asker's that wait only the newest, the others are refused.

    An asker is a node in a page: two pages, and two nodes of one page, do not get in each other's
    way.
    """

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="controlstack")
        self._turn = asyncio.Lock()
        self._newest: dict[str, object] = {}

    async def run(self, asker: str, work: Callable[[], Any]) -> Any:
        """Return what `work` returns, from the worker's thread.

        Raises RequestError (409) where a newer request of the same asker came while this one
        waited, and (429) where too many wait.
        """
        if asker not in self._newest and len(self._newest) >= MOST_ASKERS:
            raise RequestError(429, "too many requests wait: ask again later")
        ticket = self._newest[asker] = object()
        try:
            async with self._turn:
                if ticket is not self._newest.get(asker):
                    raise RequestError(409, "a newer request replaced this one")
                return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        finally:
            if self._newest.get(asker) is ticket:
                del self._newest[asker]


def register() -> None:
    """Add our routes to ComfyUI's server, once; tests and scripts have no server."""
    server = prompt_server()
    if server is None:
        return
    if any(getattr(route, "path", "").startswith(PREFIX) for route in server.routes):
        return
    server.routes.post(f"{PREFIX}/hint")(_handler(hint, "image/png"))
    server.routes.post(f"{PREFIX}/nets")(_handler(nets, "application/json"))
    drawing_routes.register(server.routes, PREFIX)


def _handler(answer: Callable[[dict[str, Any]], bytes], content_type: str):
    newest = Newest()

    async def handle(request: web.Request) -> web.Response:
        try:
            question = await _question(request)
            body = await newest.run(_asker(question), lambda: answer(question))
        except RequestError as error:
            return web.json_response({"error": str(error)}, status=error.status, headers=HEADERS)
        except Exception:
            logging.exception("[ControlStack] %s failed", request.path)
            return web.json_response(
                {"error": "failed; see the server's log"}, status=500, headers=HEADERS
            )
        return web.Response(body=body, content_type=content_type, headers=HEADERS)

    return handle


def _asker(question: dict[str, Any]) -> str:
    """Take the name of the node that asks out of a question; "" for one without a name."""
    asker = question.pop("asker", "")
    if not isinstance(asker, str) or len(asker) > ASKER_CHARS:
        raise RequestError(400, f"asker: expected a text of at most {ASKER_CHARS} characters")
    return asker


async def _question(request: web.Request) -> dict[str, Any]:
    """Read the JSON object of a request, at most BODY_BYTES. Raises RequestError otherwise."""
    body = await body_of(request, BODY_BYTES)
    try:
        question = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "expected JSON") from error
    if not isinstance(question, dict):
        raise RequestError(400, "expected a JSON object")
    return question
