"""Sends the spans of this process to a collector, as the variables of OpenTelemetry say.

A thread sends them some at a time. Spans wait in a bounded queue; while the collector is away or
too slow, those that come later take the places of the oldest. No run waits for that.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.util import Finalize

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

logger = logging.getLogger(__name__)

SCOPE = InstrumentationScope("asyncengine")
# How long the end of a process waits for the spans that are left.
END_SECONDS = 2.0
# What logs each attempt at a collector that is away.
LOUD = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
)
_quiet = threading.local()


def record(
    name: str,
    span: SpanContext,
    parent: SpanContext | None,
    kind: SpanKind,
    began: float,
    ended: float,
    attributes: Mapping[str, AttributeValue],
    error: str = "",
) -> None:
    """Take a span that has ended, unless it is not sampled. The times are epoch seconds.

    `error` is a class of errors, never a text.
    """
    if span.trace_flags.sampled:
        if error:
            attributes = {**attributes, "error.type": error}
        _recorder(os.getpid()).take(
            ReadableSpan(
                name,
                span,
                parent,
                _resource(),
                attributes,
                kind=kind,
                status=Status(StatusCode.ERROR if error else StatusCode.UNSET),
                start_time=int(began * 1e9),
                # A clock that was set makes no span end before it begins.
                end_time=int(max(began, ended) * 1e9),
                instrumentation_scope=SCOPE,
            )
        )


class Recorder:
    """The queue of a process and its thread. No fork keeps a thread, so each process makes one."""

    def __init__(self) -> None:
        watch_loud_logs()
        self._spans = BatchSpanProcessor(_Telling(OTLPSpanExporter()))
        # Also called where `atexit` is not: in a process of multiprocessing.
        Finalize(self, self._end, exitpriority=10)

    def take(self, span: ReadableSpan) -> None:
        _quiet.on = True
        try:
            self._spans.on_end(span)
        finally:
            _quiet.on = False

    def _end(self) -> None:
        """Send what is left. A collector that does not answer keeps the process for a moment."""
        sending = threading.Thread(target=self._spans.shutdown, daemon=True)
        sending.start()
        sending.join(END_SECONDS)


class _Telling(SpanExporter):
    """Logs once that the collector takes no spans, and once that it takes them again."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter = exporter
        self._is_away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        _quiet.on = True
        try:
            result = self._exporter.export(spans)
        finally:
            _quiet.on = False
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_away:
            logger.warning("the collector of traces takes no spans: they are dropped until it does")
        elif self._is_away and not is_away:
            logger.warning("the collector of traces takes spans again")
        self._is_away = is_away
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def watch_loud_logs() -> None:
    """Drop what the library logs of spans of ours, and keep what it logs of a project's own."""
    for name in LOUD:
        logging.getLogger(name).addFilter(_is_of_others)


def _is_of_others(record: logging.LogRecord) -> bool:
    return not getattr(_quiet, "on", False)


@cache
def _recorder(pid: int) -> Recorder:
    return Recorder()


@cache
def _resource() -> Resource:
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last, and count.
    named = Resource.create({SERVICE_NAME: "asyncengine"})
    return named.merge(OTELResourceDetector().detect())


@cache
def sampler() -> Sampler:
    """Return the sampler of OTEL_TRACES_SAMPLER; the default takes each trace."""
    return TracerProvider(shutdown_on_exit=False).sampler
