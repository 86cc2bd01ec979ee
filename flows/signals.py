"""What a Django project may react to. Both are sent after the commit, in the process that made it.

That is a worker, and for a cancelled run the process in which it was cancelled. A receiver that
raises is logged and harms nothing; one that is slow keeps its worker, so let it start a run or a
task for what takes long. They are sent at most once: a process killed after the commit sends none.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction
from django.dispatch import Signal

from scripts.callables.leftovers import Leftovers, apart

if TYPE_CHECKING:
    from flows.models import DeadLetter

logger = logging.getLogger(__name__)

# With correlation_id (UUID), flow_name and status: COMPLETED, FAILED or CANCELLED.
run_finished = Signal()

# With dead_letter_id (int), correlation_id (UUID), flow_name, step_name and reason.
dead_letter_made = Signal()


def announce_end(run_id: UUID | str, flow_name: str, status: str) -> None:
    """Send `run_finished` with the commit of the transaction that is open."""
    if run_finished.has_listeners():
        id = UUID(str(run_id))
        values = {"correlation_id": id, "flow_name": flow_name, "status": str(status)}
        transaction.on_commit(partial(_send, run_finished, values))


def announce_letter(letter: DeadLetter, flow_name: str, step_name: str) -> None:
    """Send `dead_letter_made` with the commit of the transaction that is open."""
    if dead_letter_made.has_listeners():
        values = {
            "dead_letter_id": letter.pk,
            "correlation_id": UUID(str(letter.run_id)),
            "flow_name": flow_name,
            "step_name": step_name,
            "reason": str(letter.reason),
        }
        transaction.on_commit(partial(_send, dead_letter_made, values))


def _send(signal: Signal, values: dict[str, object]) -> None:
    leftovers = Leftovers()
    # Django logs what a receiver raises.
    apart(partial(signal.send_robust, sender=None, **values))
    if fault := leftovers.put_right():
        logger.error("a receiver of a signal: %s", fault)
