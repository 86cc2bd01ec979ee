"""Start many runs by one request. They are read, checked and stored in chunks.

A batch may have any length. It stops where the queue is full, after a wait if the caller asks for
that, where the flow takes no more starts of this caller, or where the database is lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from django.conf import settings
from django.db import connection
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from flows.api import parameters
from flows.api.batch_answer import BatchAnswer
from flows.api.batch_caller import BatchCaller
from flows.api.batch_starter import KeyedStarter, Patience, Starter
from flows.api.body import is_ndjson, json_chunks
from flows.api.errors import Problem, as_problem
from flows.api.items import Item, elements, lines
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.operations import START_BATCH
from flows.api.start import REPEATED_OPTIONS, START_OPTIONS, start_options
from flows.api.traces import in_trace_of_caller
from flows.api.view import ApiView
from flows.errors import PayloadInvalid, QueueFull, StartRateExceeded
from flows.front.turns import NO_FRONT, TURN
from flows.models import RefusedStarts
from flows.starts.refusals import refusals

logger = logging.getLogger(__name__)

# The size of a chunk, which is stored in one transaction.
CHUNK_ITEMS = 500
CHUNK_BYTES = 8 * 1024 * 1024
# The most that is read of a body behind the line where its batch stopped.
DISCARDED_BYTES = 32 * 1024 * 1024
# The longest wait of one line for room in the queue.
LONGEST_WAIT_SECONDS = 600.0

REFUSED_FOR = {
    "queue-full": RefusedStarts.Cause.FULL,
    "throttled": RefusedStarts.Cause.RATE,
    "payload-invalid": RefusedStarts.Cause.PAYLOAD,
}


class BatchView(ApiView):
    query_parameters = frozenset({"flowName", "wait", "keyField", "correlationIds", *START_OPTIONS})
    repeatable_parameters = REPEATED_OPTIONS

    @extend_schema(**START_BATCH)
    def post(self, request: Request) -> HttpResponseBase:
        seconds = parameters.seconds(self.query, "wait", LONGEST_WAIT_SECONDS)
        field = parameters.text(self.query, "keyField")
        ids = parameters.choice(self.query, "correlationIds", ("first", "all"))
        caller = BatchCaller(request, self.query.get("flowName"))
        options = start_options(self)
        if "HTTP_IDEMPOTENCY_KEY" in request.META:
            raise Problem(
                "header-invalid", "Idempotency-Key: names one start, not a batch; see keyField"
            )
        body = json_chunks(request._request)
        turn = request.META.get(TURN, NO_FRONT)
        starter = KeyedStarter(caller, options, field) if field else Starter(caller, options)
        batch = Batch(
            caller.plan.name,
            starter,
            Patience(caller, turn, seconds, options.get("start_at")),
            BatchAnswer(lists_all_ids=ids == "all"),
        )
        try:
            with in_trace_of_caller(request.META):
                batch.start_all(_items(request, body))
            if batch.stopped_by:
                discard(body)
            return batch.answer.response(caller.rates)
        except BaseException:
            batch.answer.close()
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

    def __init__(
        self, flow_name: str, starter: Starter, patience: Patience, answer: BatchAnswer
    ) -> None:
        self.answer = answer
        self.stopped_by: Problem | None = None
        self._flow_name = flow_name
        self._starter = starter
        self._patience = patience
        # How many of the valid items of the chunk have an outcome.
        self._done = 0

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
            # The body broke off. The chunk that was being read is not started.
            problem = as_problem(error)
            if problem is None:
                raise
            self._stop(line + 1, problem)
        if self.stopped_by and not self.answer.accepted:
            raise self.stopped_by

    def _stop(self, line: int, problem: Problem) -> None:
        self.stopped_by = problem
        self._count(problem)
        self.answer.stop(line, problem)

    def _start(self, items: Sequence[Item]) -> None:
        faults = {item.line: Problem(item.problem_type, item.fault) for item in items if item.fault}
        sound = [item for item in items if not item.fault]
        stop: tuple[int, Problem] | None = None
        self._done = 0
        try:
            self._start_valid(sound, faults)
        except Exception as error:
            # Whatever the error is: the caller has to learn which payloads were accepted before.
            problem = as_problem(error)
            if problem is None:
                logger.exception("A batch stopped.")
                problem = Problem("internal-error")
            close_if_unusable()
            left = [item.line for item in sound if item.line not in faults]
            stop = left[self._done], problem
        for line in sorted(faults):
            if stop is None or line < stop[0]:
                self._count(faults[line])
                self.answer.reject(line, faults[line])
        if stop:
            self._stop(*stop)

    def _start_valid(self, items: list[Item], faults: dict[int, Problem]) -> None:
        """Start the valid items. Add a problem to `faults` for each of the others."""
        if items:
            self._starter.look_again()
            self._start_as_fits(items, faults)

    def _start_at_once(self, items: Sequence[Item], faults: dict[int, Problem]) -> None:
        for item, outcome in zip(items, self._starter.start(items), strict=True):
            if isinstance(outcome, Problem):
                faults[item.line] = outcome
            else:
                self._done += 1
                self.answer.accept(outcome)

    def _start_as_fits(self, items: Sequence[Item], faults: dict[int, Problem]) -> None:
        """Start as many of the valid items as queue and rates allow, or allow in time.

        Raises QueueFull or StartRateExceeded unless all of them are started.
        """
        begun = time.monotonic()
        while items:
            try:
                self._start_at_once(items, faults)
                return
            except PayloadInvalid:
                # Also here and not at first alone: the flow may change while a line waits.
                found = {item.line: fault for item in items if (fault := self._starter.fault(item))}
                if not found:
                    raise
                faults |= found
                items = [item for item in items if item.line not in found]
                continue
            except StartRateExceeded as error:
                first = error.allowed
                if not first and not self._patience.rate_allows(begun, error.seconds):
                    raise
            except QueueFull:
                first = len(items) // 2
                if not first and not self._patience.room_comes(begun):
                    raise
            if first:
                self._start_as_fits(items[:first], faults)
                items, begun = items[first:], time.monotonic()

    def _count(self, problem: Problem) -> None:
        if cause := REFUSED_FOR.get(problem.type):
            refusals.add(self._flow_name, cause)


def close_if_unusable() -> None:
    """Close a lost connection, so that the next query opens another."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
