"""Runs that scripts start with `context.start`: checked at the call, stored with its output.

The id of such a run comes from the delivery id of its call and its number among the starts of the
call, so that a redelivery starts the same runs. Its first 48 bits are those of the parent's id, for
ids sort by time.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import orjson
from django.db import InterfaceError, OperationalError, connection

from flows.errors import (
    DelayTooLong,
    FlowNotRunnable,
    IdempotencyConflict,
    OptionInvalid,
    PayloadInvalid,
    PayloadNotChecked,
    UnknownFlow,
)
from flows.message.digest import is_of_request
from flows.models import IdempotencyKey, Queue, Run
from flows.models.message import DEFAULT_PRIORITY
from flows.options import IDEMPOTENCY_KEY_AGE, RunOptions, can_be_a_name, checked_options
from flows.plan import flow_plan, keys_of
from flows.starts.conflict import Asked, conflict
from flows.starts.new_run import deadline_at, delayed_until, new_run, require_time_left
from flows.store import NewRun, store
from flows.store.children import caller_of_flow
from scripts.protocol.calls import Call, CallSite, Program
from scripts.protocol.services import Deadline, RequestFailed
from scripts.protocol.starts import (
    MAX_DEPTH_OF_STARTS,
    MAX_START_BYTES,
    MAX_STARTS,
    REFUSED,
    UNAVAILABLE,
    start_not_allowed,
)

DATABASE_RETRY_SECONDS = 0.2
Found = TypeVar("Found")


class StartService:
    """The service `start`. It stores nothing: the commit of the call's output does."""

    def __init__(self, *, lets_go: bool = True) -> None:
        """`lets_go`: close the thread's connection after each request; not that of a callable."""
        self._lets_go = lets_go
        # A script may ask for several starts at once, and as many threads serve them.
        self._lock = threading.Lock()

    def __call__(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        raise RequestFailed("A start belongs to a call.", REFUSED)

    def serve_call(
        self,
        site: CallSite,
        call: Call,
        starts: dict[int, NewRun],
        request: dict[str, Any],
        deadline: Deadline,
    ) -> dict[str, Any]:
        ordinal = _ordinal_in(request)
        try:
            run, is_new = _read(lambda: _asked_for(site, call, request, ordinal), deadline)
            fitting = 0
            while True:
                with self._lock:
                    alike = _alike(run, starts.values()) if is_new else 0
                    if alike <= fitting:
                        return {"id": str(_noted(run, is_new, ordinal, starts))}
                # Not under the lock: it asks the database. Meanwhile there may be more of them.
                _read(partial(_require_room, run, alike), deadline)
                fitting = alike
        finally:
            if self._lets_go and not connection.in_atomic_block:
                _let_go()


def _noted(run: NewRun, is_new: bool, ordinal: int, starts: dict[int, NewRun]) -> UUID:
    """Add a new run to those of its call; return its id, or that of the run with the same key."""
    if ordinal in starts:
        raise RequestFailed("The number of a start is there already.", REFUSED)
    for other in starts.values():
        if run.key and (other.flow_name, other.key) == (run.flow_name, run.key):
            return _same(other, run).correlation_id
    if is_new:
        if sum(len(each.body) for each in starts.values()) + len(run.body) > MAX_START_BYTES:
            most = f"at most {MAX_START_BYTES} bytes of payloads"
            raise RequestFailed(f"A message starts runs with {most}.", REFUSED)
        starts[ordinal] = run
    return run.correlation_id


def _asked_for(
    site: CallSite, call: Call, request: dict[str, Any], ordinal: int
) -> tuple[NewRun, bool]:
    """Return the run that is asked for, and whether it is new: a key may have started it."""
    flow = request.get("flow")
    if not can_be_a_name(flow) or flow not in (site.starts or ()):
        raise RequestFailed(start_not_allowed(flow, site.starts or ()), REFUSED)
    try:
        run, options = _new_run(site, call, request, ordinal)
        return _first_of_key(run, Asked(run.body, options)) if run.key else (run, True)
    except (UnknownFlow, OptionInvalid, DelayTooLong, IdempotencyConflict) as error:
        raise RequestFailed(_told(flow, error), REFUSED) from error
    except PayloadInvalid as error:
        faults = "; ".join(_fault_in_words(each) for each in error.errors[:10])
        told = f"{_told(flow, error)} {faults}".strip()
        raise RequestFailed(told, REFUSED) from error
    except (FlowNotRunnable, PayloadNotChecked) as error:
        raise RequestFailed(_told(flow, error), UNAVAILABLE) from error


def _new_run(
    site: CallSite, call: Call, request: dict[str, Any], ordinal: int
) -> tuple[NewRun, RunOptions]:
    priority, key = request.get("priority"), request.get("key")
    start_at = _time_in(request.get("startAt"), "start_at")
    priority = DEFAULT_PRIORITY if priority is None else priority
    options = checked_options(
        priority, start_at, key, _labels_in(request), _deadline_in(request.get("deadline"))
    )
    plan = flow_plan(request["flow"])
    parent = UUID(call.correlation_id)
    row = Run.objects.filter(pk=parent).values("started_by_id", "start_depth").first()
    depth = (row["start_depth"] if row else 0) + 1
    if depth > MAX_DEPTH_OF_STARTS:
        raise RequestFailed(
            f"context.start({plan.name!r}): {MAX_DEPTH_OF_STARTS} runs above this one have started"
            " each other; that is the most.",
            REFUSED,
        )
    text = request.get("payload")
    if not isinstance(text, str):
        raise PayloadInvalid("The payload comes as JSON text.")
    run = new_run(
        plan,
        text.encode("utf-8", "surrogatepass"),
        None,
        priority,
        delayed_until(start_at),
        id=derived_id(parent, call.delivery_id, ordinal),
        labels=options.labels,
        deadline=deadline_at(options.deadline),
    )
    require_time_left(run)
    digest = "" if key is None else Asked(run.body, options).digest()
    stored = replace(
        run,
        user_id=row and row["started_by_id"],
        parent=parent,
        depth=depth,
        key=key or "",
        key_caller=caller_of_flow(site.flow) if key else "",
        key_digest=digest,
    )
    return stored, options


def _alike(run: NewRun, others: Iterable[NewRun]) -> int:
    """Count the other runs that need room beside this one, other than that of the same key."""
    alike = [
        other
        for other in others
        if other.queue_id == run.queue_id and (other.start_at is None) == (run.start_at is None)
    ]
    name = (run.flow_name, run.key)
    is_same = run.key and any((other.flow_name, other.key) == name for other in alike)
    return 0 if is_same else len(alike)


def _require_room(run: NewRun, alike: int) -> None:
    """Refuse a run for which there would be no room, however long its message waited."""
    queue = Queue.objects.filter(pk=run.queue_id).only("name", "size").first()
    if queue is not None and alike >= queue.size:
        told = (
            f"a message starts at most as many runs as the queue {queue.name!r} holds, {queue.size}"
        )
        raise RequestFailed(f"context.start({run.flow_name!r}): {told}.", REFUSED)


def _first_of_key(run: NewRun, asked: Asked) -> tuple[NewRun, bool]:
    """Return the run that the key has started, else this one. Raises IdempotencyConflict."""
    since = store().database.now() - IDEMPOTENCY_KEY_AGE
    of_flow = keys_of(run.flow_name, run.flow_version_id)
    known = IdempotencyKey.objects.filter(
        of_flow, caller=run.key_caller, key=run.key, created_at__gte=since
    ).first()
    if known is None:
        return run, True
    if not is_of_request(known.body_digest, run.key_digest, run.body):
        raise conflict(known, asked)
    return replace(run, correlation_id=known.run_id), False


def _same(first: NewRun, again: NewRun) -> NewRun:
    """Return the run that an earlier start of the same call has made with the key."""
    if not is_of_request(first.key_digest, again.key_digest, again.body):
        raise RequestFailed(_told(again.flow_name, IdempotencyConflict()), REFUSED)
    return first


def derived_id(parent: UUID, delivery_id: str, ordinal: int) -> UUID:
    """Return the id of a start, the same over redeliveries: a UUID of version 8."""
    digest = hashlib.sha256(f"{delivery_id}\0{ordinal}".encode()).digest()
    number = parent.int >> 80 << 80 | int.from_bytes(digest[:10], "big")
    number = number & ~(0xF << 76) | 8 << 76
    return UUID(int=number & ~(0x3 << 62) | 2 << 62)


def _ordinal_in(request: dict[str, Any]) -> int:
    ordinal = request.get("ordinal")
    if type(ordinal) is not int or ordinal < 0:
        raise RequestFailed("A start has a number.", REFUSED)
    if ordinal >= MAX_STARTS:
        raise RequestFailed(f"A message starts at most {MAX_STARTS} runs.", REFUSED)
    return ordinal


def _time_in(given: Any, option: str) -> datetime | None:
    if given is None:
        return None
    try:
        return datetime.fromisoformat(given)
    except (TypeError, ValueError):
        told = f"{option} is a time with a zone, such as 2030-01-31T08:00:00Z"
        raise OptionInvalid(f"{told}, not {str(given)[:100]!r}.") from None


def _deadline_in(given: Any) -> datetime | timedelta | None:
    if type(given) not in (int, float):
        return _time_in(given, "deadline")
    try:
        return timedelta(seconds=given)
    except (OverflowError, ValueError):
        raise OptionInvalid(f"deadline is no duration: {given} seconds.") from None


def _labels_in(request: dict[str, Any]) -> Any:
    """Return the labels, which come as JSON text; what is wrong with them is seen later."""
    text = request.get("labels")
    try:
        return None if text is None else orjson.loads(text)
    except orjson.JSONDecodeError:
        raise OptionInvalid("labels come as JSON text.") from None


def _told(flow: Any, error: Exception) -> str:
    # In the words of context.start.
    told = str(error).replace("idempotency_key", "key").replace("start_at", "start_at (startAt)")
    return f"context.start({str(flow)[:100]!r}): {told}"


def _fault_in_words(fault: dict[str, str]) -> str:
    return f"{fault.get('path', '$')}: {fault.get('detail', '')}"


def _read(read: Callable[[], Found], deadline: Deadline) -> Found:
    """Read; try again while the database is away, until the deadline."""
    while True:
        try:
            return read()
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block:
                raise
            connection.close()
            if time.monotonic() + DATABASE_RETRY_SECONDS >= deadline:
                raise RequestFailed("The database is away.", UNAVAILABLE) from None
            time.sleep(DATABASE_RETRY_SECONDS)


def _let_go() -> None:
    """Close the connection of this thread, which may not need the database again."""
    if threading.current_thread() is threading.main_thread():
        return
    connection.close()
    if (left := connection.connection) is not None:
        connection.connection = None
        left.close()
