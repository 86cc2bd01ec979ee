"""Requests to other servers as spans, by the semantic conventions of HTTP clients."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.util.types import AttributeValue

from scripts.protocol.services import RequestFailed
from scripts.traces import OutsideCall
from scripts.traces.context import child_of, current, to_headers
from scripts.traces.recording import record


class TracedCall(OutsideCall):
    """A request whose server learns of its span."""

    def __init__(self, span: SpanContext) -> None:
        self.headers: Mapping[str, str] = to_headers(span)
        self.status = 0

    def note_status(self, status: int) -> None:
        self.status = status


@contextmanager
def traced(method: str, scheme: str, host: str, port: int) -> Iterator[OutsideCall]:
    """Record a request as a span within the current one; without one it is no span."""
    if (parent := current()) is None:
        yield OutsideCall()
        return
    span, began, error = child_of(parent), time.time(), ""
    call = TracedCall(span)
    try:
        yield call
    except RequestFailed as failed:
        error = failed.kind
        raise
    except Exception as failed:
        error = type(failed).__name__
        raise
    finally:
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "url.scheme": scheme,
            "server.address": host,
            "server.port": port,
        }
        if call.status:
            attributes["http.response.status_code"] = call.status
        if not error and call.status >= 400:
            error = str(call.status)
        record(method, span, parent, SpanKind.CLIENT, began, time.time(), attributes, error)
