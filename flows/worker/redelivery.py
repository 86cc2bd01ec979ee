"""What becomes of a delivery: the whole rule. It is pure, and asks no database and no clock.

| what has happened                                       | disposition   | reason            |
|---------------------------------------------------------|---------------|-------------------|
| the script gave an output                               | ACCEPTED      |                   |
| … which is the result, and larger than allowed          | DEAD_LETTERED | too-large         |
| … and the queue of the next step is gone                | DEAD_LETTERED | no-queue          |
| … and it fans out to more than the next queue holds     | DEAD_LETTERED | too-many-branches |
| the script rejected the message                         | DEAD_LETTERED | rejected          |
| its input or output is no valid message                 | DEAD_LETTERED | invalid-output    |
| the script cannot work: it does not compile, imports or | DEAD_LETTERED | script-invalid    |
| calls what it may not or what is not there, calls the   |               |                   |
| engine's functions wrongly, or run() takes no message   |               |                   |
| the script came too late for its reserved start         | RELEASED      |                   |
| the script raised, ran out of time or memory, was ended | RETRY         |                   |
| the script asked for a redelivery                       | RETRY         |                   |
| … and this was the last delivery                        | DEAD_LETTERED | exhausted         |
| the script waits for something                          | WAITING       |                   |
| … and has waited for longer than its queue allows       | DEAD_LETTERED | waited-too-long   |
| … and the run would be too old by then                  | DEAD_LETTERED | expired           |
| the worker died during the last delivery                | DEAD_LETTERED | exhausted         |
| its queue has fewer deliveries since the last one       | DEAD_LETTERED | exhausted         |
| what came of it cannot be stored                        | DEAD_LETTERED | not-storable      |
| the run was cancelled meanwhile, whatever else happened | CANCELLED     |                   |

A redelivery waits as long as the script asked for, else by the back-off of its queue. Waiting uses
up no delivery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from flows.disposition import (
    ACCEPTED,
    DIED_AT_LAST,
    Circumstances,
    DeadLetterReason,
    Decision,
    Disposition,
    StepOutcome,
)
from flows.encryption.payload_keys import escaped
from scripts.protocol.errors import (
    InputInvalid,
    OutputInvalid,
    ScriptError,
    ScriptInvalid,
    ScriptRejected,
    ScriptRetry,
    ScriptTooLate,
    ScriptWait,
)
from scripts.protocol.rejections import as_json

# A script may ask to be redelivered after so long.
LONGEST_DELAY = timedelta(days=366)
# A branch is named by the number it has at each fan-out that led to it. An index of PostgreSQL
# takes names of up to 2,700 characters.
MAX_FAN_OUTS = 200

RELEASED = Decision(Disposition.RELEASED)
CANCELLED = Decision(Disposition.CANCELLED, StepOutcome.CANCELLED)
WORKER_DIED = Decision(
    Disposition.DEAD_LETTERED,
    StepOutcome.FAILED,
    DIED_AT_LAST,
    DeadLetterReason.EXHAUSTED,
    worker_died=True,
)


@dataclass(frozen=True, slots=True)
class RedeliveryRules:
    """What a queue and its flow say about redeliveries."""

    max_deliveries: int
    # Returns the wait, by the number of deliveries so far.
    backoff: Callable[[int], timedelta]
    # The age of a run from which on nothing of it is redelivered; None: there is none.
    max_age: timedelta | None = None
    # How long a script may wait with a message, from its first wait on.
    max_wait: timedelta = LONGEST_DELAY


@dataclass(frozen=True, slots=True)
class Waited:
    """How often and how long a script has waited with its message."""

    times: int = 0
    time: timedelta = timedelta(0)


def decide(
    error: ScriptError | None,
    deliveries: int,
    rules: RedeliveryRules,
    age: timedelta,
    result_fault: str | None = None,
    circumstances: Circumstances | None = None,
    waited: Waited | None = None,
) -> Decision:
    """Return what becomes of a message after its delivery, by all that is known.

    `age`: that of its run. The session asks in the three steps that this consists of, for it knows
    the outcome of the call before the rules, and its transaction alone knows the circumstances.
    """
    decision = redeliver(after_call(error, result_fault), deliveries, rules, age, waited)
    return in_commit(decision, circumstances or Circumstances())


def after_call(error: ScriptError | None, result_fault: str | None = None) -> Decision:
    """Return what the end of a script's call means for its message.

    `result_fault`: why its output can be no result.
    """
    if error is None:
        return (
            ACCEPTED if result_fault is None else rejected(result_fault, DeadLetterReason.TOO_LARGE)
        )
    if isinstance(error, ScriptTooLate):
        return RELEASED
    if isinstance(error, ScriptRejected):
        decision = rejected(str(error), DeadLetterReason.REJECTED)
        code = None if error.code is None else storable(error.code)
        details = as_json(error.details)
        return replace(decision, code=code, details=details)
    if isinstance(error, InputInvalid | OutputInvalid):
        return rejected(str(error), DeadLetterReason.INVALID)
    if isinstance(error, ScriptRetry):
        return asked_for_redelivery(error)
    if isinstance(error, ScriptWait):
        return waiting(error)
    told = f"{error}\n\n{getattr(error, 'traceback', '')}".strip()
    if isinstance(error, ScriptInvalid):
        return cannot_work(told)
    return failed(told)


def redeliver(
    decision: Decision,
    deliveries: int,
    rules: RedeliveryRules,
    age: timedelta,
    waited: Waited | None = None,
) -> Decision:
    """Return how long a message waits that is to be delivered again, or why it is not.

    Other decisions stay as they are.
    """
    if decision.disposition is Disposition.WAITING:
        return wait_on(decision, rules, age, waited or Waited())
    if decision.disposition is not Disposition.RETRY:
        return decision
    delay = rules.backoff(deliveries) if decision.delay is None else decision.delay
    reason = None
    if deliveries >= rules.max_deliveries:
        reason = DeadLetterReason.EXHAUSTED
    elif rules.max_age and age + delay > rules.max_age:
        reason = DeadLetterReason.EXPIRED
    if reason is None:
        return replace(decision, delay=delay)
    return replace(
        decision,
        disposition=Disposition.DEAD_LETTERED,
        # The script has asked for a redelivery in vain.
        outcome=StepOutcome.FAILED,
        reason=reason,
        delay=delay,
    )


def wait_on(decision: Decision, rules: RedeliveryRules, age: timedelta, waited: Waited) -> Decision:
    """Return how long a message waits whose script waits, or why it does not."""
    delay = rules.backoff(waited.times + 1) if decision.delay is None else decision.delay
    reason, most = None, rules.max_wait
    if waited.time + delay > rules.max_wait:
        reason = DeadLetterReason.WAITED
    elif rules.max_age and age + delay > rules.max_age:
        reason, most = DeadLetterReason.EXPIRED, rules.max_age
    if reason is None:
        return replace(decision, delay=delay)
    over = "The script would wait" if reason is DeadLetterReason.WAITED else "The run would last"
    error = f"{over} longer than {most.total_seconds():g} s. {decision.error}".strip()
    return replace(
        decision,
        disposition=Disposition.DEAD_LETTERED,
        outcome=StepOutcome.FAILED,
        reason=reason,
        delay=delay,
        error=error,
    )


def in_commit(decision: Decision, found: Circumstances) -> Decision:
    """Return the decision by what the transaction has found that is to carry it out."""
    if found.is_cancelled:
        return replace(
            decision, disposition=Disposition.CANCELLED, outcome=StepOutcome.CANCELLED, reason=None
        )
    if decision.disposition is not Disposition.ACCEPTED:
        return decision
    if found.lacks_next_queue:
        return dead_lettered(
            decision, "The queue of the next step no longer exists.", DeadLetterReason.NO_QUEUE
        )
    if found.lacks_queue_of:
        error = f"The queue of the flow {found.lacks_queue_of!r}, which it starts, is gone."
        return dead_lettered(decision, error, DeadLetterReason.NO_QUEUE)
    if fault := _fault_of_fan_out(found):
        return dead_lettered(decision, fault, DeadLetterReason.TOO_MANY)
    return decision


def failed(error: str) -> Decision:
    return Decision(Disposition.RETRY, StepOutcome.FAILED, storable(error))


def retried(error: str) -> Decision:
    return Decision(Disposition.RETRY, StepOutcome.RETRY, storable(error))


def rejected(error: str, reason: DeadLetterReason) -> Decision:
    return Decision(Disposition.DEAD_LETTERED, StepOutcome.REJECTED, storable(error), reason)


def cannot_work(error: str) -> Decision:
    return Decision(
        Disposition.DEAD_LETTERED,
        StepOutcome.FAILED,
        storable(error),
        DeadLetterReason.CANNOT_WORK,
    )


def out_of_deliveries(error: str) -> Decision:
    return Decision(
        Disposition.DEAD_LETTERED, StepOutcome.FAILED, error, DeadLetterReason.EXHAUSTED
    )


def not_storable(error: str) -> Decision:
    return Decision(
        Disposition.DEAD_LETTERED, StepOutcome.FAILED, error, DeadLetterReason.NOT_STORABLE
    )


def put_aside(delay: timedelta) -> Decision:
    """Let a message wait again for so long, and write nothing down about its delivery."""
    return replace(RELEASED, delay=delay)


def dead_lettered(decision: Decision, error: str, reason: DeadLetterReason) -> Decision:
    """Return a dead letter in place of a decision; the script's run ended as it did."""
    return replace(decision, disposition=Disposition.DEAD_LETTERED, error=error, reason=reason)


