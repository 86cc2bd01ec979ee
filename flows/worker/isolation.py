"""What is stored of a delivery that cannot be stored as it is, so that it harms no other message.

An exception in a commit takes back what all its messages have done. The session then stores them
apart, finds the one that causes it, and makes that message a dead letter with the cause.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from flows.errors import LeaseLost, PayloadUnreadable
from flows.models import Run
from flows.store import DeliveryResult, HeldMessage
from flows.store.flow_state import StateRefused, run_again
from flows.store.troubles import trouble_of
from flows.store.types import WritesTakenBack
from flows.worker.redelivery import CANCELLED, failed, not_storable, put_aside, storable
from flows.worker.results import ended_now, pending_outputs_of, result_of_call
from flows.worker.transactional import TransactionSpoiled
from flows.worker.unreadable import unread
from scripts.protocol.calls import Outcome
from scripts.protocol.envelope import plain_text
from scripts.protocol.wire import MAX_TEXT_LENGTH

logger = logging.getLogger(__name__)

# A message that cannot even become a dead letter comes back after so long.
LAST_RESORT_DELAY = timedelta(minutes=1)


def is_of_a_message(error: Exception) -> bool:
    """Whether one of the messages may have caused it, rather than the database or the lease."""
    return (
        not isinstance(error, LeaseLost | TransactionSpoiled | WritesTakenBack | StateRefused)
        and trouble_of(error) is None
    )


def substitutes(result: DeliveryResult, error: Exception) -> Iterator[DeliveryResult]:
    """Yield what to store in place of what has raised this, the next one if that raises too."""
    if isinstance(error, PayloadUnreadable):
        # What its step needs beside the message, such as the other branches of a join.
        yield unread(result.held, str(error))
    else:
        logger.error(
            "message %s of run %s is a dead letter",
            result.held.id,
            result.held.run_id,
            exc_info=error,
        )
    yield dead_letter_of(result, error)
    held, text = result.held, cause_of(error).encode("ascii", "backslashreplace").decode()
    yield ended_now(held, not_storable(text))
    if not Run.objects.filter(pk=held.run_id).exists():
        # Without its run there can be no dead letter.
        yield ended_now(held, CANCELLED)
    yield ended_now(held, put_aside(LAST_RESORT_DELAY))


def dead_letter_of(result: DeliveryResult, error: Exception) -> DeliveryResult:
    return replace(
        result,
        decision=not_storable(cause_of(error)),
        output="",
        branches=None,
        run_in_transaction=None,
    )


def without_state(refused: StateRefused) -> DeliveryResult:
    """Return what to store where the state of the flow cannot be changed as a script has said."""
    if not refused.why:
        return run_again(refused.done)
    failure = failed(plain_text(refused.why, MAX_TEXT_LENGTH))
    return replace(run_again(refused.done), decision=failure, logs=refused.done.logs)


def result_of(held: HeldMessage, outcome: Outcome) -> DeliveryResult:
    """Return what comes of a call; what the worker cannot say makes it a dead letter."""
    if outcome.call.unreadable:
        return unread(held, outcome.call.unreadable, has_run=True)
    try:
        return result_of_call(held, outcome)
    except Exception as error:
        return without_result(held, error)


def gone_on(held: HeldMessage) -> DeliveryResult:
    """Go on with what found no room after a step that is done, if it can be read."""
    try:
        return pending_outputs_of(held)
    except Exception as error:
        return without_result(held, error)


def without_result(held: HeldMessage, error: Exception) -> DeliveryResult:
    logger.error("message %s of run %s is a dead letter", held.id, held.run_id, exc_info=error)
    return ended_now(held, not_storable(cause_of(error)))


def cause_of(error: Exception) -> str:
    headline = f"What came of it could not be stored. {type(error).__name__}: {error}"
    return storable(plain_text(headline, MAX_TEXT_LENGTH))
