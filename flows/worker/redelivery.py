"""What the end of a script's call means for its message."""

from __future__ import annotations

import time
from datetime import timedelta

import orjson

from flows.errors import StepFailed, StepRejected
from flows.models import DeadLetter, StepRun
from flows.plan import step_plan
from flows.store import Done, Fate, Held
from flows.store.clock import machine_clock
from flows.store.sizes import fault_of_text
from scripts.protocol.calls import Outcome
from scripts.protocol.errors import (
    InputInvalid,
    OutputInvalid,
    ScriptError,
    ScriptRejected,
    ScriptRetry,
    ScriptTooLate,
)
from scripts.protocol.json_text import items_of

# A script may ask to be redelivered after so long.
LONGEST_DELAY = timedelta(days=366)


def judge(held: Held, outcome: Outcome) -> Done:
    done = Done(
        held=held,
        fate=Fate.PASSED,
        outcome=StepRun.Outcome.COMPLETED.value,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        logs=orjson.dumps(outcome.logs).decode() if outcome.logs else "",
        warning=outcome.warning is not None,
    )
    if outcome.error is None:
        done.output = (outcome.output or b"null").decode()
        is_last = step_plan(held.step_id).site.is_last
        if is_last and (fault := fault_of_text(done.output)):
            return too_large(done, fault)
        if not is_last and done.output.lstrip()[:1] == "[":
            done.branches = [text for text, _ in items_of(done.output)]
        return done
    if isinstance(outcome.error, ScriptTooLate):
        done.fate = Fate.RETURNED
        return done
    error = step_error(outcome.error)
    done.error = storable(str(error))
    if isinstance(error, StepRejected):
        done.fate, done.reason = Fate.BURIED, error.reason
        done.outcome = StepRun.Outcome.REJECTED.value
    else:
        done.fate, done.outcome = Fate.AGAIN, StepRun.Outcome.FAILED.value
        done.delay, done.slows = error.after, error.after is not None
    return done


def too_large(done: Done, error: str) -> Done:
    done.fate, done.outcome = Fate.BURIED, StepRun.Outcome.REJECTED.value
    done.reason, done.error, done.output = DeadLetter.Reason.TOO_LARGE.value, error, ""
    return done


def step_error(error: ScriptError) -> StepFailed | StepRejected:
    """Say what a script's error means for its message."""
    if isinstance(error, ScriptRejected):
        return StepRejected(str(error), reason=DeadLetter.Reason.REJECTED.value)
    if isinstance(error, InputInvalid | OutputInvalid):
        return StepRejected(str(error), reason=DeadLetter.Reason.INVALID.value)
    if isinstance(error, ScriptRetry):
        return asked_for_redelivery(error)
    traceback = getattr(error, "traceback", "")
    return StepFailed(f"{error}\n\n{traceback}".strip())


def asked_for_redelivery(error: ScriptRetry) -> StepFailed:
    """Take a delay for what it says; one that cannot be meant is that of the back-off."""
    after = error.after
    if after is None:
        return StepFailed(str(error))
    # A callable is of this process and may have put anything there.
    if isinstance(after, int | float) and 0 <= after <= LONGEST_DELAY.total_seconds():
        return StepFailed(str(error), after=timedelta(seconds=after))
    return StepFailed(
        f"It asked for a redelivery after {shown(after)} seconds; at most {LONGEST_DELAY.days} days"
        f" can be asked for, so the back-off of its queue decides. {error}".strip()
    )


def shown(value: object) -> str:
    try:
        return repr(value)[:100]
    except ValueError:
        # An integer of thousands of digits.
        return "too many"


def storable(text: str) -> str:
    """Return the text without what a database cannot store: NUL and lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def ended_now(held: Held, fate: Fate, outcome: str) -> Done:
    now = time.time()
    return Done(held, fate, outcome, started_at=now, finished_at=now)


def spilled(held: Held) -> Done:
    """Go on with what found no room after a step that is done."""
    done = ended_now(held, Fate.PASSED, StepRun.Outcome.COMPLETED.value)
    (first, _), *items = items_of(held.body)
    done.first_branch, done.branches = int(first), [text for text, _ in items]
    return done


def returned(held: Held) -> Done:
    """Let a message wait again of which the script has not run."""
    return ended_now(held, Fate.RETURNED, StepRun.Outcome.COMPLETED.value)


def age(held: Held) -> timedelta:
    """How long ago the run was started: a UUIDv7 begins with its milliseconds since the epoch."""
    created_at = int(held.run_id.replace("-", "")[:12], 16) / 1000
    return timedelta(seconds=machine_clock().now() - created_at)
