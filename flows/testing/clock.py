from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from flows.store import DeliveryResult
from scripts.protocol.calls import Outcome

Timed = TypeVar("Timed", DeliveryResult, Outcome)


class Clock:
    """The engine's time in a test: `time.time` plus the time that the test has added.

    What sets that time for a test, as freezegun and time-machine do, sets it for the engine.
    """

    def __init__(self) -> None:
        self._moved = timedelta(0)

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time(), UTC) + self._moved

    def advance(self, duration: timedelta) -> None:
        self._moved += duration

    def move_to(self, moment: datetime) -> None:
        """Move on to the time, unless it has passed."""
        self._moved += max(moment - self.now(), timedelta(0))

    def stamped(self, call: Timed) -> Timed:
        """Return a call that has just ended, with its times by this clock."""
        epoch = self.now().timestamp()
        later = epoch - call.finished_at
        if isinstance(call, Outcome):
            logs: list[dict[str, Any]] = [line | {"at": line["at"] + later} for line in call.logs]
            call = replace(call, logs=logs)
        return replace(call, started_at=call.started_at + later, finished_at=epoch)


class SteadyTime:
    """The module `time` with the monotonic clock of the machine, whatever a test has frozen.

    Script hosts are other processes: their times are compared with it.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def monotonic() -> float:
        return time.clock_gettime(time.CLOCK_MONOTONIC)
