"""What can go wrong in the engine. The borders (API, admin, commands) translate these."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar
from uuid import UUID

from django.db import DatabaseError, OperationalError


class FlowError(Exception):
    """Base of the engine's errors, never raised itself. The docstring is the default message."""

    def __init__(self, message: str = "", **attributes: Any) -> None:
        super().__init__(message or (self.__doc__ or "").split("\n")[0])
        for name, value in attributes.items():
            setattr(self, name, value)


class NotFound(FlowError):
    """There is no such run, dead letter or queue."""


class UnknownFlow(NotFound):
    """There is no flow of this name."""


class OptionInvalid(FlowError, ValueError):
    """An option of a call has a value that it cannot have."""


class DelayTooLong(OptionInvalid):
    """The start lies too far in the future."""

    # As a problem of the API has them.
    errors: list[dict[str, str]] = []


class DeadlineInvalid(OptionInvalid):
    """deadline: must be later than the start of the run."""

    # As a problem of the API has them.
    errors = [{"parameter": "deadline", "detail": "must be later than the start of the run"}]


class CallbackRefused(OptionInvalid):
    """callbackUrl: must be a public address; the flow grants no private one."""

    # As a problem of the API has them.
    errors = [{"parameter": "callbackUrl", "detail": "must be a public address"}]


class RunFailed(FlowError):
    """The run has failed or was cancelled; it has no result."""

    status: str = "FAILED"
    error: str = ""


class RunNotFinished(FlowError):
    """The run has not come to its end."""


class PayloadUnreadable(FlowError):
    """None of the keys in ASYNCENGINE_PAYLOAD_KEYS decrypts the payload."""


class InputNotKept(FlowError):
    """What the run was given is not kept."""


class PayloadErased(InputNotKept):
    """The payloads of the run were erased."""


class RightMissing(FlowError):
    """None of the caller's roles gives the right."""


class FlowNotRunnable(FlowError):
    """The flow is inactive or has no steps."""


class PayloadInvalid(FlowError):
    """The payload is refused; `errors` has `{"path", "detail"}` per fault, where known."""

    errors: list[dict[str, str]] = []


class PayloadNotChecked(FlowError):
    """The payload takes long to be checked, and others are being checked; nothing was stored."""

    retry_after: int = 5  # seconds


class QueueFull(FlowError):
    """The first queue of the flow is full."""

    retry_after: int = 1  # seconds
    # Of the queue whose pace says more of that; None: it is not known, or says nothing.
    queue_id: int | None = None


class QueueFullAtCommit(QueueFull, DatabaseError):
    """The first queue of a flow was filled by others before this transaction could commit."""

    # Returns when to try again, by the queue; set by flows/monitoring/pace.py.
    seconds_of_queue: ClassVar[Any] = staticmethod(lambda id: None)
    _retry_after: int | None = None

    @property
    def retry_after(self) -> int:
        """Ask when it is read: by then the transaction is over."""
        if self._retry_after is None:
            self._retry_after = self.seconds_of_queue(self.queue_id) or QueueFull.retry_after
        return self._retry_after

    @retry_after.setter
    def retry_after(self, seconds: int) -> None:
        self._retry_after = seconds


class StartRateExceeded(FlowError):
    """Runs are started faster than a start rate allows."""

    retry_after: int = 1  # whole seconds
    seconds: float = 1.0
    # Of starts that are stored together or not at all: how many of the first are allowed.
    allowed: int = 0
    # How the exhausted rates stand, as flows/starts/rates.py has it.
    standings: tuple[Any, ...] = ()


class IdempotencyConflict(FlowError):
    """The idempotency key was used for another request."""

    # The run that was started with the key, and what differs; of each the parameter or path.
    correlation_id: UUID | None = None
    errors: list[dict[str, str]] = []


class TooManyTokens(FlowError):
    """The user has as many tokens as a user may have: revoke one."""


class PasswordChanged(FlowError):
    """The password was changed just now."""


class AlreadyReprocessed(FlowError):
    """The dead letter was reprocessed before."""


class LeaseLost(FlowError):
    """The lease has ended or run out: write nothing."""


class DeadlinePassed(FlowError):
    """The deadlines of these runs have passed, so that nothing of the commit is stored."""

    run_ids: Collection[UUID] = ()


class CommitInDoubt(OperationalError):
    """The connection was lost during a commit: it may have happened or not."""
