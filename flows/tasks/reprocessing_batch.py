"""Requeue some dead letters of a bulk reprocessing: one transaction of its task."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from flows import engine
from flows.access import audit
from flows.dead_letters import DeadLetterFilter
from flows.errors import AlreadyReprocessed, FlowError, QueueFull
from flows.models import (
    DeadLetter,
    FlowTotals,
    QueueState,
    ReprocessedLetter,
    Reprocessing,
    Run,
    StepVersion,
)
from flows.store import store
from flows.store.rate_limit import RateLimit, starts_of

logger = logging.getLogger(__name__)

# The size of a batch. Its transaction locks the counters of the queues, and has two savepoints for
# each letter: more than 64 in a transaction make PostgreSQL slow for all its sessions.
BATCH = 30
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
        reprocessing.note = f"Waits for the sample: {reprocessing.outstanding} go on."
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
        reprocessing.note = f"All were requeued; {ongoing} go on." if ongoing else ""
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
    targets = _targets(reprocessing, letters)
    _lock(targets.values(), letters)
    before = reprocessing.reprocessed
    pause = _requeue(reprocessing, letters, targets)
    if len(letters) < most and not pause:
        reprocessing.cursor = reprocessing.last_id
    if rate is not None:
        # A letter counts as requeued at the commit, at the latest.
        rate.add(store().database.now().timestamp(), reprocessing.reprocessed - before)
        reprocessing.recent_starts = rate.write()
    return pause


def _next_letters(reprocessing: Reprocessing, most: int) -> list[DeadLetter]:
    letters = DeadLetterFilter.of(reprocessing.filter).open(reprocessing.flow_ids)
    ahead = letters.filter(pk__gt=reprocessing.cursor, pk__lte=reprocessing.last_id)
    return list(ahead.select_related("step__flow_version__flow").order_by("pk")[:most])


def _targets(
    reprocessing: Reprocessing, letters: Sequence[DeadLetter]
) -> dict[int, StepVersion | FlowError]:
    """Return the step at which the messages of each step go on, or the error that prevents it.

    It is computed once for all letters: the newest version of a flow takes a dozen queries.
    """
    steps = {letter.step_id: letter.step for letter in letters}
    if reprocessing.script == Reprocessing.ScriptChoice.OWN:
        return dict(steps)
    return {step_id: newest_step(step) for step_id, step in steps.items()}


def newest_step(step: StepVersion) -> StepVersion | FlowError:
    try:
        return engine.newest_step(step)
    except FlowError as error:
        return error


def _lock(targets: Collection[StepVersion | FlowError], letters: Sequence[DeadLetter]) -> None:
    """Lock the counters, runs and totals that the letters will change, in the order of the store.

    Taken letter by letter they would be locked in any order, and a session's commit that goes the
    other way would deadlock with this.
    """
    steps = [target for target in targets if isinstance(target, StepVersion)]
    counters = QueueState.objects.filter(pk__in={step.queue_id for step in steps} - {None})
    list(counters.order_by("pk").select_for_update().values_list("pk"))
    runs = Run.objects.filter(pk__in={letter.run_id for letter in letters})
    list(runs.order_by("pk").select_for_update(no_key=True).values_list("pk"))
    totals = FlowTotals.objects.filter(pk__in={step.flow_version.flow_name for step in steps})
    list(totals.order_by("pk").select_for_update().values_list("pk"))


def _requeue(
    reprocessing: Reprocessing,
    letters: Sequence[DeadLetter],
    targets: dict[int, StepVersion | FlowError],
) -> float:
    """Requeue the letters in order. Return the seconds to wait if a queue is full, else 0."""
    done: list[DeadLetter] = []
    pause = 0.0
    for letter in letters:
        try:
            _requeue_one(reprocessing, letter, targets[letter.step_id])
            done.append(letter)
        except QueueFull:
            reprocessing.note = f"Waits for room in the queue {letter.step.queue_name!r}."
            pause = LOOK_AGAIN_SECONDS
            break
        except AlreadyReprocessed:
            logger.info("dead letter %s was decided about elsewhere", letter.pk)
        except FlowError as error:
            reprocessing.refused += 1
            reprocessing.last_refusal = str(error)
            logger.info("dead letter %s is refused: %s", letter.pk, error)
        reprocessing.cursor = letter.pk
    ReprocessedLetter.objects.bulk_create(
        ReprocessedLetter(reprocessing=reprocessing, dead_letter=letter) for letter in done
    )
    reprocessing.reprocessed += len(done)
    return pause


def _requeue_one(
    reprocessing: Reprocessing, letter: DeadLetter, target: StepVersion | FlowError
) -> None:
    if isinstance(target, FlowError):
        raise target
    keeps_script = reprocessing.script == Reprocessing.ScriptChoice.OWN
    # The audit log has the start of the reprocessing, not each dead letter.
    with audit.silent():
        engine.reprocess(letter, user=reprocessing.user, at=None if keeps_script else target)
