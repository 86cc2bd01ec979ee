"""The trace that a call belongs to, where the program uses OpenTelemetry."""

from __future__ import annotations

import sys


def trace_headers() -> dict[str, str]:
    """Return `traceparent` and `tracestate` of the current span; nothing where there is none.

    A program that has not loaded OpenTelemetry has no span.
    """
    headers: dict[str, str] = {}
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)
    return headers
