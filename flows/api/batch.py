"""Start many runs by one request. They are read, checked and stored in chunks.

A batch may have any length. It stops where the queue is full or the database is lost.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from flows import engine
from flows.api.body import is_ndjson, json_chunks
from flows.api.errors import Problem, as_problem
from flows.api.items import Item, elements, lines
from flows.api.openapi.operations import START_BATCH
from flows.api.start import REPEATED_OPTIONS, START_OPTIONS, runnable_plan, start_options
from flows.api.view import ApiView, json_response
from flows.errors import PayloadInvalid, QueueFull
from flows.message.envelope import parse_payload
from flows.models import RefusedStarts
from flows.plan import FlowPlan
from flows.starts.refusals import refusals

logger = logging.getLogger(__name__)

# The size of a chunk, which is stored in one transaction.
CHUNK_ITEMS = 500
CHUNK_BYTES = 8 * 1024 * 1024
# The size of an answer in memory. A longer one is written to files.
ANSWER_BYTES = 1024 * 1024
# The most that is read of a body behind the line where its batch stopped.
DISCARDED_BYTES = 32 * 1024 * 1024


REFUSED_FOR = {
    "queue-full": RefusedStarts.Cause.FULL,
    "payload-invalid": RefusedStarts.Cause.PAYLOAD,
}


class BatchView(ApiView):
    query_parameters = frozenset({"flowName", *START_OPTIONS})
    repeatable_parameters = REPEATED_OPTIONS

    @extend_schema(**START_BATCH)
    def post(self, request: Request) -> HttpResponseBase:
        options = start_options(self)
        plan = runnable_plan(request, self.query.get("flowName"))
        if "HTTP_IDEMPOTENCY_KEY" in request.META:
            raise Problem("header-invalid", "Idempotency-Key: names one start, not a batch")
        body = json_chunks(request._request)
        batch = Batch(plan, {"user": request.user, **options})
        try:
            batch.start_all(_items(request, body))
            if batch.stopped_by:
                discard(body)
            return batch.answer()
        except BaseException:
            batch.close()
            raise


def _items(request: Request, body: Iterator[bytes]) -> Iterator[Item]:
    split = lines if is_ndjson(request._request) else elements
    return split(body, settings.ASYNCENGINE_MAX_PAYLOAD_BYTES)


def discard(body: Iterator[bytes]) -> None:
    """Read the rest and drop it: most clients read an answer only after they have sent all."""
    left = DISCARDED_BYTES
    with suppress(OSError):
        while left > 0 and (chunk := next(body, b"")):
            left -= len(chunk)


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
    """Starts payloads in their order, and records the accepted ones and the refusals.

    It stops at the first payload that is refused only for now. So before that place each payload is
    either started or can never be started.
    """

    def __init__(self, plan: FlowPlan, options: dict[str, Any]) -> None:
        self.accepted = 0
        self.stopped_by: Problem | None = None
        self._next_line: int | None = None
        self._plan = plan
        self._options = options
        self._ids, self._rejected = Listing(), Listing()

    def start_all(self, items: Iterable[Item]) -> None:
        """Start the items until one stops the batch. Raises Problem if none was started by then."""
        line = 0
        try:
            for chunk in chunked(items):
                self._start(chunk)
                line = chunk[-1].line
                if self.stopped_by:
                    break
        except OSError as error:
            self._stop_at(line + 1, error)
        if self.stopped_by and not self.accepted:
            raise self.stopped_by

    def _stop_at(self, line: int, error: OSError) -> None:
        """Stop where the body broke off. The chunk that was being read is not started."""
        self.stopped_by = as_problem(error)
        if self.stopped_by is None:
            raise error
        self._next_line = line
        self._reject(line, self.stopped_by)

    def _start(self, items: Sequence[Item]) -> None:
        faults = {item.line: Problem(item.problem_type, item.fault) for item in items if item.fault}
        sound = [item for item in items if not item.fault]
        before = self.accepted
        try:
            self._start_valid(sound, faults)
        except Exception as error:
            # Whatever the error is: the caller has to learn which payloads were accepted before.
            self.stopped_by = as_problem(error)
            if self.stopped_by is None:
                logger.exception("A batch stopped.")
                self.stopped_by = Problem("internal-error")
            close_if_unusable()
            left = [item.line for item in sound if item.line not in faults]
            self._next_line = left[self.accepted - before]
            faults[self._next_line] = self.stopped_by
        for line in sorted(faults):
            if self._next_line is None or line <= self._next_line:
                self._reject(line, faults[line])

    def _start_valid(self, items: list[Item], faults: dict[int, Problem]) -> None:
        """Start the valid items. Add a problem to `faults` for each of the others."""
        try:
            self._start_at_once(items)
        except PayloadInvalid:
            faults |= {item.line: fault for item in items if (fault := self._fault(item))}
            self._start_as_fits([item for item in items if item.line not in faults])
        except QueueFull:
            self._start_as_fits(items)

    def _start_at_once(self, items: Sequence[Item]) -> None:
        ids = engine.start_many(self._plan, [item.raw for item in items], **self._options)
        self.accepted += len(ids)
        for correlation_id in ids:
            self._ids.add(correlation_id)

    def _start_as_fits(self, items: Sequence[Item]) -> None:
        """Start as many items as the queue has room for. Raises QueueFull unless all are
        started."""
        try:
            self._start_at_once(items)
            return
        except QueueFull:
            if len(items) == 1:
                raise
        half = len(items) // 2
        self._start_as_fits(items[:half])
        self._start_as_fits(items[half:])

    def _fault(self, item: Item) -> Problem | None:
        try:
            self._plan.require_valid(parse_payload(item.raw))
        except PayloadInvalid as error:
            fields = [f"{e['path']}: {e['detail']}" for e in error.errors]
            untold = [field for field in fields if field.replace(": ", " ", 1) not in str(error)]
            return Problem("payload-invalid", f"{error} {'; '.join(untold)}".rstrip())
        return None

    def _reject(self, line: int, problem: Problem) -> None:
        if cause := REFUSED_FOR.get(problem.type):
            refusals.add(self._plan.name, cause)
        document = problem.document()
        self._rejected.add({"line": line, "type": document["type"], "detail": document["detail"]})

    def answer(self) -> HttpResponseBase:
        if self._rejected.size + self._ids.size <= ANSWER_BYTES:
            with closing(self):
                return json_response(b"".join(self), status=202, headers=self._headers())
        # The response closes what it is given.
        return StreamingHttpResponse(
            self, status=202, content_type="application/json", headers=self._headers()
        )

    def _headers(self) -> dict[str, str]:
        return self.stopped_by.headers if self.stopped_by else {}

    def __iter__(self) -> Iterator[bytes]:
        """Return the pieces of the answer."""
        yield b'{"accepted":%d,"rejected":[' % self.accepted
        yield from self._rejected.read()
        yield b'],"correlationIds":['
        yield from self._ids.read()
        yield b"]}" if self._next_line is None else b'],"nextLine":%d}' % self._next_line

    def close(self) -> None:
        self._ids.close()
        self._rejected.close()


def close_if_unusable() -> None:
    """Close a lost connection, so that the next query opens another."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


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
