"""Starts that come at the same time are stored together: one transaction for all of them.

A thread takes the starts that wait, whatever their number, and stores them. Those that come
meanwhile are the next group. So a start alone waits for nothing, and the more callers there are the
larger are the groups. Each start has its own outcome. Where a group has looked for a lost database
for long, those that have waited behind it are told so, and do not look for as long once more.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, close_old_connections

from flows import engine
from flows.access.token_uses import token_uses
from flows.access.users_by_key import starter_seen, starters_of
from flows.api.authentication import keys_that_hold
from flows.api.errors import answer_to, as_problem
from flows.api.known_starts import NOTE, KnownStart, KnownStarts, StartNote
from flows.api.rate_headers import rate_headers, standings_after
from flows.api.traces import caller_of
from flows.errors import (
    CommitInDoubt,
    FlowError,
    IdempotencyConflict,
    PayloadInvalid,
    PayloadNotChecked,
    QueueFull,
)
from flows.front.answer import Answer
from flows.front.body import FREE_BYTES, Held
from flows.front.environ import Scope, header
from flows.front.prepared import Prepared
from flows.models import Right
from flows.plan import FlowPlan, flow_plan, plan_at
from flows.starts.rates import rates_of
from flows.starts.refusals import refusals
from flows.store.troubles import Trouble, trouble_of

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

# The most starts of one transaction.
MOST = 200
# For so long after a queue was full, room is looked for before anything is written.
FULL_SECONDS = 1.0
# So long a group looks for a lost database before others do not look for it, too.
LONG_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Call:
    """A start that waits for its outcome: what was started, an error, or None for the view."""

    known: KnownStart
    payload: bytes
    idempotency_key: str | None
    loop: AbstractEventLoop
    outcome: Future[Any]
    called_by: SpanContext | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that was started, and the headers that its answer has beside the known ones."""

    correlation_id: UUID
    headers: Mapping[str, str]


class QuickStarts:
    """Answers starts like those that were just accepted, in groups and without the view."""

    def __init__(self) -> None:
        self._known = KnownStarts()
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._thread: Thread | None = None
        self._lock = Lock()
        self._full_until = 0.0

    def key_of(self, scope: Scope) -> bytes | None:
        return self._known.key_of(scope)

    async def answer(self, key: bytes, scope: Scope, held: Held) -> Prepared | None:
        """Return the answer to a start; None: the view has to answer."""
        known = self._known.get(key)
        if known is None or held.size > FREE_BYTES:
            return None
        given = header(scope, b"idempotency-key")
        name = None if given is None else given.decode("latin-1")
        if name is not None and not (known.was_accepted and engine.is_idempotency_key(name)):
            return None
        loop = asyncio.get_running_loop()
        payload, outcome = b"".join(held.pieces), loop.create_future()
        call = Call(known, payload, name, loop, outcome, caller_of(scope))
        self._put(call)
        done = await outcome
        if done is None:
            return None
        if isinstance(done, Exception):
            return known.refused(answer_to(done))
        return known.accepted(done.correlation_id, done.headers)

    def note_in(self, environ: dict[str, Any]) -> StartNote:
        """Return what the view fills in, if it accepts the start of this environment."""
        note: StartNote = environ.setdefault(NOTE, StartNote())
        return note

    def learn(self, key: bytes, note: StartNote, answer: Answer) -> None:
        self._known.learn(key, note, answer)

    def _put(self, call: Call) -> None:
        # Not before the first call: a thread does not survive a fork.
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    # Kept only then: the system may let no thread be made.
                    thread = Thread(target=self._work, name="starts", daemon=True)
                    thread.start()
                    self._thread = thread
        self._calls.put(call)

    def _work(self) -> None:
        while True:
            group, began_at = self._next_group(), time.monotonic()
            try:
                outcomes = self._start(group)
            except Exception as error:
                outcomes = [error] * len(group)
            if time.monotonic() > began_at + LONG_SECONDS and (lost := lost_by(outcomes)):
                behind = self._waiting(self._calls.qsize())
                group, outcomes = [*group, *behind], [*outcomes, *[lost] * len(behind)]
            tell(group, outcomes)

    def _next_group(self) -> list[Call]:
        return [self._calls.get(), *self._waiting(MOST - 1)]

    def _waiting(self, most: int) -> list[Call]:
        calls: list[Call] = []
        with suppress(Empty):
            while len(calls) < most:
                calls.append(self._calls.get_nowait())
        return calls

    def _start(self, calls: list[Call]) -> Sequence[Any]:
        # As Django does before each request. What ends after this group is closed at the next.
        close_old_connections()
        is_likely_full = time.monotonic() < self._full_until
        outcomes = start_all(calls, is_likely_full)
        if any(isinstance(outcome, QueueFull) for outcome in outcomes):
            self._full_until = time.monotonic() + FULL_SECONDS
        # In this thread, for it may read the pace of a queue.
        return [
            as_problem(outcome) if isinstance(outcome, FlowError) else outcome
            for outcome in outcomes
        ]


