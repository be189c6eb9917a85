"""Store and give drawings: POST /controlstack/drawings, GET /controlstack/drawings/NAME.

A drawing is stored under its sha256: a POST replaces nothing, and nothing but a drawing is stored.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from ..preprocessors.strokes import MOST_BYTES, DrawingError
from .answers import RequestError
from .drawing_files import read_drawing, store_drawing
from .request_bodies import HEADERS, body_of, refuse_foreign

Handler = Callable[[web.Request], Awaitable[web.Response]]


def register(routes: web.RouteTableDef, prefix: str) -> None:
    """Add the routes of drawings; files are read and written one after another, by one thread."""
    worker = ThreadPoolExecutor(1, thread_name_prefix="controlstack-drawings")

    async def off_the_loop(work: Callable[[Any], Any], argument: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(worker, work, argument)

    async def store(request: web.Request) -> web.Response:
        content = await body_of(request, MOST_BYTES)
        name = await off_the_loop(store_drawing, content)
        return web.json_response({"name": name}, status=201, headers=HEADERS)

    async def read(request: web.Request) -> web.Response:
        refuse_foreign(request)
        text = await off_the_loop(read_drawing, request.match_info["name"])
        return web.json_response(text=text, headers=HEADERS)

    routes.post(f"{prefix}/drawings")(_answering(store, 400))
    routes.get(f"{prefix}/drawings/{{name}}")(_answering(read, 404))


def _answering(handle: Handler, refusal: int) -> Handler:
    """Turn errors into answers: `refusal` is the status for a drawing that is refused."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return await handle(request)
        except RequestError as error:
            return _error(error.status, str(error))
        except DrawingError as error:
            return _error(refusal, str(error))
        except OSError as error:  # with a sentence: the disk is full, or not to be written
            logging.warning("[ControlStack] %s", error)
            return _error(507, str(error))
        except Exception:
            logging.exception("[ControlStack] %s failed", request.path)
            return _error(500, "failed; see the server's log")

    return answer


def _error(status: int, sentence: str) -> web.Response:
    body = json.dumps({"error": sentence})
    return web.json_response(text=body, status=status, headers=HEADERS)
