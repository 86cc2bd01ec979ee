"""What is stored of a delivery that cannot be stored as it is, so that it harms no other message.

An exception in a commit takes back what all its messages have done. The session then stores them
apart, finds the one that causes it, and buries that message with the cause.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from flows.errors import LeaseLost
from flows.models import DeadLetter, Run, StepRun
from flows.store import Done, Fate, Held
from flows.store.troubles import trouble_of
from flows.worker.redelivery import ended_now, judge, returned, spilled, storable
from flows.worker.transactional import TransactionSpoiled
from scripts.protocol.calls import Outcome
from scripts.protocol.envelope import plain_text
from scripts.protocol.wire import MAX_TEXT_LENGTH

logger = logging.getLogger(__name__)

# What cannot even be buried comes back after so long.
LAST_RESORT_DELAY = timedelta(minutes=1)


def is_of_a_message(error: Exception) -> bool:
    """Whether one of the messages may have caused it, rather than the database or the lease."""
    return not isinstance(error, LeaseLost | TransactionSpoiled) and trouble_of(error) is None


def substitutes(done: Done, error: Exception) -> Iterator[Done]:
    """Yield what to store in place of what has raised this, the next one if that raises too."""
    yield buried(done, error)
    held, text = done.held, cause_of(error).encode("ascii", "backslashreplace").decode()
    bare = ended_now(held, Fate.BURIED, StepRun.Outcome.FAILED.value)
    bare.error, bare.reason = text, DeadLetter.Reason.NOT_STORABLE.value
    yield bare
    if not Run.objects.filter(pk=held.run_id).exists():
        # Without its run there can be no dead letter.
        yield ended_now(held, Fate.DROPPED, StepRun.Outcome.CANCELLED.value)
    yield put_aside(held)


def buried(done: Done, error: Exception) -> Done:
    return replace(
        done,
        fate=Fate.BURIED,
        outcome=StepRun.Outcome.FAILED.value,
        reason=DeadLetter.Reason.NOT_STORABLE.value,
        error=cause_of(error),
        output="",
        branches=None,
        within=None,
    )


def judged(held: Held, outcome: Outcome) -> Done:
    """Say what came of a call; what the worker cannot say buries the message."""
    try:
        return judge(held, outcome)
    except Exception as error:
        return unjudged(held, error)


def gone_on(held: Held) -> Done:
    """Go on with what found no room after a step that is done, if it can be read."""
    try:
        return spilled(held)
    except Exception as error:
        return unjudged(held, error)


def unjudged(held: Held, error: Exception) -> Done:
    logger.error("message %s of run %s is buried", held.id, held.run_id, exc_info=error)
    return buried(ended_now(held, Fate.PASSED, ""), error)


def put_aside(held: Held) -> Done:
    """Let a message wait again and write nothing down."""
    aside = returned(held)
    aside.delay = LAST_RESORT_DELAY
    return aside


def cause_of(error: Exception) -> str:
    headline = f"What came of it could not be stored. {type(error).__name__}: {error}"
    return storable(plain_text(headline, MAX_TEXT_LENGTH))
