"""What the OpenAPI document says of the API as a whole."""

from __future__ import annotations

from typing import Any

INFO: dict[str, Any] = {
    "description": (
        "Starts runs of flows, and shows and operates them. A start is stored before it is"
        " answered, so the caller need not wait for the run.\n\n"
        "- **Refusals** are problem details (RFC 9457); the end of `type` names the cause.\n"
        "- **Repeats**: after 503 nothing was stored; after 504 or no answer, repeat the start with"
        " the same `Idempotency-Key`.\n"
        "- **Lists** come in pages: follow `next`, or send `nextCursor` as `cursor`.\n"
        "- **Times** are RFC 3339.\n"
        "- **Versions**: new operations, members, words and problem types may come at any time."
        " From version 1.0 on, what is here stays within a major version, and what is to go is"
        " marked as deprecated before.\n"
        "- A logged-in caller finds an operation here for each flow that it may start."
    ),
    "contact": {"name": "The operators of this installation"},
    "license": {"name": "MIT", "identifier": "MIT"},
}

# Without a public address: the server that the document comes from.
HERE = {"url": "/", "description": "This server"}

TAGS: list[dict[str, str]] = [
    {"name": "runs", "description": "Start runs, find them, wait for them and cancel them."},
    {"name": "events", "description": "Follow what happens, as server-sent events."},
    {
        "name": "flows",
        "description": "The flows that the caller has a right to: start, pause, resume.",
    },
    {"name": "queues", "description": "What waits where and why; pause and resume it."},
    {
        "name": "schedules",
        "description": "Times at which a flow is started: see, set and remove them.",
    },
    {
        "name": "dead letters",
        "description": "Messages that failed for good: look at them, requeue or discard them.",
    },
    {"name": "webhooks", "description": "What was sent to the callback addresses of runs."},
    {"name": "auth", "description": "Bearer tokens, and who the caller is."},
    {"name": "health", "description": "For probes, which need no login, and monitoring."},
]
