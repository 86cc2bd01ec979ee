"""What a commit does for runs that scripts have started: they are stored with the output.

A start whose queue is full keeps its message at its step, which is done, with the output and all
its starts, until there is room. So the script does not run again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.disposition import Decision, Disposition
from flows.errors import QueueFull
from flows.models import IdempotencyKey, Run
from flows.options import IDEMPOTENCY_KEY_AGE
from flows.plan import keys_of
from flows.store import sql
from flows.store.counters import Counters
from flows.store.database import sql_time
from flows.store.flow_state import forget_pending
from flows.store.rows import has_more_beside, start_row, store_beside
from flows.store.totals import FlowTotalsChanges
from flows.store.types import DeliveryResult, NewRun, QueueCounters
from scripts.traces import are_on

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

RELEASED = Decision(Disposition.RELEASED)


class Children:
    """The runs that the scripts of a commit have started.

    The counters of their queues are locked with all others of the commit, in the order of the ids.
    """

    def __init__(self, counters: Counters, queues: dict[int, QueueCounters], now: datetime) -> None:
        self.counters = counters
        self.database = counters.database
        self.queues = queues
        self.now = now
        self._stored: list[NewRun] = []

    def with_known_keys(self, result: DeliveryResult) -> DeliveryResult:
        """Return the result; its script runs again if another has used a key of it meanwhile.

        What waits for room has run: it names the run of the other from now on. What has no room yet
        has not used its key. Where it ran within the transaction, or has changed the state of its
        flow, that is to be rolled back, for it names a run that will not be stored.
        """
        if result.disposition is not Disposition.ACCEPTED:
            return result
        keyed = [run for run in result.starts if run.key]
        known = self._started_by(keyed)
        known |= {_key_of(run): run.correlation_id for run in self._stored if run.key}
        for run in keyed:
            first = known.get(_key_of(run))
            has_written = result.ran_in_commit or result.state is not None
            if first and (has_written or not result.held.pending_outputs):
                forget_pending(result)
                again = replace(result, decision=RELEASED, starts=(), runs_again=True)
                return replace(again, takes_back=has_written)
            if first:
                result = _naming(result, run.correlation_id, first)
        return result

    def _started_by(self, keyed: Sequence[NewRun]) -> dict[tuple[str, str, str], UUID]:
        """Return the runs that the keys have started within a day."""
        given: dict[tuple[str, str], list[str]] = defaultdict(list)
        for run in keyed:
            given[run.flow_name, run.key_caller].append(run.key)
        known: dict[tuple[str, str, str], UUID] = {}
        since = self.now - IDEMPOTENCY_KEY_AGE
        versions = {run.flow_name: run.flow_version_id for run in keyed}
        for (flow, caller), keys in given.items():
            of_flow = keys_of(flow, versions[flow])
            same = IdempotencyKey.objects.filter(of_flow, caller=caller, key__in=keys)
            found = list(same.values_list("key", "run_id", "created_at"))
            if any(created_at < since for *_, created_at in found):
                same.filter(created_at__lt=since).delete()
            known |= {(flow, caller, key): run_id for key, run_id, at in found if at >= since}
        return known

    def take(self, starts: Sequence[NewRun]) -> bool:
        """Count the runs in their queues, all of them; false, and none, where room is missing."""
        ready = Counter(run.queue_id for run in starts if run.start_at is None)
        delayed = Counter(run.queue_id for run in starts if run.start_at is not None)
        if any(self.queues[id].room < count for id, count in ready.items()):
            return False
        if not all(self._takes_delayed(id, count) for id, count in delayed.items()):
            return False
        for queue_id, count in ready.items():
            self.queues[queue_id].depth_change += count
        for queue_id, count in delayed.items():
            self.queues[queue_id].delayed_change += count
        self._stored += starts
        return True

    def _takes_delayed(self, queue_id: int, count: int) -> bool:
        known = max(self.queues[queue_id].delayed_change, 0)
        try:
            self.counters.refuse_if_too_many_delayed(queue_id, count + known)
        except QueueFull:
            return False
        return True

    def write(self, totals: FlowTotalsChanges) -> None:
        if not self._stored:
            return
        at = sql_time(self.now)
        messages = [start_row(run, at) for run in self._stored]
        # Bodies may be large, and go with the messages.
        rows = [
            row | {"parent": run.parent and run.parent.hex, "start_depth": run.depth, "body": ""}
            for row, run in zip(messages, self._stored, strict=True)
        ]
        self.database.each(sql.INSERT_CHILD, rows)
        self.database.each(sql.INSERT_MESSAGE, messages)
        keys = [
            IdempotencyKey(
                flow_name=run.flow_name,
                caller=run.key_caller,
                key=run.key,
                body_digest=run.key_digest,
                run_id=run.correlation_id,
                created_at=self.now,
            )
            for run in self._stored
            if run.key
        ]
        IdempotencyKey.objects.bulk_create(keys)
        if has_more_beside(self._stored):
            store_beside(self._stored)
        if are_on():
            from flows.traces.spans import note_starts

            note_starts(self._stored, time.time())
        for run in self._stored:
            totals[run.flow_name].accepted += 1
        self.database.wake()


def _naming(result: DeliveryResult, own: UUID, first: UUID) -> DeliveryResult:
    """Return the result without one of its starts, and with the id of the first run of its key."""
    old, new = str(own), str(first)
    branches = result.branches and [text.replace(old, new) for text in result.branches]
    starts = tuple(
        replace(run, body=run.body.replace(old, new))
        for run in result.starts
        if run.correlation_id != own
    )
    output = result.output.replace(old, new)
    return replace(result, output=output, branches=branches, starts=starts)


def _key_of(run: NewRun) -> tuple[str, str, str]:
    return run.flow_name, run.key_caller, run.key


def caller_of_flow(flow: str) -> str:
    """Return whose the keys of a flow's scripts are, as an idempotency key has it."""
    return f"flow:{hashlib.sha256(flow.encode()).hexdigest()[:48]}"


