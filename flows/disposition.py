"""The words for what comes of a delivery, which the worker decides and the store carries out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from django.db.models import TextChoices

# The error of a message whose last delivery ended with its worker.
DIED_AT_LAST = "The worker died during the last delivery."


class Disposition(Enum):
    """What becomes of a message after a delivery; the names are those of AMQP 1.0."""

    ACCEPTED = "its output goes to the next step, or is the run's result"
    RETRY = "it waits for its redelivery"
    WAITING = "it waits for what its script waits for, and the delivery does not count"
    RELEASED = "it waits as if it had not been taken: its script did not run"
    DEAD_LETTERED = "it becomes a dead letter"
    CANCELLED = "it is deleted: its run was cancelled"

    # Enum hashes the name, in Python; each message of a batch is looked up by this.
    __hash__ = object.__hash__


class StepOutcome(TextChoices):
    """How a script's run ended, as the run's history shows it."""

    COMPLETED = "COMPLETED", "Completed: the output was handed on"
    FAILED = "FAILED", "Failed: it is redelivered, or a dead letter after the last delivery"
    RETRY = "RETRY", "Retry: the script asked to be redelivered"
    REJECTED = "REJECTED", "Rejected: a dead letter at once"
    WAITING = "WAITING", "Waiting: the script waits for something, and runs again later"
    CANCELLED = "CANCELLED", "Cancelled: the run was stopped"


class DeadLetterReason(TextChoices):
    """Why a message became a dead letter."""

    EXHAUSTED = "exhausted", "out of deliveries"
    REJECTED = "rejected", "rejected by the script"
    INVALID = "invalid-output", "the output is not a message"
    CANNOT_WORK = "script-invalid", "the script cannot work, however often it is run"
    WAITED = "waited-too-long", "it waited longer than its queue allows"
    EXPIRED = "expired", "the run is older than its flow allows"
    TOO_MANY = "too-many-branches", "it fans out to more than the next queue holds"
    NO_QUEUE = "no-queue", "the queue of the next step is gone"
    TOO_LARGE = "too-large", "the result is larger than allowed"
    NOT_STORABLE = "not-storable", "what came of it could not be stored"


class DeadLetterCause(TextChoices):
    """How the last delivery of a dead letter ended, whatever the reason that it is one."""

    COMPLETED = "completed", "its script had ended well"
    FAILED = "failed", "its script failed"
    RETRY = "retry", "its script asked for a redelivery"
    REJECTED = "rejected", "its script or what it returned was rejected"
    WORKER_DIED = "worker-died", "its worker died"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a message, and what is written down about its delivery."""

    disposition: Disposition
    outcome: StepOutcome = StepOutcome.COMPLETED
    error: str = ""
    # Of a dead letter alone.
    reason: DeadLetterReason | None = None
    # Until it is delivered again; None: at once, or by the queue's back-off.
    delay: timedelta | None = None
    # The script was asked to wait by what it calls, which concerns the whole queue.
    slows_queue: bool = False
    # What the script has said of a message that it rejected: a code, and details as JSON text.
    code: str | None = None
    details: str | None = None
    # It ended with its worker, and not by its script.
    worker_died: bool = False
    # Of a waiting script: what its next attempt is to find, JSON text, "" for nothing.
    state: str = ""

    @property
    def cause(self) -> DeadLetterCause:
        """Return how the delivery of a dead letter ended."""
        if self.worker_died:
            return DeadLetterCause.WORKER_DIED
        return DeadLetterCause(self.outcome.lower())


# Nearly every delivery: there is one object for all of them.
ACCEPTED = Decision(Disposition.ACCEPTED)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What only the transaction knows that stores the results of a delivery."""

    is_cancelled: bool = False
    # The step has a next step, and the queue of that is gone.
    lacks_next_queue: bool = False
    # Where it fans out: into how many messages, which fan-out of its run it is on the way of this
    # message, and how many messages the next queue holds. None: it does not.
    outputs: int | None = None
    fan_outs: int = 0
    next_queue_size: int = 0
    # A flow that its script has started, and whose first queue is gone.
    lacks_queue_of: str = ""
