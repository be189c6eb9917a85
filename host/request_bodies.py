"""Read the body of a request to one of our routes, and refuse what is not our frontend's.

The content type JSON makes a browser ask (CORS preflight) before another site may send one.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from .answers import RequestError

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_CHUNK_BYTES = 64 * 1024


async def body_of(request: web.Request, most_bytes: int) -> bytes:
    """Read a body of the type JSON, of at most so many bytes. Raises RequestError otherwise."""
    if request.content_type != "application/json":
        raise RequestError(415, f"expected application/json, found {request.content_type}")
    refuse_foreign(request)
    body = bytearray()
    try:
        if (request.content_length or 0) <= most_bytes:
            async for part in request.content.iter_chunked(_CHUNK_BYTES):
                body += part
                if len(body) > most_bytes:
                    break
    except (OSError, web.RequestPayloadError) as error:  # the client went away in its body
        raise RequestError(400, "the request broke off") from error
    if max(request.content_length or 0, len(body)) > most_bytes:
        raise RequestError(413, f"expected at most {most_bytes} bytes")
    return bytes(body)


def refuse_foreign(request: web.Request) -> None:
    """Raise RequestError (403) where another site's page asks."""
    if _is_foreign(request):
        raise RequestError(403, "only ComfyUI's own frontend may ask")


def _is_foreign(request: web.Request) -> bool:
    """Tell whether another site's page sends this; ComfyUI checks that on localhost only."""
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return True
    origin = request.headers.get("Origin")
    try:
        place = None if origin is None else urlsplit(origin).netloc.lower()
    except ValueError:  # no address: certainly not ours
        return True
    return place is not None and place != request.headers.get("Host", "").lower()
