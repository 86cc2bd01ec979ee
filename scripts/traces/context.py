"""The contexts of spans: the current one, and those in headers of W3C Trace Context."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_headers = TraceContextTextMapPropagator()
_random = random.SystemRandom()


def current() -> trace.SpanContext | None:
    """Return that of the current span, also where the project has begun it."""
    found = trace.get_current_span().get_span_context()
    return found if found.is_valid else None


@contextmanager
def within(span: trace.SpanContext) -> Iterator[None]:
    """Make a span the current one."""
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))
    try:
        yield
    finally:
        context.detach(token)


def of_headers(traceparent: str | None, tracestate: str | None = None) -> trace.SpanContext | None:
    """Return the context that headers give; None: there is none, or it is malformed."""
    if not traceparent:
        return None
    given = {"traceparent": traceparent} | ({"tracestate": tracestate} if tracestate else {})
    span = trace.get_current_span(_headers.extract(given, context.Context()))
    found = span.get_span_context()
    return found if found.is_valid else None


def to_headers(span: trace.SpanContext) -> dict[str, str]:
    """Return `traceparent`, and `tracestate` where there is one."""
    headers: dict[str, str] = {}
    carrier = trace.set_span_in_context(trace.NonRecordingSpan(span), context.Context())
    _headers.inject(headers, carrier)
    return headers


def child_of(parent: trace.SpanContext) -> trace.SpanContext:
    """Return the context of a new span within another. It is sampled as that is."""
    return trace.SpanContext(
        parent.trace_id,
        _random.getrandbits(64) or 1,
        is_remote=False,
        trace_flags=parent.trace_flags,
        trace_state=parent.trace_state,
    )


def ids_of(span: trace.SpanContext) -> dict[str, str]:
    """Return the ids as a log has them."""
    return {
        "trace_id": trace.format_trace_id(span.trace_id),
        "span_id": trace.format_span_id(span.span_id),
    }