# --- what waits for room ------------------------------------------------------------------------


def kept_for_room(done: DeliveryResult) -> str:
    """Write what a script gave as the body of its message, while its starts find no room."""
    place = {
        "first": done.first_branch,
        "to": done.goes_to,
        "finishes": done.finishes,
        "isList": done.branches is not None,
        "input": done.held.body,
        "starts": [_written(run) for run in done.starts],
    }
    outputs = [done.output] if done.branches is None else done.branches
    return f"[{','.join([json.dumps(place), *outputs])}]"


def kept_again(done: DeliveryResult, place: dict[str, Any], outputs: Iterable[str]) -> None:
    """Read it back into a result."""
    done.first_branch, done.goes_to = place["first"], place["to"]
    done.finishes = place["finishes"]
    done.starts = tuple(_read(place["starts"]))
    if place["isList"]:
        done.branches = list(outputs)
    else:
        [done.output] = outputs
    # If it dies after all, its dead letter has what its script got.
    done.held.body = place["input"]


def _written(run: NewRun) -> dict[str, Any]:
    return {
        "id": run.correlation_id.hex,
        "flow": run.flow_name,
        "version": run.flow_version_id,
        "step": run.step_id,
        "queue": run.queue_id,
        "body": run.body,
        "priority": run.priority,
        "startAt": run.start_at and run.start_at.isoformat(),
        "labels": run.labels,
        "deadline": run.deadline and run.deadline.isoformat(),
        "parent": run.parent and run.parent.hex,
        "depth": run.depth,
        "key": [run.key, run.key_caller, run.key_digest],
        "trace": _trace(run),
    }


def _read(written: list[dict[str, Any]]) -> Iterator[NewRun]:
    parents = {each["parent"] for each in written}
    users = dict(Run.objects.filter(pk__in=parents).values_list("pk", "started_by_id"))
    for each in written:
        key, caller, digest = each["key"]
        parent = UUID(each["parent"])
        yield NewRun(
            correlation_id=UUID(each["id"]),
            flow_name=each["flow"],
            flow_version_id=each["version"],
            step_id=each["step"],
            queue_id=each["queue"],
            body=each["body"],
            user_id=users.get(parent),
            priority=each["priority"],
            start_at=_time(each["startAt"]),
            # What waited before there were labels and deadlines has none.
            labels=tuple((key, value) for key, value in each.get("labels", ())),
            deadline=_time(each.get("deadline")),
            parent=parent,
            depth=each["depth"],
            key=key,
            key_caller=caller,
            key_digest=digest,
            called_by=_called_by(each.get("trace")),
        )


def _trace(run: NewRun) -> dict[str, str] | None:
    if run.called_by is None:
        return None
    from scripts.traces.context import to_headers

    return to_headers(run.called_by)


def _called_by(written: dict[str, str] | None) -> SpanContext | None:
    if written is None or not are_on():
        return None
    from scripts.traces.context import of_headers

    return of_headers(**written)


def _time(written: str | None) -> datetime | None:
    return datetime.fromisoformat(written) if written else None
