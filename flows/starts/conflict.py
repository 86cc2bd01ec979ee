"""What differs between a start and the earlier one with the same idempotency key.

Of the earlier one there are its digest and what its run has. So the start is compared as it would
be with the options that the run has, or may have: where the digests are the same then, these
options are what differs. Where none is the same, it is the payload.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

from flows.errors import IdempotencyConflict
from flows.message.digest import RequestDigests, is_of_request
from flows.models import IdempotencyKey, Message, Run, RunCallback, RunDeadline, RunLabel
from flows.models.message import HIGHEST_PRIORITY
from flows.options import RunOptions

AS_WRITTEN = "numbers are compared as they are written, so 1 and 1.0 differ"
PAYLOAD = {"path": "$", "detail": f"differs; {AS_WRITTEN}"}
PAYLOAD_OR_TIME = {
    "path": "$",
    "detail": f"differs, or startAt does, which is not known of the run any more; {AS_WRITTEN}",
}

REPEATED = {"detail": "What it repeats differs: the run, or the step where it begins."}
NAMES = {
    PAYLOAD["detail"]: "the payload",
    PAYLOAD_OR_TIME["detail"]: "the payload or startAt",
    REPEATED["detail"]: "what it repeats",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A start as it is compared with others of its key.

    `repeats`: the run that it repeats, and the step where it begins if it was given.
    """

    body: str
    options: RunOptions
    repeats: tuple[str, str | None] | None = None

    def digest(self) -> str:
        return digest_of(RequestDigests(self.body), self)


def digest_of(digests: RequestDigests, asked: Asked) -> str:
    given = asked.options
    return digests.of(
        given.priority,
        given.start_at,
        given.labels,
        given.deadline,
        given.callback_url,
        asked.repeats,
    )


def conflict(known: IdempotencyKey, asked: Asked) -> IdempotencyConflict:
    return conflicts([(known, asked)])[0]


def conflicts(pairs: Sequence[tuple[IdempotencyKey, Asked]]) -> list[IdempotencyConflict]:
    """Return an error for each start that is another than the one that its key has."""
    runs = _Runs([known.run_id for known, _ in pairs])
    return [_conflict(known.run_id, _differences(known, asked, runs)) for known, asked in pairs]


def _name(error: dict[str, str]) -> str:
    return error.get("parameter") or NAMES[error["detail"]]


def _conflict(run_id: UUID, errors: list[dict[str, str]]) -> IdempotencyConflict:
    names = [_name(each) for each in errors]
    verb = "differs" if len(names) == 1 else "differ"
    return IdempotencyConflict(
        f"The idempotency key has started the run {run_id} with another request:"
        f" {' and '.join(names)} {verb}."
        " Send the same request again, or another one with another key.",
        correlation_id=run_id,
        errors=errors,
    )


def _differences(known: IdempotencyKey, asked: Asked, runs: _Runs) -> list[dict[str, str]]:
    """Return what differs, each as a problem of the API has it."""
    if known.run_id not in runs:
        # Its retention is over.
        return [PAYLOAD_OR_TIME]
    first: Asked | None = known.asked or _first(known, asked, runs)
    if first is None:
        # So much is known of it whatever its payload was.
        likely = next(runs.possible(known.run_id, asked))
        is_certain = asked.options.start_at is None or runs.waits_for_its_time(known.run_id)
        return [PAYLOAD if is_certain else PAYLOAD_OR_TIME, *_differing(likely, asked)]
    return _differing(first, asked) or [PAYLOAD]


def _first(known: IdempotencyKey, asked: Asked, runs: _Runs) -> Asked | None:
    """Return what the key was stored with, None where its payload is another one."""
    digests = RequestDigests(asked.body)
    for each in runs.possible(known.run_id, asked):
        if is_of_request(known.body_digest, digest_of(digests, each), asked.body):
            return each
    return None


def _differing(first: Asked, asked: Asked) -> list[dict[str, str]]:
    was, given = first.options, asked.options
    found = [
        ("priority", was.priority, given.priority, str(was.priority)),
        ("startAt", was.start_at, given.start_at, _told(was.start_at)),
        ("label", was.labels, given.labels, ", ".join(map(":".join, was.labels))),
        ("deadline", was.deadline, given.deadline, _told(was.deadline)),
        ("callbackUrl", was.callback_url, given.callback_url, was.callback_url and "another one"),
    ]
    differing = [
        {"parameter": name, "detail": f"was {told}" if told else "was not given"}
        for name, one, other, told in found
        if one != other
    ]
    return differing if first.repeats == asked.repeats else [*differing, REPEATED]


def _told(time: datetime | timedelta | None) -> str:
    if isinstance(time, timedelta):
        return f"{time.total_seconds():g} seconds from the start"
    return time.astimezone(UTC).isoformat() if time else ""


class _Runs:
    """What stands beside the runs that keys have started."""

    def __init__(self, ids: Sequence[UUID]) -> None:
        self._labels: dict[UUID, list[tuple[str, str]]] = defaultdict(list)
        labels = RunLabel.objects.filter(run__in=ids).order_by("key")
        for run_id, key, value in labels.values_list("run_id", "key", "value"):
            self._labels[run_id].append((key, value))
        self._deadlines = dict(RunDeadline.objects.filter(pk__in=ids).values_list("pk", "at"))
        self._callbacks = dict(RunCallback.objects.filter(pk__in=ids).values_list("pk", "url"))
        delayed = Message.objects.filter(pk__in=ids, delayed=True).order_by()
        self._start_times = dict(delayed.values_list("pk", "available_at"))
        runs = Run.objects.filter(pk__in=ids).order_by()
        self._runs = {run.pk: run for run in runs.only("repeats", "created_at")}

    def __contains__(self, id: UUID) -> bool:
        return id in self._runs

    def _possible_deadlines(self, id: UUID, asked: Asked) -> list[datetime | timedelta | None]:
        """Return what the deadline may have been: a time, or a duration from the start."""
        at = self._deadlines.get(id)
        if at is None:
            return [None]
        whole = timedelta(seconds=round((at - self._runs[id].created_at).total_seconds()))
        given = asked.options.deadline
        return [at, whole] if given is None else [given, at, whole]

    def _possible_repeats(self, id: UUID, asked: Asked) -> list[tuple[str, str | None] | None]:
        repeats = self._runs[id].repeats
        if repeats is None:
            return [None]
        whole = (str(repeats), None)
        is_same_run = asked.repeats and asked.repeats[0] == whole[0]
        return [asked.repeats, whole] if is_same_run else [whole]

    def waits_for_its_time(self, id: UUID) -> bool:
        return id in self._start_times

    def possible(self, id: UUID, asked: Asked) -> Iterator[Asked]:
        """Yield what the run may have been asked for with the same payload, the likely first."""
        given = asked.options
        certain = replace(
            given, labels=tuple(self._labels[id]), callback_url=self._callbacks.get(id, "")
        )
        deadlines, repeats = self._possible_deadlines(id, asked), self._possible_repeats(id, asked)
        times = dict.fromkeys([given.start_at, self._start_times.get(id), None])
        priorities = sorted(range(HIGHEST_PRIORITY + 1), key=lambda each: each != given.priority)
        for of_first in product(repeats, deadlines, times, priorities):
            repeated, deadline, start_at, priority = of_first
            options = replace(certain, priority=priority, start_at=start_at, deadline=deadline)
            yield Asked(asked.body, options, repeated)
