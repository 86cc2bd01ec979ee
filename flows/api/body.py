"""The body of a request: JSON in UTF-8, and never more of it in memory than is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from flows.api.errors import Problem

CHUNK_BYTES = 64 * 1024
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


def json_body(request: HttpRequest) -> bytes:
    """Return the body as it came. Raises Problem where it is too large or says it is not JSON."""
    _require_json(request)
    limit = settings.ASYNCENGINE_MAX_PAYLOAD_BYTES
    if declared_length(request) > limit:
        raise _too_large(limit)
    return _read(_stream(request), limit)


def json_chunks(request: HttpRequest) -> Iterator[bytes]:
    """Return the body piece by piece, however long it is. Raises Problem as `json_body` does."""
    if not is_ndjson(request):
        _require_json(request)
    _require_plain_utf_8(request)
    declared_length(request)
    stream = _stream(request)
    return iter(lambda: stream.read(CHUNK_BYTES), b"")


def is_ndjson(request: HttpRequest) -> bool:
    """Say whether the body is JSON texts, one a line."""
    return request.content_type in NDJSON


def _require_json(request: HttpRequest) -> None:
    media_type = request.content_type or "application/json"
    is_json = media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
    if not is_json:
        raise Problem("unsupported-media-type", f"The body must be JSON, not {media_type}.")
    _require_plain_utf_8(request)


def _require_plain_utf_8(request: HttpRequest) -> None:
    charset = (request.content_params or {}).get("charset", "utf-8")
    if charset.strip('"').lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise Problem("unsupported-media-type", f"The body must be in UTF-8, not {charset}.")
    coding = request.META.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if coding not in {"", "identity"}:
        raise Problem("unsupported-media-type", f"The content coding {coding} is not understood.")


def declared_length(request: HttpRequest) -> int:
    """Return the Content-Length, 0 where there is none. Raises Problem where it is no number."""
    text = request.META.get("CONTENT_LENGTH") or "0"
    if not (text.isascii() and text.isdigit()):
        raise Problem("bad-request", "The Content-Length is not a number.")
    return int(text)


def _stream(request: HttpRequest) -> Any:
    """Return what to read from; Django sees no body where it is sent in chunks."""
    if request.META.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" not in request.META:
        return request
    if not request.META.get("wsgi.input_terminated"):
        raise Problem("length-required")
    return request.META["wsgi.input"]


def _read(stream: Any, limit: int) -> bytes:
    chunks = []
    size = 0
    while chunk := stream.read(min(CHUNK_BYTES, limit + 1 - size)):
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> Problem:
    return Problem("payload-too-large", f"The body may have at most {limit} bytes.")
