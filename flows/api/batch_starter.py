"""Start a chunk of the lines of a batch: with or without keys, and with patience or without."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from flows import engine
from flows.api.batch_caller import BatchCaller
from flows.api.errors import Problem, as_problem
from flows.api.items import Item
from flows.errors import PayloadInvalid
from flows.front.turns import Turn
from flows.message.envelope import parse_payload
from flows.options import key_fault

# After a queue was full, this number of starts is gathered, or those that it takes after a time:
# each transaction keeps the workers waiting that make the room.
GATHERED = 200
GATHER_SECONDS = 0.2
FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.1

# What became of a line: the id of its run, or why it was refused.
Outcome = UUID | Problem
Start = Callable[[Sequence[Item]], list[Outcome]]


class Starter:
    """Starts the lines, all of them or none. Raises as `engine.start_many` does.

    The caller may have been looked at again since the last ones: flow, user and rates are those
    that the caller has by now.
    """

    def __init__(self, caller: BatchCaller, options: dict[str, Any]) -> None:
        self._caller = caller
        self._asked = options

    @property
    def _options(self) -> dict[str, Any]:
        return self._asked | {"user": self._caller.user, "rates": self._caller.rates}

    def look_again(self) -> None:
        """Go on with the flow as it is now. Raises as the caller's does."""
        self._caller.look_again()

    def start(self, items: Sequence[Item]) -> list[Outcome]:
        raws = [item.raw for item in items]
        return list(engine.start_many(self._caller.plan, raws, **self._options))

    def fault(self, item: Item) -> Problem | None:
        """Say why a line can never be started, None where nothing is wrong with it."""
        try:
            self._caller.plan.require_valid(parse_payload(item.raw))
        except PayloadInvalid as error:
            untold = [
                f"{path}: {detail}"
                for path, detail in ((each["path"], each["detail"]) for each in error.errors)
                if (detail if path == "$" else f"{path} {detail}") not in str(error)
            ]
            return Problem("payload-invalid", f"{error} {'; '.join(untold)}".rstrip())
        return None


class KeyedStarter(Starter):
    """Starts lines that have an idempotency key in a member of their payloads."""

    def __init__(self, caller: BatchCaller, options: dict[str, Any], field: str) -> None:
        super().__init__(caller, options)
        self._field = field

    def start(self, items: Sequence[Item]) -> list[Outcome]:
        keyed = [(self._key_of(item), item.raw) for item in items]
        outcomes = engine.start_keyed(self._caller.plan, keyed, **self._options)
        return [
            each.correlation_id if isinstance(each, engine.Started) else _problem_of(each)
            for each in outcomes
        ]

    def fault(self, item: Item) -> Problem | None:
        if fault := super().fault(item):
            return fault
        try:
            self._key_of(item)
        except PayloadInvalid as error:
            return as_problem(error)
        return None

    def _key_of(self, item: Item) -> str:
        payload = parse_payload(item.raw)
        if self._field not in payload:
            raise PayloadInvalid(f"The key {self._field!r} must be a member of the payload."[:300])
        key = payload[self._field]
        if fault := key_fault(key):
            raise PayloadInvalid(f"The key {self._field!r} must {fault}."[:300])
        return str(key)


def _problem_of(error: Exception) -> Problem:
    problem = as_problem(error)
    assert problem is not None
    return problem


class Patience:
    """Waits for room in the queue, for a while for each line.

    Its waits raise as `BatchCaller.look_again` does.
    """

    def __init__(
        self, caller: BatchCaller, turn: Turn, seconds: float, start_at: datetime | None
    ) -> None:
        self._caller = caller
        self._turn = turn
        self._seconds = seconds
        self._start_at = start_at

    def rate_allows(self, since: float, seconds: float) -> bool:
        """Return whether a rate, which does so after these seconds, lets a line through in time."""
        ends_at, now = since + self._seconds, time.monotonic()
        if now + seconds > ends_at:
            return False
        with self._turn.left() as may_wait:
            if may_wait:
                time.sleep(min(max(seconds, GATHER_SECONDS), ends_at - now))
                self._caller.look_again()
            return may_wait

    def room_comes(self, since: float) -> bool:
        """Return whether there is room before the patience ends that a line has had since then."""
        ends_at = since + self._seconds
        if time.monotonic() >= ends_at:
            return False
        with self._turn.left() as may_wait:
            return may_wait and self._wait(ends_at)

    def _wait(self, ends_at: float) -> bool:
        pause = FIRST_PAUSE_SECONDS
        came_at: float | None = None
        while True:
            self._caller.look_again()
            now = time.monotonic()
            if came_at is None and self._has_room(1):
                came_at = now
            has_come = came_at is not None and now - came_at >= GATHER_SECONDS
            if has_come or (came_at is not None and self._has_room(GATHERED)):
                return True
            if now >= ends_at:
                return came_at is not None
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)

    def _has_room(self, count: int) -> bool:
        return engine.has_room(self._caller.plan, count, start_at=self._start_at)
