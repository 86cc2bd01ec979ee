"""Where a run stands in a trace. Nothing of it is stored, but what a caller has given.

A run that no trace has started has one of its own, whose id is the correlation id. The id of the
span of its start is the second half of it in any trace, so each process knows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace import SpanContext, TraceFlags

from flows.models import RunTrace
from flows.models.run_trace import LONGEST_STATE
from scripts.traces.context import of_headers, to_headers
from scripts.traces.recording import sampler


def start_of(run_id: UUID, called_by: SpanContext | None) -> SpanContext:
    """Return the context of the span of a run's start, sampled as OTEL_TRACES_SAMPLER says."""
    trace_id, state = run_id.int, None
    parent = drawn = None
    if called_by is not None:
        trace_id = drawn = called_by.trace_id
        state = called_by.trace_state
        parent = trace.set_span_in_context(trace.NonRecordingSpan(called_by))
    # Samplers draw by the last 64 bits of the id, and two of those of a UUID are fixed.
    drawn = drawn or int.from_bytes(hashlib.sha256(run_id.bytes).digest()[:16], "big")
    decision = sampler().should_sample(parent, drawn, "start").decision
    flags = TraceFlags(TraceFlags.SAMPLED if decision.is_sampled() else TraceFlags.DEFAULT)
    return SpanContext(trace_id, run_id.int & (1 << 64) - 1, False, flags, state)


def starts_of(run_ids: Collection[UUID]) -> dict[UUID, SpanContext]:
    """Return the contexts of the starts of runs, in one query."""
    given = {each.pk: read(each) for each in RunTrace.objects.filter(pk__in=run_ids)}
    return {run_id: start_of(run_id, given.get(run_id)) for run_id in run_ids}


def row_of(run_id: UUID, called_by: SpanContext) -> RunTrace:
    """Return the row that keeps the span in which a run is started, not stored yet."""
    headers = to_headers(called_by)
    # A list that is longer is left out whole.
    state = headers.get("tracestate", "")
    return RunTrace(
        run_id=run_id,
        traceparent=headers["traceparent"],
        tracestate=state if len(state) <= LONGEST_STATE else "",
    )


def read(row: RunTrace) -> SpanContext | None:
    return of_headers(row.traceparent, row.tracestate)
