"""Put many dead letters back: by a filter, at a rate, with a sample first.

A reprocessing is a row that django-q2 tasks advance, one after the other. A task works for about
a second in small transactions and sends the next. Where one is lost with its worker, or where
there is nothing to do for a while, the broker sends another when the row is due.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Exists, Max, OuterRef, Q, Value
from django.db.models.functions import Concat
from django_q.tasks import async_task

from flows import engine
from flows.errors import AlreadyReprocessed, FlowError, QueueFull
from flows.models import (
    DeadLetter,
    Message,
    QueueState,
    ReprocessedLetter,
    Reprocessing,
    Run,
    StepVersion,
    Tally,
)
from flows.models.reprocessing import ReprocessedLetter as Letter
from flows.rate import RateLimit, starts_of
from flows.store import store

if TYPE_CHECKING:
    from flows.models.runtime import DeadLetterQuerySet

logger = logging.getLogger(__name__)

SAMPLE = 10
# So many in one transaction: the counters of their queues are locked meanwhile. Each has two
# savepoints, and more than 64 in a transaction make PostgreSQL slow for everybody.
BATCH = 30
SLICE_SECONDS = 1.0
# Nobody has worked on it for so long: the worker is taken for dead and another one is sent.
PATIENCE_SECONDS = 3.0
# How often to look whether runs have ended, or a full queue has room.
LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant; what is None does not matter."""

    flow_name: str | None = None
    queue: str | None = None
    reason: str | None = None
    dead_after: datetime | None = None
    dead_before: datetime | None = None

    def document(self) -> dict[str, str]:
        """Return it as it is stored."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return {n: v.isoformat() if isinstance(v, datetime) else v for n, v in given.items()}

    @classmethod
    def of(cls, document: dict[str, str]) -> DeadLetterFilter:
        """Read what `document` wrote."""
        after, before = (document.get(name) for name in ("dead_after", "dead_before"))
        return cls(
            document.get("flow_name"),
            document.get("queue"),
            document.get("reason"),
            datetime.fromisoformat(after) if after else None,
            datetime.fromisoformat(before) if before else None,
        )

    def open(self, flow_ids: Collection[int] | None) -> DeadLetterQuerySet:
        """Return the open dead letters that are meant, of these flows alone if they are given."""
        letters = DeadLetter.objects.open().filter(self._condition())
        if flow_ids is not None:
            letters = letters.filter(step__flow_version__flow__in=flow_ids)
        return letters

    def _condition(self) -> Q:
        condition = Q()
        if self.flow_name is not None:
            # A flow that was deleted is still called what it was.
            deleted = Q(step__flow_version__flow=None, step__flow_version__flow_name=self.flow_name)
            condition &= deleted | Q(step__flow_version__flow__name=self.flow_name)
        if self.queue is not None:
            deleted = Q(step__queue=None, step__queue_name=self.queue)
            condition &= deleted | Q(step__queue__name=self.queue)
        if self.reason is not None:
            condition &= Q(reason=self.reason)
        if self.dead_after is not None:
            condition &= Q(dead_at__gte=self.dead_after)
        if self.dead_before is not None:
            condition &= Q(dead_at__lt=self.dead_before)
        return condition


@dataclass(frozen=True, slots=True)
class StepCount:
    """How many dead letters there are at a step."""

    flow_name: str
    step_name: str
    queue_name: str
    matched: int


@dataclass(frozen=True, slots=True)
class Matched:
    """What a filter finds; `reprocessing` is None in a dry run."""

    matched: int
    steps: list[StepCount]
    reprocessing: Reprocessing | None = None


# --- the verbs ---------------------------------------------------------------------------------


def reprocess_many(
    filter: DeadLetterFilter,
    *,
    user: Any = None,
    flow_ids: Collection[int] | None = None,
    rate_per_second: float | None = None,
    stop_after_failures: int | None = None,
    sample: int = SAMPLE,
    newest_script: bool = False,
    dry_run: bool = False,
) -> Matched:
    """Reprocess the open dead letters that there are now; returns before the first is put back.

    `flow_ids` are the flows that the caller may touch, None for all. The first `sample` runs have
    to end before it goes on, 0 for none. It stops itself when `stop_after_failures` have failed
    again. A dry run counts and stores nothing.
    """
    with store().database.transaction():
        letters = filter.open(flow_ids)
        steps = _count_by_step(letters)
        matched = sum(step.matched for step in steps)
        if dry_run:
            return Matched(matched, steps)
        now = store().database.now()
        reprocessing = Reprocessing.objects.create(
            filter=filter.document(),
            flow_ids=None if flow_ids is None else sorted(flow_ids),
            script=Reprocessing.Script.NEWEST if newest_script else Reprocessing.Script.OWN,
            rate_per_second=rate_per_second,
            stop_after_failures=stop_after_failures,
            sample=sample,
            matched=matched,
            last_id=letters.aggregate(last=Max("id"))["last"] or 0,
            user=user,
            created_at=now,
            due_at=now + timedelta(seconds=PATIENCE_SECONDS),
        )
        _send(reprocessing.pk, reprocessing.turn)
    return Matched(matched, steps, reprocessing)


def stop(reprocessing: Reprocessing, *, user: Any = None) -> None:
    """Put no more back; what was put back goes on. One that has ended stays as it is."""
    running = Reprocessing.objects.filter(pk=reprocessing.pk, state=Reprocessing.State.RUNNING)
    note = f"Stopped by {user.get_username()}." if user else "Stopped."
    running.update(state=Reprocessing.State.STOPPED, note=note)
    reprocessing.refresh_from_db()


def _count_by_step(letters: DeadLetterQuerySet) -> list[StepCount]:
    names = ("step__flow_version__flow_name", "step__name", "step__queue_name")
    counts = letters.order_by(*names).values_list(*names).annotate(matched=Count("id"))
    return [StepCount(*row) for row in counts]


# --- its turns ---------------------------------------------------------------------------------


def wake_overdue() -> float:
    """Send a worker to every reprocessing that is due; the broker calls this.

    Returns the seconds after which to call it again, at most one.
    """
    now = store().database.now()
    unfinished = Reprocessing.objects.filter(finished_at=None).order_by("due_at")
    wait = 1.0
    for pk, turn, due_at in unfinished.values_list("pk", "turn", "due_at"):
        if due_at > now:
            wait = min(wait, max((due_at - now).total_seconds(), 0.01))
            break
        _wake(pk, turn, now)
    return wait


def _wake(pk: int, turn: int, now: datetime) -> None:
    with store().database.transaction():
        reprocessing = _take(pk, turn)
        if reprocessing is not None and reprocessing.due_at <= now:
            _begin_turn(reprocessing, now)
            reprocessing.save(update_fields=["turn", "due_at"])
            _send(reprocessing.pk, reprocessing.turn)


def advance(pk: int, turn: int) -> None:
    """Go on with a reprocessing for about a second. This is the function of the django-q2 task.

    Only the task that was sent last does anything, and each once.
    """
    if not _begin(pk, turn):
        return
    turn += 1
    ends_at = time.monotonic() + SLICE_SECONDS
    pause: float | None = 0.0
    while pause == 0.0:
        if time.monotonic() > ends_at:
            _send(pk, turn)
            return
        pause = _go_on(pk, turn)


def _send(pk: int, turn: int) -> None:
    async_task(
        "flows.reprocessing.advance",
        pk,
        turn,
        task_name=f"reprocessing-{pk}-{turn}",
        # Its result is in the row; and after a surprise it is the broker that sends another.
        save=False,
        ack_failure=True,
    )


def _take(pk: int, turn: int) -> Reprocessing | None:
    """Lock the row; None where it has ended, another turn has begun or somebody else has it."""
    free = Reprocessing.objects.select_for_update(skip_locked=True, of=("self",))
    return free.filter(pk=pk, turn=turn, finished_at=None).first()


def _begin_turn(reprocessing: Reprocessing, now: datetime) -> None:
    reprocessing.turn += 1
    reprocessing.due_at = now + timedelta(seconds=PATIENCE_SECONDS)


def _begin(pk: int, turn: int) -> bool:
    """Take the turn, and count what has ended since the last one."""
    with store().database.transaction():
        reprocessing = _take(pk, turn)
        if reprocessing is None:
            return False
        _begin_turn(reprocessing, store().database.now())
        _count_ended(reprocessing)
        _stop_after_failures(reprocessing)
        reprocessing.save()
        return True


def _count_ended(reprocessing: Reprocessing) -> None:
    """Count the letters whose run, or branch of it, has come to an end."""
    pending = reprocessing.letters.filter(outcome=Letter.Outcome.PENDING)
    newer = DeadLetter.objects.filter(
        run=OuterRef("dead_letter__run"), pk__gt=OuterRef("dead_letter_id")
    )
    branch = OuterRef("dead_letter__branch")
    in_branch = Q(branch=branch) | Q(branch__startswith=Concat(branch, Value(".")))
    # It failed again, even if somebody has put it back a second time since.
    failed = Exists(newer.filter(in_branch)) | Q(Exists(newer), dead_letter__branch="")
    messages = Message.objects.filter(in_branch, run=OuterRef("dead_letter__run"), branch__gt="")
    # Other branches may go on, or be dead, when this one has come to its end.
    branch_ended = Q(dead_letter__branch__gt="") & ~Exists(messages)
    completed = Q(dead_letter__run__status=Run.Status.COMPLETED) | branch_ended
    cancelled = Q(dead_letter__run__status=Run.Status.CANCELLED)

    def count(condition: Any, outcome: Letter.Outcome) -> int:
        return pending.filter(condition).update(outcome=outcome)

    reprocessing.cancelled += count(cancelled & ~failed, Letter.Outcome.CANCELLED)
    reprocessing.completed += count(completed & ~failed & ~cancelled, Letter.Outcome.COMPLETED)
    reprocessing.failed_again += count(failed, Letter.Outcome.FAILED)


def _stop_after_failures(reprocessing: Reprocessing) -> None:
    most = reprocessing.stop_after_failures
    is_running = reprocessing.state == Reprocessing.State.RUNNING
    if most is not None and is_running and reprocessing.failed_again >= most:
        reprocessing.state = Reprocessing.State.STOPPED
        reprocessing.note = f"Stopped itself: {reprocessing.failed_again} failed again."


# --- one transaction of a turn -----------------------------------------------------------------


def _go_on(pk: int, turn: int) -> float | None:
    """Put some back; return the seconds to wait, 0 to go on, None where it is over."""
    with store().database.transaction():
        reprocessing = _take(pk, turn)
        if reprocessing is None:
            return None
        now = store().database.now()
        pause = _pause(reprocessing, now) or _put_back_some(reprocessing, now)
        reprocessing.due_at = now + timedelta(seconds=pause or PATIENCE_SECONDS)
        _finish(reprocessing, now)
        reprocessing.save()
        return pause if reprocessing.finished_at is None else None


def _pause(reprocessing: Reprocessing, now: datetime) -> float:
    """Return how long nothing may be put back, and note why."""
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
        reprocessing.note = f"All were put back; {ongoing} go on." if ongoing else ""
    if not reprocessing.outstanding:
        reprocessing.finished_at = now
        if reprocessing.state == Reprocessing.State.RUNNING:
            reprocessing.state = Reprocessing.State.FINISHED


def _rate(reprocessing: Reprocessing) -> RateLimit | None:
    """Return its rate as so many in a period: 2.5 a second are 2 in 0.8 s, 0.1 are 1 in 10 s."""
    rate = reprocessing.rate_per_second
    if rate is None:
        return None
    count = max(int(rate), 1)
    return RateLimit(count, count / rate, starts_of(reprocessing.recent_starts))


def _put_back_some(reprocessing: Reprocessing, now: datetime) -> float:
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
    pause = _put_back(reprocessing, letters, targets)
    if len(letters) < most and not pause:
        reprocessing.cursor = reprocessing.last_id
    if rate is not None:
        # The last moment at which it may be seen to happen is with the commit.
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
    """Return where the messages of each step go on, or why they cannot.

    Asked once for all letters: a flow's newest version takes a dozen queries.
    """
    steps = {letter.step_id: letter.step for letter in letters}
    if reprocessing.script == Reprocessing.Script.OWN:
        return dict(steps)
    return {step_id: newest_step(step) for step_id, step in steps.items()}


def newest_step(step: StepVersion) -> StepVersion | FlowError:
    try:
        return engine.newest_step(step)
    except FlowError as error:
        return error


def _lock(targets: Collection[StepVersion | FlowError], letters: Sequence[DeadLetter]) -> None:
    """Lock the counters, runs and books that the letters will change, in everybody's order.

    Taken letter by letter they would be locked in any order, and a session's commit that goes the
    other way would deadlock with this.
    """
    steps = [target for target in targets if isinstance(target, StepVersion)]
    counters = QueueState.objects.filter(pk__in={step.queue_id for step in steps} - {None})
    list(counters.order_by("pk").select_for_update().values_list("pk"))
    runs = Run.objects.filter(pk__in={letter.run_id for letter in letters})
    list(runs.order_by("pk").select_for_update(no_key=True).values_list("pk"))
    books = Tally.objects.filter(pk__in={step.flow_version.flow_name for step in steps})
    list(books.order_by("pk").select_for_update().values_list("pk"))


def _put_back(
    reprocessing: Reprocessing,
    letters: Sequence[DeadLetter],
    targets: dict[int, StepVersion | FlowError],
) -> float:
    """Put them back in turn; return the seconds to wait where a queue is full, else 0."""
    done: list[DeadLetter] = []
    pause = 0.0
    for letter in letters:
        try:
            _put_back_one(reprocessing, letter, targets[letter.step_id])
            done.append(letter)
        except QueueFull:
            reprocessing.note = f"Waits for room in the queue {letter.step.queue_name!r}."
            pause = LOOK_AGAIN_SECONDS
            break
        except AlreadyReprocessed:
            logger.info("dead letter %s was dealt with by somebody else", letter.pk)
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


def _put_back_one(
    reprocessing: Reprocessing, letter: DeadLetter, target: StepVersion | FlowError
) -> None:
    if isinstance(target, FlowError):
        raise target
    follows = reprocessing.script == Reprocessing.Script.NEWEST
    engine.reprocess_at(target, letter, user=reprocessing.user, follows=follows)
