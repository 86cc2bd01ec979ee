"""The body of a request: JSON in UTF-8, not compressed. Memory for it is limited."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from flows.api.errors import Problem
from flows.front.faults import BodyIncomplete, BodyTooLarge

CHUNK_BYTES = 64 * 1024
# US-ASCII is a part of it.
UTF_8 = frozenset({"utf-8", "utf8", "us-ascii"})
JSON = "application/json"
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
# What an answer with 415 says that the body may be (RFC 9110, 12.5.1 and 12.5.3).
UNCODED = {"Accept-Encoding": "identity"}


def json_body(request: HttpRequest) -> bytes:
    """Return the body as it came. Raises Problem where its Content-Type is not JSON, and
    RequestFault where it is too large or incomplete."""
    _require_json(request)
    limit = settings.ASYNCENGINE_MAX_PAYLOAD_BYTES
    length = declared_length(request)
    if length > limit:
        raise BodyTooLarge(limit)
    body = _read(_stream(request), limit)
    if len(body) < length:
        raise BodyIncomplete
    return body


def json_chunks(request: HttpRequest) -> Iterator[bytes]:
    """Return the body piece by piece, however long it is. Raises as `json_body` does.

    It is often a file, so a byte order mark at its beginning is left out.
    """
    if is_ndjson(request):
        _require_plain_utf_8(request)
    else:
        _require_json(request, JSON, "application/x-ndjson")
    return _without_mark(_chunks(_stream(request), declared_length(request)))


def _without_mark(chunks: Iterator[bytes]) -> Iterator[bytes]:
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(BOM_UTF8):
            break
    yield head.removeprefix(BOM_UTF8)
    yield from chunks


def _chunks(stream: Any, length: int) -> Iterator[bytes]:
    size = 0
    while chunk := stream.read(CHUNK_BYTES):
        size += len(chunk)
        yield chunk
    if size < length:
        raise BodyIncomplete


def is_ndjson(request: HttpRequest) -> bool:
    """Say whether the body is JSON texts, one a line."""
    return request.content_type in NDJSON


def is_json(request: HttpRequest) -> bool:
    """Say whether the Content-Type is JSON. Without one it is taken to be."""
    media_type = request.content_type or JSON
    return media_type == JSON or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )


def _require_json(request: HttpRequest, *accepted: str) -> None:
    if not is_json(request):
        detail = f"The body must be {' or '.join(accepted or [JSON])}, not {request.content_type}."
        headers = {"Accept": ", ".join(accepted or [JSON])}
        raise Problem("unsupported-media-type", detail, headers=headers)
    _require_plain_utf_8(request)


def _require_plain_utf_8(request: HttpRequest) -> None:
    charset = (request.content_params or {}).get("charset", "utf-8")
    if charset.strip('"').lower() not in UTF_8:
        detail = f"The body must be in UTF-8, not {charset}."
        accepted = f"{request.content_type or JSON}; charset=utf-8"
        raise Problem("unsupported-media-type", detail, headers={"Accept": accepted})
    coding = request.META.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if coding not in {"", "identity"}:
        detail = (
            f"The content coding {coding} is not understood: send the body as it is, without"
            " Content-Encoding."
        )
        raise Problem("unsupported-media-type", detail, headers=UNCODED)


def is_left_out(body: bytes) -> bool:
    """Say whether an optional body is not there. Generated clients in Java write null for it."""
    return body.strip() in (b"", b"null")


def declared_length(request: HttpRequest) -> int:
    """Return the Content-Length, 0 where there is none. Raises Problem where it is no number."""
    text = request.META.get("CONTENT_LENGTH") or "0"
    if not (text.isascii() and text.isdigit()):
        raise Problem("bad-request", "The Content-Length is not a number.")
    return int(text)


def _stream(request: HttpRequest) -> Any:
    """Return the stream of the body. Django itself sees no body that is sent in chunks."""
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
            raise BodyTooLarge(limit)
        chunks.append(chunk)
    return b"".join(chunks)
