"""How far the scripts of a run say that they are, by `context.progress`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from flows.models import Message, RunningAttempt
from flows.monitoring.times import rfc3339

# Scripts that run are noted once a second.
LOOK_SECONDS = 1.0
# A run may have thousands of branches.
MOST_LINES = 20


def progress_told(attempt: RunningAttempt) -> dict[str, Any] | None:
    """Return how far a script that runs says that it is."""
    return orjson.loads(attempt.progress) if attempt.progress else None


def newest(known: dict[str, Any] | None, told: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the progress that was told later: of a step, the last value of any branch counts."""
    return max((each for each in (known, told) if each), key=lambda each: each["at"], default=None)


def progress_document(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return progress as the API shows it."""
    return told and told | {"at": rfc3339(datetime.fromtimestamp(told["at"], UTC))}


def progress_words(told: dict[str, Any]) -> str:
    """Say how far a script is, in a line."""
    done, total, text = told["done"], told["total"], told["text"]
    words = f"{done:,}" if total is None else f"{done:,} of {total:,}"
    if total:
        words += f" ({min(100 * done / total, 100):.0f} %)"
    return f"{words}: {' '.join(text.split())}" if text else words


class ProgressLines:
    """The progress of a run as lines for people, each of them once."""

    def __init__(self, run_id: UUID) -> None:
        self._run_id = run_id
        self._told: dict[UUID, str] = {}
        self._looked_at = time.monotonic()

    def new(self) -> list[str]:
        """Return the lines since the last time. Looks once a second."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return []
        self._looked_at = time.monotonic()
        held = Message.objects.of_run(self._run_id).filter(consumer_id__isnull=False)
        steps = dict(held.order_by("id").values_list("id", "step__name")[:MOST_LINES])
        rows = RunningAttempt.objects.filter(pk__in=steps).exclude(progress="")
        lines = []
        for row in rows:
            line = f"{steps[row.pk]}: {progress_words(orjson.loads(row.progress))}"
            if self._told.get(row.pk) != line:
                self._told[row.pk] = line
                lines.append(line)
        return lines
