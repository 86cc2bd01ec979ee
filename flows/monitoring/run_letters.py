"""The dead letters of a run, and the attempts that they have come of."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

from flows.disposition import DIED_AT_LAST
from flows.models import DeadLetter, Run, StepRun
from flows.store.lost_attempts import DIED

# The script version that a message or a dead letter is for.
SCRIPT_OF_ROW = ("step__script_version__script_name", "step__script_version__number")
FIELDS = (
    *("id", "step_id", "step__name", "error", "reason", "cause", "deliveries", "dead_at", "branch"),
    *("reprocessed_at", "discarded_at"),
)


class RunLetters:
    """The dead letters of a run, the oldest first."""

    def __init__(self, run: Run) -> None:
        letters = DeadLetter.objects.filter(run=run.pk).order_by("id")
        found = list(letters.values(*FIELDS, *SCRIPT_OF_ROW))
        # Those that are neither reprocessed nor discarded.
        self.open = [each for each in found if not (each["reprocessed_at"] or each["discarded_at"])]
        # By branch: those that no attempt was found for yet.
        self._left: dict[str, deque[Mapping[str, Any]]] = defaultdict(deque)
        for letter in found:
            self._left[letter["branch"]].append(letter)

    def reason_of(self, attempt: StepRun) -> str | None:
        """Return why the attempt has ended in a dead letter, None where it has not.

        Ask for all attempts in their order. After a letter was reprocessed its message has the same
        numbers of deliveries again, so a letter is of the first attempt that it can be of. Some
        letters are of no attempt: their worker died before others could see it.
        """
        left = self._left[attempt.branch]
        while left and left[0]["dead_at"] < attempt.started_at:
            left.popleft()
        if left and _is_of(left[0], attempt):
            return str(left.popleft()["reason"])
        return None


def _is_of(letter: Mapping[str, Any], attempt: StepRun) -> bool:
    if (letter["step_id"], letter["deliveries"]) != (attempt.step_id, attempt.delivery):
        return False
    if letter["cause"] == DeadLetter.Cause.WORKER_DIED:
        return attempt.error in (DIED, DIED_AT_LAST)
    return bool(letter["error"] == attempt.error)
