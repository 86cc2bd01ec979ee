"""Starts: one run, many of one flow, and those of a moment together."""

from flows.starts.group import StartRequest, start_as_seen, start_together
from flows.starts.idempotency import IDEMPOTENCY_KEY_AGE, is_idempotency_key
from flows.starts.keyed import start_keyed
from flows.starts.new_run import Payload, as_text
from flows.starts.started import Started
from flows.starts.starting import start, start_many

__all__ = [
    "IDEMPOTENCY_KEY_AGE",
    "Payload",
    "StartRequest",
    "Started",
    "as_text",
    "is_idempotency_key",
    "start",
    "start_as_seen",
    "start_keyed",
    "start_many",
    "start_together",
]
