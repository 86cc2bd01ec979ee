"""Results of deliveries: what the store is to write, with the decision of `redelivery`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson

from flows.disposition import Decision, Disposition
from flows.models import Run, RunningAttempt
from flows.plan import step_plan
from flows.store import DeliveryResult, HeldMessage
from flows.store.children import kept_again
from flows.store.clock import machine_clock
from flows.store.sizes import fault_of_text
from flows.worker import redelivery
from flows.worker.redelivery import Waited
from scripts.pool.running import RunningCall
from scripts.protocol.calls import Outcome
from scripts.protocol.json_text import items_of
from scripts.protocol.ways import allowed


def result_of_call(held: HeldMessage, outcome: Outcome) -> DeliveryResult:
    """Return what comes of a call that has ended."""
    is_last = step_plan(held.step_id).site.is_last or outcome.finishes
    output = "" if outcome.error else (outcome.output or b"null").decode()
    fault = fault_of_text(output) if is_last else None
    fans_out = not is_last and output.lstrip()[:1] == "["
    decision = redelivery.after_call(outcome.error, fault)
    goes_to = 0
    if outcome.goes_to and outcome.error is None:
        goes_to, decision = chosen(held, outcome.goes_to, fans_out)
    result = DeliveryResult(
        held,
        decision,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        logs=orjson.dumps(outcome.logs).decode() if outcome.logs else "",
        warning=outcome.warning is not None,
        state=outcome.state,
    )
    if result.disposition is Disposition.ACCEPTED:
        result.output, result.finishes, result.goes_to = output, outcome.finishes, goes_to
        if outcome.call.starts:
            result.starts = tuple(run for _, run in sorted(outcome.call.starts.items()))
        if fans_out:
            result.branches = [text for text, _ in items_of(output)]
    return result


def chosen(held: HeldMessage, name: str, fans_out: bool) -> tuple[int, Decision]:
    """Return the step that a script goes to, by its name; a branch goes as far as its join."""
    plan = step_plan(held.step_id)
    way = plan.way(name)
    if way is None:
        return 0, redelivery.cannot_work(f"context.go({name!r}): {allowed(plan.site.goes_to)}")
    if way.is_past_join and (held.branch or fans_out):
        meets = plan.meets_step_id and step_plan(plan.meets_step_id).site.step
        return 0, redelivery.cannot_work(
            f"context.go({name!r}): a branch may go to its join {meets!r}, but not past it."
        )
    return way.step_id, redelivery.ACCEPTED


def running_attempt(held: HeldMessage, running: RunningCall, consumer_id: int) -> RunningAttempt:
    """Return what others may see of a call that has not ended, not stored yet."""
    return RunningAttempt(
        message_id=UUID(held.id),
        consumer_id=consumer_id,
        delivery=held.deliveries,
        started_at=datetime.fromtimestamp(running.started_at, UTC),
        logs=orjson.dumps(running.logs).decode() if running.logs else "",
        progress=orjson.dumps(running.progress).decode() if running.progress else "",
    )


def ended_now(held: HeldMessage, decision: Decision) -> DeliveryResult:
    """Return the result of a delivery that ended without a script."""
    epoch = time.time()
    return DeliveryResult(held, decision, started_at=epoch, finished_at=epoch)


def cancelled_early(held: HeldMessage) -> DeliveryResult:
    """Return the result of a delivery whose run was cancelled before its script began."""
    return replace(ended_now(held, redelivery.CANCELLED), has_begun=False)


def pending_outputs_of(held: HeldMessage) -> DeliveryResult:
    """Go on with what found no room after a step that is done."""
    result = ended_now(held, redelivery.ACCEPTED)
    (place, _), *items = items_of(held.body)
    found = orjson.loads(place)
    if isinstance(found, dict):
        kept_again(result, found, [text for text, _ in items])
        return result
    result.first_branch, result.goes_to = found if isinstance(found, list) else (found, 0)
    result.branches = [text for text, _ in items]
    return result


def released(held: HeldMessage) -> DeliveryResult:
    """Let a message wait again whose script has not run."""
    return ended_now(held, redelivery.RELEASED)


def ages(held: Sequence[HeldMessage]) -> list[timedelta]:
    """Return how long ago the runs of messages were started."""
    now = machine_clock().epoch()
    return [timedelta(seconds=now - each) for each in started_at(held)]


def waited(held: HeldMessage, now: float | None = None) -> Waited | None:
    """Return how often and how long, until now, the script has waited with the message."""
    if (waits := held.waits) is None:
        return None
    now = machine_clock().epoch() if now is None else now
    return Waited(waits.times, timedelta(seconds=max(now - waits.since, 0.0)))


def started_at(held: Sequence[HeldMessage]) -> list[float]:
    """Return when the runs of messages were started, in epoch seconds: a UUIDv7 begins with
    milliseconds.

    The ids of runs that scripts have started begin with those of their parents: they are looked up.
    """
    ids = [each.run_id.replace("-", "") for each in held]
    children = {id for id in ids if id[12] == "8"}
    rows = Run.objects.filter(pk__in=children).values_list("pk", "created_at") if children else ()
    times = {pk.hex: created_at.timestamp() for pk, created_at in rows}
    return [times.get(id) or int(id[:12], 16) / 1000 for id in ids]
