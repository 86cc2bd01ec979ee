"""A stream of events that goes on where it broke off."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from httpx_sse import ServerSentEvent

from asyncengine_client.errors import (
    ClientError,
    NoConnection,
    TooManyCalls,
    Unavailable,
    error_of,
)
from asyncengine_client.types import Event

PAUSE_SECONDS = 1.0
# The engine sends something every 15 seconds.
SILENCE = httpx.Timeout(60.0, connect=10.0)


class Stream:
    """Where a reader of events stands. It gives up `patience` seconds after the stream broke."""

    def __init__(self, params: Mapping[str, Any], patience: float, last_id: str | None) -> None:
        self.is_over, self.pause = False, PAUSE_SECONDS
        self._params, self._patience, self._last_id = params, patience, last_id
        # Begins anew where an open stream ends, for it may have been open for days.
        self._gives_up_at, self._is_open = time.monotonic() + patience, False

    def of_httpx(self) -> dict[str, Any]:
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        return {"params": self._params, "headers": headers, "timeout": SILENCE}

    def opened(self, response: httpx.Response) -> bool:
        """Return whether there is something to read. Raises ClientError."""
        if response.status_code == 204:
            # The run has ended, and its end was told.
            self.is_over = True
            return False
        if response.status_code < 300:
            if "text/event-stream" not in response.headers.get("Content-Type", ""):
                raise ClientError(f"{response.url} answers no events: is it an engine?")
            self.pause, self._is_open = PAUSE_SECONDS, True
            return True
        error = error_of(response)
        passes = isinstance(error, TooManyCalls | Unavailable) and error.status != 501
        if not passes or self._is_late():
            raise error
        self.pause = error.retry_after or PAUSE_SECONDS
        return False

    def told(self, event: ServerSentEvent) -> Iterator[Event]:
        """Yield the event, unless it only says that the stream is alive."""
        self._last_id = event.id or self._last_id
        if event.data:
            yield Event(event=event.event, id=event.id, data=json.loads(event.data))

    def broke(self, error: httpx.TransportError) -> None:
        """Note that the connection broke. Raises NoConnection."""
        if self._is_late():
            raise NoConnection(f"{type(error).__name__}: {error}") from error

    def _is_late(self) -> bool:
        """Say at a failure whether the patience is over."""
        now = time.monotonic()
        if self._is_open:
            self._gives_up_at, self._is_open = now + self._patience, False
        return now >= self._gives_up_at
