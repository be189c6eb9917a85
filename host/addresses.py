"""Addresses of downloads: what is asked for, and what may be shown of it in sentences and logs."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

from ..preprocessors.spec import Weights

HUB = "https://huggingface.co"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)


class AddressError(ValueError):
    """HF_ENDPOINT, from which the address is made, is not an address."""


def address(weights: Weights) -> str:
    """Return the URL that the file is downloaded from; HF_ENDPOINT counts.

    Raises AddressError where that is not an address.
    """
    try:
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(weights.repo, weights.remote or weights.file, revision=weights.revision)
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # the library reads HF_ENDPOINT when it is imported
        is_usable, url = False, ""
    if not is_usable:
        raise AddressError(
            f"HF_ENDPOINT is not an address: expected one like {HUB}, or no such variable"
        )
    return url


def shown_address(weights: Weights) -> str:
    """Return the address as sentences show it; the hub's own where HF_ENDPOINT is unusable."""
    try:
        return public(address(weights))
    except AddressError:
        file = weights.remote or weights.file
        return f"{HUB}/{weights.repo}/resolve/{weights.revision}/{file}"


def public(url: str) -> str:
    """Return a URL without user, password, query and fragment, which may be secrets."""
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, place, parts.path, "", ""))
    except ValueError:
        return "an address that does not read"


def scrubbed(text: str) -> str:
    """Return a text of a library or a server without tokens and the secret parts of addresses."""
    from huggingface_hub import get_token

    text = _ADDRESS.sub(lambda match: public(match[0]), text)
    token = get_token() or ""
    return text.replace(token, "(token)") if len(token) > 3 else text


def request_of(url: str, token_headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return a URL without user and password, and the headers that carry them instead.

    So HTTP libraries, which log addresses, never see them. Raises ValueError where a header cannot
    be sent.
    """
    headers, parts = dict(token_headers), urlsplit(url)
    if "@" in parts.netloc:
        login, _, place = parts.netloc.rpartition("@")
        encoded = base64.b64encode(unquote(login).encode()).decode()
        headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        headers["Authorization"] = f"Basic {encoded}"
        url = urlunsplit(parts._replace(netloc=place))
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise AddressError(
            "the token (HF_TOKEN) contains characters that no token has: copy it again"
        )
    return url, headers
