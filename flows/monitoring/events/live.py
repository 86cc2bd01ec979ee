"""The log lines of scripts that still run, for the streams of their runs.

Workers write down once a second what scripts say that run for longer (`RunningAttempt`). So these
lines cost no write, and a script of less than a second has none. They have no place in the stream
yet, and their events no id: a caller that connects again gets them again, or with their attempt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from flows.models import Message
from flows.monitoring.trace import running_attempts

Line = dict[str, Any]

MESSAGE_COLUMNS = ("id", "run_id", "step_id", "branch", "consumer_id", "deliveries")


@dataclass(frozen=True, slots=True)
class Place:
    """Which attempt of a run a line is of."""

    step_id: int
    branch: str
    delivery: int


# What the scripts of a run have said: the text of the log of each attempt, JSON.
Said = Mapping[Place, str]


def said_in(run_ids: Collection[UUID]) -> Mapping[UUID, Said]:
    """Return what scripts of these runs have said that still run. Two queries at most."""
    held = Message.objects.of_runs(run_ids).filter(consumer_id__isnull=False)
    messages = {message["id"]: message for message in held.values(*MESSAGE_COLUMNS)}
    found: dict[UUID, dict[Place, str]] = {}
    for id, attempt in running_attempts(messages.values()).items():
        message = messages[id]
        place = Place(message["step_id"], message["branch"], attempt.delivery)
        if attempt.logs:
            found.setdefault(message["run_id"], {})[place] = attempt.logs
    return found


class Heard:
    """What a stream was told of attempts that had not ended then."""

    def __init__(self) -> None:
        self._lines: dict[Place, list[Line]] = {}
        # What was read of these may be older than their end.
        self._ended: set[Place] = set()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def news(self, said: Said) -> Iterator[tuple[Place, Line]]:
        """Yield the lines that were not told; they count as told from now on."""
        self._ended &= said.keys()
        for place in said.keys() - self._ended:
            lines: list[Line] = orjson.loads(said[place])
            known = self._numbers(place, lines)
            self._lines[place] = lines
            for number, line in enumerate(lines):
                if number not in known:
                    yield place, line

    def numbers_of(self, place: Place, logs: str) -> Collection[int]:
        """Return the numbers of those lines of an attempt that were told."""
        return self._numbers(place, orjson.loads(logs)) if logs and place in self._lines else ()

    def forget(self, places: Collection[Place]) -> None:
        """Take in that attempts have ended and were told whole."""
        self._ended.update(places)
        for place in places:
            self._lines.pop(place, None)

    def _numbers(self, place: Place, lines: list[Line]) -> Collection[int]:
        known = self._lines.get(place, [])
        if lines[: len(known)] == known:
            return range(len(known))
        # Lines in the middle were left out since.
        return {number for number, line in enumerate(lines) if line in known}
