"""The words for programs that stand beside the errors of runs and attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Max

from flows.disposition import DIED_AT_LAST
from flows.models import DeadLetter, Run, RunDeadline
from flows.models.payload_text import beginning
from flows.store.lost_attempts import DIED, STOPPED

# The code of an error that has left no dead letter.
FAILED = "failed"
# The code of a run that was cancelled at its deadline.
DEADLINE = "deadline"
# The codes of errors of attempts that are no outcome of their script.
WORKER_DIED = DeadLetter.Cause.WORKER_DIED.value
LOST = {DIED: WORKER_DIED, DIED_AT_LAST: WORKER_DIED, STOPPED: "worker-stopped"}
# Of an error as long as some that scripts raise.
LONGEST_ERROR = 4_000

LETTER_COLUMNS = ("run_id", "branch", "step_id", "deliveries", "reason", "cause", "dead_at")


class Codes(NamedTuple):
    """Why it has failed, and how the delivery ended that it has failed with."""

    error: str | None = None
    cause: str | None = None


NONE = Codes()


class Attempt(NamedTuple):
    """What is to be known of an attempt. The error may be the beginning of a long one."""

    run_id: UUID
    step_id: int
    branch: str
    delivery: int
    outcome: str
    started_at: datetime
    error: str


def codes_of_runs(
    statuses: Mapping[UUID, str], missed: Collection[UUID] | None = None
) -> dict[UUID, Codes]:
    """Return the codes of runs that have an error, given by their statuses.

    `missed`: those that have missed their deadlines, if they were looked up.
    """
    cancelled = [run_id for run_id, status in statuses.items() if status == Run.Status.CANCELLED]
    if missed is None:
        missed = _missed(cancelled)
    late = {run_id: Codes(DEADLINE) for run_id in cancelled if run_id in missed}
    letters = _of_last_letters(statuses.keys() - late.keys())
    return {run_id: late.get(run_id) or letters.get(run_id, Codes(FAILED)) for run_id in statuses}


def _missed(run_ids: Collection[UUID]) -> set[UUID]:
    if not run_ids:
        return set()
    missed = RunDeadline.objects.filter(pk__in=run_ids, was_missed=True).order_by()
    return set(missed.values_list("pk", flat=True))


def _of_last_letters(run_ids: Collection[UUID]) -> dict[UUID, Codes]:
    """Return why the last dead letter of each run has become one, and its cause."""
    if not run_ids:
        return {}
    letters = DeadLetter.objects.filter(run__in=run_ids).order_by()
    last = letters.values("run").annotate(last=Max("pk")).values("last")
    found = DeadLetter.objects.filter(pk__in=last).order_by()
    return {
        run_id: Codes(reason, cause)
        for run_id, reason, cause in found.values_list("run_id", "reason", "cause")
    }


def cause_of(error: str, outcome: str) -> str | None:
    """Return how an attempt has ended that has an error: what befell its worker, or its outcome."""
    return LOST.get(error, outcome.lower()) if error else None


def codes_of_attempts(attempts: Iterable[Attempt]) -> dict[Attempt, Codes]:
    """Return the codes of the attempts among these that have an error."""
    failed = [each for each in attempts if each.error]
    letters = letters_of(failed)
    codes = {}
    for each in failed:
        cause = cause_of(each.error, each.outcome)
        of_place = letters[each.run_id, each.branch, each.step_id, each.delivery]
        reasons = (letter["reason"] for letter in of_place if is_of(letter, each))
        codes[each] = Codes(next(reasons, cause), cause)
    return codes


def letters_of(attempts: Collection[Attempt]) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    """Return the dead letters of attempts by run, branch, step and delivery, the oldest first.

    A run may have very many in other branches.
    """
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    if attempts:
        letters = DeadLetter.objects.filter(
            run__in={each.run_id for each in attempts},
            branch__in={each.branch for each in attempts},
            step__in={each.step_id for each in attempts},
        ).order_by("pk")
        start = beginning("error", LONGEST_ERROR)
        for each in letters.values(*LETTER_COLUMNS, start_of_error=start):
            place = (each["run_id"], each["branch"], each["step_id"], each["deliveries"])
            found[place].append(each)
    return found


def is_of(letter: Mapping[str, Any], attempt: Attempt) -> bool:
    """Tell whether a dead letter of the same place and delivery may have come of an attempt.

    After it was reprocessed its message has the same numbers of deliveries again.
    """
    if letter["dead_at"] < attempt.started_at:
        return False
    if letter["cause"] == WORKER_DIED:
        return attempt.error in (DIED, DIED_AT_LAST)
    return bool(letter["start_of_error"] == attempt.error)
