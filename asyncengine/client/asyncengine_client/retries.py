"""When a call is sent again."""

from __future__ import annotations

import time

import httpx

from asyncengine_client.calls import Call
from asyncengine_client.errors import ApiError, NoConnection, TooManyCalls, Unavailable, error_of

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
# Too much is asked for, or the engine is away.
NOTHING_DONE = (429, 503)


class Tries:
    """The tries of one call: again after what passes, until the patience is over.

    The patience begins with the first failure, before which the engine may have held the call.
    """

    def __init__(self, call: Call, patience: float) -> None:
        self._call = call
        self._patience = patience
        self._gives_up_at: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    def after_answer(self, response: httpx.Response) -> float | None:
        """Return None for an answer, else the pause before the next try. Raises ApiError."""
        if response.status_code < 300:
            return None
        error = error_of(response)
        passes = isinstance(error, TooManyCalls | Unavailable) and error.status != 501
        # After others, such as 502 of a proxy, it may be done: a key makes that harmless.
        if not passes or not (self._call.is_safe or error.status in NOTHING_DONE):
            raise error
        return self._next_pause(error, error.retry_after)

    def after_failure(self, error: httpx.TransportError) -> float:
        """Return the pause before the next try. Raises NoConnection."""
        told = NoConnection(f"{type(error).__name__}: {error}")
        if not self._call.is_safe and not isinstance(error, httpx.ConnectError):
            raise told from error
        return self._next_pause(told, None)

    def _next_pause(self, error: ApiError | NoConnection, wanted: float | None) -> float:
        pause, now = self._pause if wanted is None else wanted, time.monotonic()
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        if self._gives_up_at is None:
            self._gives_up_at = now + self._patience
        if now + pause > self._gives_up_at:
            raise error
        return pause
