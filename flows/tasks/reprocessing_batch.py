"""Requeue some dead letters of a bulk reprocessing: one transaction of its task."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from flows import engine
from flows.dead_letters import DeadLetterFilter
from flows.encryption.payload_keys import decrypt
from flows.errors import FlowError, PayloadErased
from flows.models import DeadLetter, ReprocessedLetter, Reprocessing, Run, StepVersion
from flows.models.payload_text import stored
from flows.store import store
from flows.store.rate_limit import RateLimit, starts_of
from flows.store.requeueing import Requeue

logger = logging.getLogger(__name__)

# The size of a batch: its transaction locks the counters of the queues.
BATCH = 300
# Letters are read in parts, up to the part with which their messages reach this size.
PART, MOST_CHARACTERS = 30, 4_000_000
SPAN = 200
# If no worker has touched a reprocessing for so long, the broker queues another task.
PATIENCE_SECONDS = 3.0
# How often to look whether runs have ended, or a full queue has room.
LOOK_AGAIN_SECONDS = 1.0


def take(pk: int, token: int) -> Reprocessing | None:
    """Lock the row; None where it has ended, its token is newer or another process has it."""
    free = Reprocessing.objects.select_for_update(skip_locked=True, of=("self",))
    return free.filter(pk=pk, fencing_token=token, finished_at=None).first()


def advance_once(pk: int, token: int) -> float | None:
    """Requeue some letters. Return the seconds to wait, 0 to go on, None at the end."""
    with store().database.transaction():
        reprocessing = take(pk, token)
        if reprocessing is None:
            return None
        now = store().database.now()
        pause = _pause(reprocessing, now) or _requeue_some(reprocessing, now)
        reprocessing.due_at = now + timedelta(seconds=pause or PATIENCE_SECONDS)
        _finish(reprocessing, now)
        reprocessing.save()
        return pause if reprocessing.finished_at is None else None


def _pause(reprocessing: Reprocessing, now: datetime) -> float:
    """Return the seconds for which nothing may be requeued, and note the reason."""
    if _is_through(reprocessing):
        return LOOK_AGAIN_SECONDS
    if reprocessing.outstanding and reprocessing.reprocessed == reprocessing.sample:
        reprocessing.note = f"Waits for the sample; still running: {reprocessing.outstanding}."
        return LOOK_AGAIN_SECONDS
    rate = _rate(reprocessing)
    if rate is None or rate.allowance(now.timestamp()):
        return 0.0
    reprocessing.note = f"Waits for its rate of {reprocessing.rate_per_second:g} a second."
    # A start counts up to the very end of its window.
    return min(rate.free_at(now.timestamp()) - now.timestamp() + 0.001, 60.0)


def _is_through(reprocessing: Reprocessing) -> bool:
    has_stopped = reprocessing.state == Reprocessing.State.STOPPED
    return has_stopped or reprocessing.cursor >= reprocessing.last_id


def _finish(reprocessing: Reprocessing, now: datetime) -> None:
    if not _is_through(reprocessing):
        return
    if reprocessing.state == Reprocessing.State.RUNNING:
        ongoing = reprocessing.outstanding
        reprocessing.note = f"All were requeued; still running: {ongoing}." if ongoing else ""
    if not reprocessing.outstanding:
        reprocessing.finished_at = now
        if reprocessing.state == Reprocessing.State.RUNNING:
            reprocessing.state = Reprocessing.State.FINISHED


def _rate(reprocessing: Reprocessing) -> RateLimit | None:
    """Return its rate as a count in a period: 2.5 a second are 2 in 0.8 s, 0.1 are 1 in 10 s."""
    rate = reprocessing.rate_per_second
    if rate is None:
        return None
    count = max(int(rate), 1)
    return RateLimit(count, count / rate, starts_of(reprocessing.recent_starts))


def _requeue_some(reprocessing: Reprocessing, now: datetime) -> float:
    reprocessing.note = ""
    most, rate = BATCH, _rate(reprocessing)
    if rate is not None:
        most = min(most, rate.allowance(now.timestamp()))
    if reprocessing.reprocessed < reprocessing.sample:
        most = min(most, reprocessing.sample - reprocessing.reprocessed)
    letters = _next_letters(reprocessing, most)
    before = reprocessing.reprocessed
    pause = _requeue(reprocessing, letters)
    if not letters:
        reprocessing.cursor = reprocessing.last_id
    if rate is not None:
        # A letter counts as requeued at the commit, at the latest.
        rate.add(store().database.now().timestamp(), reprocessing.reprocessed - before)
        reprocessing.recent_starts = rate.write()
    return pause


def _next_letters(reprocessing: Reprocessing, most: int) -> list[DeadLetter]:
    """Return the first letters behind the cursor.

    They are looked for in spans of ids: an index of steps and ids finds those of a span, where
    the first ones of all would be found by sorting all of them.
    """
    letters = DeadLetterFilter.of(reprocessing.filter).open(reprocessing.flow_ids).order_by("pk")
    # One that cannot be decrypted is refused alone.
    letters = letters.defer("body", "details", "error").annotate(body_stored=stored("body"))
    found: list[DeadLetter] = []
    characters, last, span = 0, reprocessing.cursor, SPAN
    while last < reprocessing.last_id and len(found) < most and characters < MOST_CHARACTERS:
        end, count = min(last + span, reprocessing.last_id), min(PART, most - len(found))
        part = list(letters.filter(pk__gt=last, pk__lte=end)[:count])
        found += part
        characters += sum(len(_stored_body(letter)) for letter in part)
        if len(part) == count:
            last = part[-1].pk
        else:
            last, span = end, span * 2
    return found


def _targets(
    reprocessing: Reprocessing, letters: Sequence[DeadLetter]
) -> dict[int, StepVersion | FlowError]:
    """Return the step at which the messages of each step go on, or the error that prevents it.

    It is computed once for all letters: the newest version of a flow takes a dozen queries.
    """
    used = StepVersion.objects.filter(pk__in={letter.step_id for letter in letters})
    steps = {step.pk: step for step in used.select_related("flow_version__flow")}
    if reprocessing.script == Reprocessing.ScriptChoice.OWN:
        return {**steps}
    return {step_id: newest_step(step) for step_id, step in steps.items()}


def newest_step(step: StepVersion) -> StepVersion | FlowError:
    try:
        return engine.newest_step(step)
    except FlowError as error:
        return error


def _requeue(reprocessing: Reprocessing, letters: Sequence[DeadLetter]) -> float:
    """Requeue the letters in order. Return the seconds to wait if a queue is full, else 0."""
    targets = _targets(reprocessing, letters)
    orders: dict[int, Requeue] = {}
    refused: dict[int, FlowError] = {}
    for letter in letters:
        try:
            orders[letter.pk] = _order(reprocessing, letter, targets[letter.step_id])
        except FlowError as error:
            refused[letter.pk] = error
    # The audit log has the start of the reprocessing, not each dead letter.
    requeued = store().requeue([*orders.values()], reprocessing.user_id)
    refused |= _erased([order.letter for id, order in orders.items() if id not in requeued.ids])
    for letter in letters:
        if (full := requeued.full) is not None and full.letter.pk == letter.pk:
            reprocessing.note = f"Waits for room in the queue {full.step.queue_name!r}."
            break
        if refusal := refused.get(letter.pk):
            reprocessing.refused += 1
            reprocessing.last_refusal = str(refusal)
            logger.info("dead letter %s is refused: %s", letter.pk, refusal)
        elif letter.pk not in requeued.ids:
            logger.info("dead letter %s was decided about elsewhere", letter.pk)
        reprocessing.cursor = letter.pk
    ReprocessedLetter.objects.bulk_create(
        ReprocessedLetter(reprocessing=reprocessing, dead_letter_id=id)
        for id in sorted(requeued.ids)
    )
    reprocessing.reprocessed += len(requeued.ids)
    return LOOK_AGAIN_SECONDS if requeued.full is not None else 0.0


def _stored_body(letter: DeadLetter) -> str:
    return str(vars(letter)["body_stored"])


def _order(
    reprocessing: Reprocessing, letter: DeadLetter, target: StepVersion | FlowError
) -> Requeue:
    if isinstance(target, FlowError):
        raise target
    follows = reprocessing.script == Reprocessing.ScriptChoice.NEWEST
    return Requeue(letter, target, decrypt(_stored_body(letter)), follows)


def _erased(letters: Sequence[DeadLetter]) -> dict[int, FlowError]:
    """Return the refusals of letters whose payloads were erased meanwhile."""
    erased = Run.objects.filter(
        pk__in={letter.run_id for letter in letters}, erased_at__isnull=False
    )
    runs = set(erased.values_list("pk", flat=True))
    return {letter.pk: PayloadErased() for letter in letters if letter.run_id in runs}
