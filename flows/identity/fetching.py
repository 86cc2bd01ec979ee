"""Requests to the issuer: bounded in time and size, over https alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import orjson

from flows.identity.errors import IssuerUnavailable
from flows.identity.options import is_loopback, is_safe

# For one request, from its beginning to the last byte of the answer.
LIMIT_SECONDS = 5.0
MOST_BYTES = 512 * 1024


class Bounded(httpx.SyncByteStream):
    """The body of an answer. Raises httpx.ReadError where it is too long or comes too slowly."""

    def __init__(self, stream: Any, until: float) -> None:
        self._stream = stream
        self._until = until

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for piece in self._stream:
            size += len(piece)
            if size > MOST_BYTES:
                raise httpx.ReadError("the answer is too long")
            if time.monotonic() > self._until:
                raise httpx.ReadError("the answer takes too long")
            yield piece

    def close(self) -> None:
        self._stream.close()


def client() -> httpx.Client:
    """Return a client for one request to the issuer. It follows no redirect."""
    until = time.monotonic() + LIMIT_SECONDS

    def bound(response: httpx.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx.DecodingError("the answer is compressed")
        response.stream = Bounded(response.stream, until)

    return httpx.Client(
        timeout=LIMIT_SECONDS,
        follow_redirects=False,
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        event_hooks={"response": [bound]},
    )


def fetched(url: str) -> dict[str, Any]:
    """Return the JSON object at a URL. Raises IssuerUnavailable."""
    try:
        with client() as session:
            response = session.get(url)
        found = orjson.loads(response.content) if response.status_code == 200 else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise IssuerUnavailable(f"{url}: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict):
        raise IssuerUnavailable(f"{url}: status {response.status_code}, and no JSON object")
    return found


def endpoint(issuer: str, found: dict[str, Any], name: str) -> str:
    """Return an address that the issuer names. Raises IssuerUnavailable if it is not safe.

    Only an issuer on this machine leads to this machine.
    """
    url = found.get(name)
    if not isinstance(url, str) or not is_safe(url):
        raise IssuerUnavailable(f"{issuer} names no safe {name}")
    parts = httpx.URL(url)
    if parts.scheme == "http" and not is_loopback(httpx.URL(issuer).host):
        raise IssuerUnavailable(f"{issuer} names no safe {name}")
    return url