def lost_by(outcomes: Sequence[Any]) -> DatabaseError | InterfaceError | None:
    """Return the error with which a group has lost the database, None where it has not."""
    for outcome in outcomes:
        error = outcome.__cause__ if isinstance(outcome, CommitInDoubt) else outcome
        if isinstance(error, DatabaseError | InterfaceError) and trouble_of(error) is Trouble.AWAY:
            return error
    return None


def tell(group: list[Call], outcomes: Sequence[Any]) -> None:
    """Give each call its outcome, in its event loop."""

    def end(calls: list[tuple[Call, Any]]) -> None:
        for call, outcome in calls:
            if not call.outcome.done():
                call.outcome.set_result(outcome)

    by_loop: dict[AbstractEventLoop, list[tuple[Call, Any]]] = {}
    for call, outcome in zip(group, outcomes, strict=True):
        by_loop.setdefault(call.loop, []).append((call, outcome))
    for loop, calls in by_loop.items():
        # A closed loop waits for nothing any more.
        if not loop.is_closed():
            loop.call_soon_threadsafe(end, calls)


def start_all(group: Sequence[Call], look_for_room: bool) -> list[Any]:
    """Start a run for each call that may be answered here; return the outcomes."""
    if not look_for_room and (accepted := start_as_seen(group)) is not None:
        return accepted
    tokens, identities = keys_that_hold(call.known.login for call in group)
    starters = starters_of(tokens, identities)
    token_uses.note(tokens & starters.keys())
    plans: dict[str, FlowPlan | None] = {}
    starts: dict[int, engine.StartRequest] = {}
    for number, call in enumerate(group):
        name, starter = call.known.flow_name, starters.get(call.known.login.key)
        if starter is None:
            continue
        if name not in plans:
            plans[name] = runnable(name, starter.revision)
        if (plan := plans[name]) is None:
            continue
        if starter.may(Right.START, plan.flow_id):
            rates = rates_of(plan, starter.user)
            key = call.idempotency_key
            starts[number] = engine.StartRequest(
                plan,
                call.payload,
                starter.user,
                key,
                rates,
                call.called_by,
                only_refused=not call.known.was_accepted,
            )
    outcomes: list[Any] = [None] * len(group)
    started = engine.start_together(list(starts.values()), look_for_room=look_for_room)
    standing = standings_after({rate for start in starts.values() for rate in start.rates})
    for number, outcome in zip(starts, started, strict=True):
        if outcome is None or is_for_view(outcome):
            continue
        if isinstance(outcome, engine.Started):
            told = (rate for rate in starts[number].rates if rate in standing)
            headers = rate_headers(standing[rate] for rate in told)
            outcomes[number] = Accepted(outcome.correlation_id, headers)
        else:
            refusals.add_error(starts[number].plan.name, outcome)
            outcomes[number] = outcome
    return outcomes


def start_as_seen(group: Sequence[Call]) -> list[Any] | None:
    """Start all by what was read of their login last, and have the database compare it with what
    it is now, in the transaction that stores them.

    None, with nothing stored: something has changed, or these are not plain starts of one login.
    """
    login = group[0].known.login
    starter = starter_seen(login.key)
    if starter is None or starter.seen is None or not any(keys_that_hold([login])):
        return None
    starts = []
    for call in group:
        is_plain = call.known.was_accepted and call.idempotency_key is None
        plan = plan_at(call.known.flow_name, starter.revision)
        if not (is_plain and plan and call.known.login == login):
            return None
        if not starter.may(Right.START, plan.flow_id) or rates_of(plan, starter.user):
            return None
        called_by = call.called_by
        starts.append(engine.StartRequest(plan, call.payload, starter.user, called_by=called_by))
    started = engine.start_as_seen(starts, starter.seen)
    if started is None:
        return None
    token_uses.note({login.token} - {""})
    return [
        Accepted(each.correlation_id, {}) if isinstance(each, engine.Started) else each
        for each in started
    ]


def is_for_view(outcome: engine.Started | Exception) -> bool:
    """Tell whether the view has to answer: what is wrong with a payload, or was started before."""
    if isinstance(outcome, engine.Started):
        return outcome.repeated
    return isinstance(outcome, PayloadInvalid | PayloadNotChecked | IdempotencyConflict)


def runnable(name: str, revision: str) -> FlowPlan | None:
    """Return the plan of a flow that can be started now, None where there is none."""
    try:
        plan = flow_plan(name, revision)
        plan.require_runnable()
    except FlowError:
        return None
    return plan
