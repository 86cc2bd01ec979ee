"""The spans of runs, by the semantic conventions of messaging: starts, and attempts of steps."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from django.db import transaction
from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.util.types import AttributeValue

from flows.disposition import Decision, Disposition, StepOutcome
from flows.message.error_class import naming_line
from flows.plan import step_plan
from flows.traces.contexts import start_of, starts_of
from scripts.traces.context import child_of
from scripts.traces.recording import record

if TYPE_CHECKING:
    from flows.store.types import DeliveryResult, HeldMessage, NewRun

# "ValueError: …", as languages write an error of a class.
ERROR_OF_A_CLASS = re.compile(r"([A-Za-z_][\w.]{0,99}):(\s|$)")
ERRORS = frozenset({Disposition.RETRY, Disposition.DEAD_LETTERED})


class Attempt(NamedTuple):
    """The span of an attempt at a step, which has begun, and that of the start of its run."""

    span: SpanContext
    start: SpanContext


def note_starts(runs: Sequence[NewRun], began: float) -> None:
    """Record the starts of runs with the commit of the transaction that is open."""
    transaction.on_commit(partial(_record_starts, list(runs), began), robust=True)


def _record_starts(runs: Iterable[NewRun], began: float) -> None:
    for run in runs:
        site = step_plan(run.step_id).site
        record(
            f"start {run.flow_name}",
            start_of(run.correlation_id, run.called_by),
            run.called_by,
            SpanKind.PRODUCER,
            began,
            time.time(),
            _attributes("send", "start", site.queue, run.flow_name, str(run.correlation_id)),
        )


def begin(taken: Sequence[HeldMessage]) -> None:
    """Give each message that a session has taken the span of its attempt. One query for all."""
    starts = starts_of({UUID(held.run_id) for held in taken}) if taken else {}
    for held in taken:
        start = starts[UUID(held.run_id)]
        held.trace = Attempt(child_of(start), start)


def end(results: Iterable[DeliveryResult]) -> None:
    """Record the attempts of a commit that has been made."""
    for result in results:
        held = result.held
        if held.trace is None or not result.ran:
            continue
        site = step_plan(held.step_id).site
        decision = result.decision
        attributes = _attributes(
            "process", "process", site.queue, site.flow, held.correlation_id
        ) | {
            "asyncengine.step.name": site.step,
            "asyncengine.step.attempt": held.deliveries,
            "asyncengine.outcome": decision.disposition.name.lower(),
        }
        record(
            f"process {site.step}",
            held.trace.span,
            held.trace.start,
            SpanKind.CONSUMER,
            result.started_at,
            result.finished_at,
            attributes,
            error_type(decision),
        )


def _attributes(
    kind: str, operation: str, queue: str, flow: str, correlation_id: str
) -> dict[str, AttributeValue]:
    return {
        "messaging.system": "asyncengine",
        "messaging.operation.type": kind,
        "messaging.operation.name": operation,
        "messaging.destination.name": queue,
        "messaging.message.conversation_id": correlation_id,
        "asyncengine.flow.name": flow,
    }


def error_type(decision: Decision) -> str:
    """Return the class of an error, "" for none. Its text may have parts of a payload.

    What a script says of a message that it rejects or wants again is text in any case.
    """
    if decision.disposition not in ERRORS:
        return ""
    if decision.outcome is StepOutcome.FAILED and (
        found := ERROR_OF_A_CLASS.match(naming_line(decision.error))
    ):
        return found[1]
    reason = decision.reason if decision.reason else decision.outcome
    return str(reason.value).lower()
