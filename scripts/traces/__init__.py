"""Traces of OpenTelemetry: spans, the headers of W3C Trace Context, and the way to a collector.

They are off unless ASYNCENGINE_TRACES is set. The modules beside this one need the extra `otel`;
others import them only where traces are on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from scripts.protocol.calls import Call


def are_on() -> bool:
    return bool(settings.ASYNCENGINE_TRACES)


def in_trace_of(call: Call | None) -> AbstractContextManager[object]:
    """Return a block in which the attempt of the call is the current span, where it has one."""
    if call is None or call.trace is None:
        return nullcontext()
    from scripts.traces.context import within

    return within(call.trace)


class OutsideCall:
    """A request to another server, not traced."""

    # What the request has beside its own headers.
    headers: Mapping[str, str] = {}

    def note_status(self, status: int) -> None:
        """Take the status of the answer."""


_UNTRACED = OutsideCall()


@contextmanager
def outside_call(method: str, scheme: str, host: str, port: int) -> Iterator[OutsideCall]:
    """Trace a request that is made in the block, where traces are on and there is a current span.

    The path is not told: in many addresses it has a secret, or the id of a person.
    """
    if not are_on():
        yield _UNTRACED
        return
    from scripts.traces.outside import traced

    with traced(method, scheme, host, port) as call:
        yield call
