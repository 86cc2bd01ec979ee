"""Adds the message that a callable works on to the records of `logging`."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import NamedTuple


class MessageOfLogs(NamedTuple):
    """The fields that each record of a callable has. `attempt` counts from 1."""

    correlation_id: str
    flow: str
    step: str
    attempt: int


message_of_logs: ContextVar[MessageOfLogs | None] = ContextVar("message_of_logs", default=None)


class MessageFilter(logging.Filter):
    """Adds to records `correlation_id`, `flow`, `step`, `attempt`, empty where no message is known.

    `of_message` has all four for a line of text. What a caller gives as `extra` stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        found = message_of_logs.get()
        fields = dict.fromkeys(MessageOfLogs._fields, "") if found is None else found._asdict()
        for name, value in fields.items():
            if not hasattr(record, name):
                setattr(record, name, value)
        record.of_message = ""
        if fields["correlation_id"] or record.correlation_id:  # type: ignore[attr-defined]
            id, flow, step, attempt = (getattr(record, name) for name in fields)
            record.of_message = f" [{id} {flow}/{step} attempt {attempt}]"
        return True
