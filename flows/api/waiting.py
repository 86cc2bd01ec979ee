"""Wait for the end of a run before a request is answered."""

from __future__ import annotations

import time
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID

from rest_framework.request import Request

from flows.api.authentication import IssuedToken
from flows.front.faults import TooManyWaiters
from flows.front.waiters import WAIT, Wait
from flows.monitoring.trace import wait_until_finished

LONGEST_WAIT_SECONDS = 60.0
# Under a server without the front each waiting caller holds a thread. Beyond 8 a process refuses
# more, so that starts and probes always find a thread.
WAITING_ROOM = BoundedSemaphore(8)
# So long before the end of a token of the issuer a wait ends.
MARGIN_SECONDS = 2.0


def has_waited(request: Request, run_id: UUID, seconds: float, done: Any = None) -> bool:
    """Wait for the end of the run, at most for this time. False: the front waits, without a thread.

    Then it drops the answer of the view, which may be empty, and asks the view again with what the
    view has `done`, see `done_before`. Raises TooManyWaiters where nothing was done.
    """
    wait: Wait | None = request.META.get(WAIT)
    seconds = min(seconds, _left(request))
    if wait is None:
        _wait_here(run_id, seconds, must_wait=done is None)
    elif not wait.is_over:
        wait.until_finished(run_id, request.user.pk, seconds, done)
        return False
    return True


def _left(request: Request) -> float:
    """Return how long the caller's token allows to wait: the answer needs it once more."""
    if not isinstance(request.auth, IssuedToken):
        return LONGEST_WAIT_SECONDS
    return max(request.auth.claims.valid_until - time.time() - MARGIN_SECONDS, 0)


def done_before(request: Request) -> Any:
    """Return what the view has done before it waited, None where it has not waited."""
    wait: Wait | None = request.META.get(WAIT)
    return wait.done if wait and wait.is_over else None


def _wait_here(run_id: UUID, seconds: float, must_wait: bool) -> None:
    """Wait in this thread, because there is no front."""
    if WAITING_ROOM.acquire(blocking=False):
        try:
            wait_until_finished(run_id, seconds)
        finally:
            WAITING_ROOM.release()
    elif must_wait:
        raise TooManyWaiters
