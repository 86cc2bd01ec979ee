"""The log of a run: the lines of all its attempts, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from flows.models import Message, Run, StepRun
from flows.monitoring.trace import log_lines, running_attempts

# The lines of a page.
PAGE_LINES = 1_000


def run_logs(run: Run, offset: int) -> dict[str, Any]:
    """Return the lines behind the first `offset` ones, a page of them.

    The lines of attempts that have ended come first, in the order in which they were stored. The
    run is read first and the attempts last, so a complete log is one.
    """
    fields = ("id", "step__name", "consumer_id", "deliveries", "branch")
    messages = list(Message.objects.of_run(run.pk).order_by("id").values(*fields))
    lines = list(islice(_lines(run, messages), offset, offset + PAGE_LINES + 1))
    has_ended = run.status in Run.FINISHED and not messages
    return {
        "entries": lines[:PAGE_LINES],
        "nextOffset": offset + min(len(lines), PAGE_LINES),
        "isComplete": has_ended and len(lines) <= PAGE_LINES,
    }


def _lines(run: Run, messages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    numbers: Counter[tuple[str, str]] = Counter()
    stored = StepRun.objects.filter(run=run.pk).order_by("id").select_related("step")
    for each in stored.only("branch", "delivery", "logs", "step__name"):
        place = each.step.name, each.branch
        # An attempt of less than a second whose worker died has no row, so its number is missing.
        numbers[place] = max(numbers[place] + 1, each.delivery)
        yield from _of_attempt(*place, numbers[place], each.logs)
    running = running_attempts(messages)
    for message in messages:
        if attempt := running.get(message["id"]):
            place = message["step__name"], message["branch"]
            yield from _of_attempt(*place, max(numbers[place] + 1, attempt.delivery), attempt.logs)


def _of_attempt(step: str, branch: str, number: int, logs: str) -> Iterator[dict[str, Any]]:
    about = {"stepName": step, "branch": branch or None, "attempt": number}
    for line in log_lines(logs):
        yield line | about
