"""The second argument of every script: ``run(message, context)``."""

import time
from typing import Any

from scripts.envelope import plain_text
from scripts.wire import MAX_LOG_LENGTH, MAX_LOG_LINES

_LEVELS = {"debug", "info", "warning", "error", "critical"}


class Context:
    """What a script knows about its call, besides the message."""

    __slots__ = ("_logs", "attempt", "correlation_id", "delivery_id", "flow", "queue", "step")

    def __init__(
        self,
        correlation_id: str,
        flow: str,
        step: str,
        queue: str,
        attempt: int,
        delivery_id: str,
        logs: list[dict[str, Any]],
    ) -> None:
        self.correlation_id = correlation_id
        self.flow = flow
        self.step = step
        self.queue = queue
        self.attempt = attempt
        self.delivery_id = delivery_id
        self._logs = logs

    def log(self, text: Any, level: str = "info") -> None:
        """Keep a line with the call's result."""
        lines = len(self._logs)
        if lines > MAX_LOG_LINES:
            return
        if lines == MAX_LOG_LINES:
            text, level = f"The log was cut after {MAX_LOG_LINES} lines.", "warning"
        self._logs.append(
            {
                "at": time.time(),
                "level": level if level in _LEVELS else "info",
                "text": plain_text(str(text), MAX_LOG_LENGTH),
            }
        )
