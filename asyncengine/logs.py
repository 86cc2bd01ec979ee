"""Logs as JSON, one line for each event. `LOGGING` names it, so that text needs no structlog."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import structlog
from django.conf import settings

# Of a record's own fields. Others might be payloads, requests or secrets.
FIELDS = ("correlation_id", "flow", "step", "attempt", "queue", "outcome", "reason", "code")
# Of a record, else those of the current span, where traces are on.
TRACE = ("trace_id", "span_id")


def json_formatter() -> logging.Formatter:
    """Return the formatter of `ASYNCENGINE_LOG_FORMAT=json`."""
    return _formatter(_add_place, _add_trace)


def server_formatter() -> logging.Formatter:
    """Return the formatter of granian's own lines. Its main process loads no settings."""
    return _formatter(_add_place)


def _formatter(*added: Any) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        processors=[
            *added,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name],
    )


def _add_place(logger: Any, name: str, event: Any) -> Any:
    """Add when and where it happened, and the message that it is about."""
    record = event["_record"]
    event["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat()
    event["process"] = record.process
    for field in FIELDS:
        if (value := getattr(record, field, "")) != "":
            event[field] = value
    return event


def _add_trace(logger: Any, name: str, event: Any) -> Any:
    record = event["_record"]
    if settings.ASYNCENGINE_TRACES:
        ids = {field: getattr(record, field, "") for field in TRACE}
        event |= ids if ids["trace_id"] else _current_ids()
    return event


def _current_ids() -> dict[str, str]:
    from scripts.traces.context import current, ids_of

    return {} if (span := current()) is None else ids_of(span)
