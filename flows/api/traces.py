"""The trace of a caller: its headers are those of W3C Trace Context."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from flows.front.environ import Scope, header
from scripts.traces import are_on

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext


def in_trace_of_caller(meta: Mapping[str, Any]) -> AbstractContextManager[object]:
    """Return a block whose starts belong to the trace that a request names.

    Malformed headers name none, and are no mistake of the caller.
    """
    if not are_on():
        return nullcontext()
    from scripts.traces.context import of_headers, within

    caller = of_headers(meta.get("HTTP_TRACEPARENT"), meta.get("HTTP_TRACESTATE"))
    return nullcontext() if caller is None else within(caller)


def caller_of(scope: Scope) -> SpanContext | None:
    """Return the span that a request names, where traces are on."""
    if not are_on():
        return None
    from scripts.traces.context import of_headers

    return of_headers(_text(scope, b"traceparent"), _text(scope, b"tracestate"))


def _text(scope: Scope, name: bytes) -> str:
    return (header(scope, name) or b"").decode("latin-1")