def asked_for_redelivery(error: ScriptRetry) -> Decision:
    """Take a delay for what it says; one that cannot be meant is that of the back-off."""
    after = error.after
    if after is None:
        return retried(str(error))
    # A callable is of this process and may have put anything there.
    if isinstance(after, int | float) and 0 <= after <= LONGEST_DELAY.total_seconds():
        return replace(retried(str(error)), delay=timedelta(seconds=after), slows_queue=True)
    return retried(
        f"It asked for a redelivery after {shown(after)} seconds; at most {LONGEST_DELAY.days} days"
        f" can be asked for, so the back-off of its queue decides. {error}".strip()
    )


def waiting(error: ScriptWait) -> Decision:
    """Take a delay for what it says; one that cannot be meant is that of the back-off."""
    delay, told = None, storable(str(error))
    if error.after is not None:
        if not isinstance(error.after, int | float) or not (
            0 <= error.after <= LONGEST_DELAY.total_seconds()
        ):
            told = (
                f"It waits for {shown(error.after)} seconds; at most {LONGEST_DELAY.days} days can"
                f" be asked for, so the back-off of its queue decides. {told}"
            )
        else:
            delay = timedelta(seconds=error.after)
    return Decision(Disposition.WAITING, StepOutcome.WAITING, told, delay=delay, state=error.state)


def _fault_of_fan_out(found: Circumstances) -> str | None:
    if found.outputs is None:
        return None
    if found.outputs > found.next_queue_size:
        return (
            f"It returned {found.outputs} messages, the next queue holds {found.next_queue_size}."
        )
    if found.fan_outs >= MAX_FAN_OUTS:
        return f"It has fanned out {MAX_FAN_OUTS} times already; that is the most."
    return None


def shown(value: object) -> str:
    try:
        return repr(value)[:100]
    except ValueError:
        # An integer of thousands of digits.
        return "too many"


def storable(text: str) -> str:
    """Return the text without what a database cannot store: NUL and lone surrogates.

    Nor is it taken for an encrypted one.
    """
    return escaped(text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode())
