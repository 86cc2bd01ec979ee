"""Starting many runs by one request: read, checked and stored in chunks, however many there are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from flows import engine
from flows.api.body import is_ndjson, json_chunks
from flows.api.documentation import START_BATCH
from flows.api.errors import Problem
from flows.api.items import Item, elements, lines
from flows.api.start import START_OPTIONS, runnable_plan, start_options
from flows.api.view import ApiView, json_response
from flows.envelope import parse_payload
from flows.errors import PayloadInvalid, QueueFull
from flows.plan import FlowPlan

# What is stored in one transaction.
CHUNK_ITEMS = 500
CHUNK_BYTES = 8 * 1024 * 1024
# What an answer may have in memory; a longer one is put together in files.
ANSWER_BYTES = 1024 * 1024


class BatchView(ApiView):
    query_parameters = frozenset({"flowName", *START_OPTIONS})

    @extend_schema(**START_BATCH)
    def post(self, request: Request) -> HttpResponseBase:
        options = start_options(self.query)
        plan = runnable_plan(request, self.query.get("flowName"))
        if "HTTP_IDEMPOTENCY_KEY" in request.META:
            raise Problem("header-invalid", "Idempotency-Key: names one start, not a batch")
        batch = Batch(plan, {"user": request.user, **options})
        try:
            for chunk in chunked(_items(request)):
                batch.start(chunk)
            batch.require_any()
            return batch.answer()
        except BaseException:
            batch.close()
            raise


def _items(request: Request) -> Iterator[Item]:
    chunks = json_chunks(request._request)
    split = lines if is_ndjson(request._request) else elements
    return split(chunks, settings.ASYNCENGINE_MAX_PAYLOAD_BYTES)


def chunked(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Return the items in lists of moderate length and size."""
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += len(item.raw)
        if len(chunk) == CHUNK_ITEMS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class Batch:
    """Starts chunks of payloads and keeps account of what was accepted and what not, and why."""

    def __init__(self, plan: FlowPlan, options: dict[str, Any]) -> None:
        self.accepted = 0
        self._full: QueueFull | None = None
        self._plan = plan
        self._options = options
        self._ids, self._rejected = Listing(), Listing()

    def start(self, items: Sequence[Item]) -> None:
        """Start what can be started. Where the queue gets full, what comes first has the room.

        Raises OperationalError or InterfaceError while nothing has been accepted.
        """
        faults = {item.line: item.fault for item in items if item.fault}
        sound = [item for item in items if not item.fault]
        reason = "The database did not answer."
        before = self.accepted
        try:
            sound = self._start_valid(sound, faults)
            reason = str(self._full)
        except (OperationalError, InterfaceError):
            if not self.accepted:
                raise
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
        left = [item for item in sound if item.line not in faults][self.accepted - before :]
        faults |= {item.line: reason for item in left}
        for line in sorted(faults):
            self._rejected.add({"line": line, "detail": faults[line]})

    def _start_valid(self, items: list[Item], faults: dict[int, str]) -> list[Item]:
        """Start the valid ones of the items, and return them. The others are noted as faults."""
        try:
            self._start_at_once(items)
        except PayloadInvalid:
            faults |= {item.line: fault for item in items if (fault := self._fault(item))}
            items = [item for item in items if item.line not in faults]
            self._start_as_fits(items)
        except QueueFull:
            self._start_as_fits(items)
        return items

    def _start_at_once(self, items: Sequence[Item]) -> None:
        ids = engine.start_many(self._plan, [item.raw for item in items], **self._options)
        self.accepted += len(ids)
        for correlation_id in ids:
            self._ids.add(correlation_id)

    def _start_as_fits(self, items: Sequence[Item]) -> bool:
        """Start the first of the items, as many as the queue has room for; say whether all."""
        try:
            self._start_at_once(items)
            return True
        except QueueFull as error:
            self._full = error
        if len(items) == 1:
            return False
        half = len(items) // 2
        return self._start_as_fits(items[:half]) and self._start_as_fits(items[half:])

    def _fault(self, item: Item) -> str:
        try:
            self._plan.require_valid(parse_payload(item.raw))
        except PayloadInvalid as error:
            fields = "; ".join(f"{e['path']}: {e['detail']}" for e in error.errors)
            return f"{error} {fields}".rstrip()
        return ""

    def require_any(self) -> None:
        """Raise Problem where nothing was accepted because the queue is full."""
        if self._full and not self.accepted:
            retry_after = {"Retry-After": str(self._full.retry_after)}
            raise Problem("queue-full", str(self._full), headers=retry_after)

    def answer(self) -> HttpResponseBase:
        if self._rejected.size + self._ids.size <= ANSWER_BYTES:
            with closing(self):
                return json_response(b"".join(self), status=202)
        # The response closes what it is given.
        return StreamingHttpResponse(self, status=202, content_type="application/json")

    def __iter__(self) -> Iterator[bytes]:
        """Return the pieces of the answer."""
        yield b'{"accepted":%d,"rejected":[' % self.accepted
        yield from self._rejected.read()
        yield b'],"correlationIds":['
        yield from self._ids.read()
        yield b"]}"

    def close(self) -> None:
        self._ids.close()
        self._rejected.close()


class Listing:
    """Elements of a JSON array as text; in a file when they become many."""

    def __init__(self) -> None:
        self.size = 0
        self._file = tempfile.SpooledTemporaryFile(ANSWER_BYTES)  # noqa: SIM115  see close()

    def add(self, element: dict[str, Any] | UUID) -> None:
        comma = b"," if self.size else b""
        self.size += self._file.write(comma + orjson.dumps(element))

    def read(self) -> Iterator[bytes]:
        self._file.seek(0)
        return iter(lambda: self._file.read(64 * 1024), b"")

    def close(self) -> None:
        self._file.close()
