"""Many dead letters requeued by a filter: counts, kills, rate, sample, stop, full queues."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from flows import engine
from flows.dead_letters import DeadLetterFilter, StepCount
from flows.erasure.erasing import Selection, erase
from flows.errors import PayloadErased
from flows.models import (
    DeadLetter,
    Flow,
    Message,
    Queue,
    ReprocessedLetter,
    Reprocessing,
    Run,
    Step,
)
from flows.monitoring.conservation import check
from flows.tasks import reprocessing, reprocessing_batch
from flows.tasks.reprocessing import (
    advance,
    reprocess_many,
    wake_overdue,
)
from flows.tasks.retention import purge
from tests.builders import ECHO, RAISING, counters, make_flow, run_of, work_until_idle
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db

EVERYTHING = DeadLetterFilter()
# Tests that look between two batches need no more letters.
BATCH = 30
REJECT = "def run(message, context):\n    raise Reject('no')\n"


class Killed(BaseException):
    """The worker is gone."""


def make_dead_letters(flow: Flow, count: int) -> list[DeadLetter]:
    """Let runs of the flow die at its first step, whose script has to reject them."""
    engine.start_many(flow.name, [{"n": n} for n in range(count)])
    work_until_idle(flow)
    letters = DeadLetter.objects.open().filter(step__flow_version__flow=flow)
    assert letters.count() == count
    return list(letters.order_by("pk"))


def stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """Let the database tell one time from now on, which is that of the list."""
    now = [timezone.now()]
    monkeypatch.setattr(type(reprocessing.store().database), "now", lambda _: now[0])
    return now


def repair(flow: Flow, code: str = ECHO) -> None:
    for step in flow.steps.select_related("script"):
        step.script.code = code
        step.script.save()


def sent_tasks() -> Iterator[dict[str, Any]]:
    """Take the tasks that were sent, as a worker would."""
    for row in OrmQ.objects.order_by("pk"):
        row.delete()
        yield SignedPackage.loads(row.payload)


def run_sent_tasks() -> int:
    ran = 0
    for task in sent_tasks():
        assert task["func"] == "flows.tasks.reprocessing.advance"
        advance(*task["args"])
        ran += 1
    return ran


def let_time_pass(now: datetime | None = None) -> None:
    Reprocessing.objects.update(due_at=(now or timezone.now()) - timedelta(seconds=1))
    wake_overdue()


def finish(flow: Flow, made: Reprocessing) -> None:
    """Play worker and broker until the reprocessing is over."""
    for _ in range(200):
        run_sent_tasks()
        work_until_idle(flow)
        made.refresh_from_db()
        if made.finished_at:
            return
        let_time_pass()
    raise AssertionError("it never came to its end")


def test_runs_that_fail_again_without_a_letter_keep_none_waiting_for_them(settings):
    settings.ASYNCENGINE_MAX_RESULT_BYTES = 1000
    flow = make_flow(codes=[REJECT, ECHO])
    make_dead_letters(flow, 3)
    script = flow.steps.get(position=0).script
    script.code = "def run(m, c):\n    return [{'payload': 'x' * 600} for n in range(3)]\n"
    script.save()

    made = reprocess_many(EVERYTHING, newest_script=True, sample=1).reprocessing
    finish(flow, made)

    assert set(Run.objects.values_list("status", flat=True)) == {Run.Status.FAILED}
    assert not DeadLetter.objects.open().exists()
    assert (made.reprocessed, made.failed_again, made.state) == (3, 3, Reprocessing.State.FINISHED)


def test_runs_that_are_purged_before_they_are_counted_keep_none_waiting_for_them():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 2)
    repair(flow)
    made = reprocess_many(EVERYTHING, newest_script=True, sample=0).reprocessing
    assert made is not None
    run_sent_tasks()
    work_until_idle(flow)

    assert purge(timezone.now() + timedelta(days=31)) == 2
    finish(flow, made)

    assert (made.state, made.completed) == (Reprocessing.State.FINISHED, 2)


def test_a_dry_run_counts_by_step_and_stores_nothing():
    make_dead_letters(make_flow("one", [REJECT]), 3)
    make_dead_letters(make_flow("two", [REJECT]), 2)

    found = reprocess_many(EVERYTHING, dry_run=True)

    assert found.matched == 5
    assert found.steps == [
        StepCount("one", "one-0", "one-0", 3),
        StepCount("two", "two-0", "two-0", 2),
    ]
    assert found.reprocessing is None
    assert not Reprocessing.objects.exists()
    assert not OrmQ.objects.exists()
    assert DeadLetter.objects.open().count() == 5


@pytest.mark.long
def test_a_thousand_dead_letters_are_requeued_exactly_once_each():
    flow = make_flow(codes=[REJECT], threads=50)
    letters = make_dead_letters(flow, 1000)
    repair(flow)
    user = User.objects.create_user("operator")

    made = reprocess_many(EVERYTHING, user=user, newest_script=True, sample=0).reprocessing
    assert made.reprocessed == 0
    finish(flow, made)

    assert made.state == Reprocessing.State.FINISHED
    assert (made.matched, made.reprocessed, made.completed) == (1000, 1000, 1000)
    assert (made.failed_again, made.cancelled, made.refused, made.note) == (0, 0, 0, "")
    assert ReprocessedLetter.objects.count() == 1000
    assert {letter.run.step_runs.count() for letter in letters} == {2}
    assert set(Run.objects.values_list("status", flat=True)) == {Run.Status.COMPLETED}
    assert set(Run.objects.values_list("flow_version__number", flat=True)) == {2}
    assert DeadLetter.objects.filter(reprocessed_by=user).count() == 1000
    assert counters("flow-0") == (0, 0)


@pytest.mark.parametrize("killed_at", ["before the commit", "after the commit"])
def test_it_goes_on_where_it_was_when_its_worker_was_killed(monkeypatch, killed_at):
    monkeypatch.setattr(reprocessing_batch, "BATCH", BATCH)
    # However slow the machine is, one task makes two batches, and is not overdue after them.
    monkeypatch.setattr(reprocessing, "SLICE_SECONDS", 600.0)
    flow = make_flow(codes=[REJECT])
    letters = make_dead_letters(flow, 120)
    stop_the_clock(monkeypatch)
    repair(flow)
    made = reprocess_many(EVERYTHING, newest_script=True, sample=0).reprocessing
    requeue, go_on, batches = reprocessing_batch._requeue, reprocessing.advance_once, []

    def killed_while(function):
        def call(*args):
            result = function(*args)
            batches.append(result)
            if len(batches) == 2:
                raise Killed
            return result

        return call

    inside = killed_at == "before the commit"
    with monkeypatch.context() as patch:
        if inside:
            patch.setattr(reprocessing_batch, "_requeue", killed_while(requeue))
        else:
            patch.setattr(reprocessing, "advance_once", killed_while(go_on))
        with pytest.raises(Killed):
            run_sent_tasks()

    made.refresh_from_db()
    assert made.reprocessed == (BATCH if inside else 2 * BATCH)
    assert made.cursor == letters[made.reprocessed - 1].pk
    assert wake_overdue() <= 1.0
    assert not OrmQ.objects.exists(), "it is not overdue yet"
    monkeypatch.undo()
    finish(flow, made)

    assert made.state == Reprocessing.State.FINISHED
    assert (made.reprocessed, made.completed) == (120, 120)
    assert {letter.run.step_runs.count() for letter in letters} == {2}


def test_a_task_that_is_never_run_is_sent_again():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 1)
    made = reprocess_many(EVERYTHING).reprocessing
    [lost] = sent_tasks()

    let_time_pass()
    [sent_again] = sent_tasks()
    advance(*lost["args"])
    made.refresh_from_db()
    assert made.reprocessed == 0, "the token of the lost task is old"

    advance(*sent_again["args"])
    made.refresh_from_db()
    assert made.reprocessed == 1


def test_a_worker_that_was_taken_for_dead_puts_nothing_more_back(monkeypatch):
    monkeypatch.setattr(reprocessing_batch, "BATCH", BATCH)
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 120)
    made = reprocess_many(EVERYTHING, sample=0).reprocessing
    go_on = reprocessing.advance_once
    seen: list[float | None] = []

    def stall(*args):
        if len(seen) == 1:
            let_time_pass()
        seen.append(go_on(*args))
        return seen[-1]

    monkeypatch.setattr(reprocessing, "advance_once", stall)
    monkeypatch.setattr(reprocessing, "SLICE_SECONDS", PATIENCE)
    [task] = sent_tasks()
    advance(*task["args"])

    made.refresh_from_db()
    assert seen == [0.0, None]
    assert made.reprocessed == BATCH
    assert OrmQ.objects.count() == 1


def test_a_task_that_is_delivered_twice_does_nothing_twice():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 3)
    made = reprocess_many(EVERYTHING).reprocessing
    [task] = sent_tasks()

    advance(*task["args"])
    advance(*task["args"])

    made.refresh_from_db()
    assert made.reprocessed == 3
    assert ReprocessedLetter.objects.count() == 3


def test_two_reprocessings_of_the_same_dead_letters_put_each_back_once():
    flow = make_flow(codes=[REJECT])
    letters = make_dead_letters(flow, 20)
    repair(flow)
    first = reprocess_many(EVERYTHING, newest_script=True, sample=10).reprocessing
    second = reprocess_many(EVERYTHING, newest_script=True, sample=0).reprocessing

    finish(flow, first)
    finish(flow, second)

    assert first.reprocessed + second.reprocessed == 20
    assert first.completed + second.completed == 20
    assert {letter.run.step_runs.count() for letter in letters} == {2}


def test_what_dies_meanwhile_is_not_in_it():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 3)
    made = reprocess_many(EVERYTHING, sample=0).reprocessing

    finish(flow, made)

    assert made.state == Reprocessing.State.FINISHED
    assert (made.reprocessed, made.failed_again) == (3, 3)
    assert DeadLetter.objects.open().count() == 3


def test_the_first_few_have_to_end_before_it_goes_on():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 30)
    repair(flow)
    made = reprocess_many(EVERYTHING, newest_script=True, sample=5).reprocessing

    run_sent_tasks()
    let_time_pass()
    run_sent_tasks()
    made.refresh_from_db()
    assert made.reprocessed == 5
    assert made.note == "Waits for the sample; still running: 5."

    work_until_idle(flow)
    let_time_pass()
    run_sent_tasks()
    made.refresh_from_db()
    assert made.reprocessed == 30


def test_it_stops_itself_when_too_many_fail_again():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 30)
    made = reprocess_many(EVERYTHING, sample=5, stop_after_failures=4).reprocessing

    finish(flow, made)

    assert made.state == Reprocessing.State.STOPPED
    assert made.note == "Stopped itself: 5 failed again."
    assert (made.reprocessed, made.failed_again) == (5, 5)
    assert DeadLetter.objects.open().count() == 30


def test_one_that_stopped_goes_on_after_the_repair():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 12)
    made = reprocess_many(
        EVERYTHING, sample=5, stop_after_failures=4, newest_script=True
    ).reprocessing
    finish(flow, made)
    repair(flow)

    reprocessing.go_on(made)
    finish(flow, made)

    assert made.state == Reprocessing.State.FINISHED
    assert (made.reprocessed, made.failed_again, made.completed) == (12, 5, 7)


def test_one_that_goes_on_stops_itself_again():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 30)
    made = reprocess_many(
        EVERYTHING, sample=0, stop_after_failures=5, rate_per_second=10
    ).reprocessing
    finish(flow, made)
    before = made.failed_again

    reprocessing.go_on(made)
    finish(flow, made)

    assert made.state == Reprocessing.State.STOPPED
    assert made.note == f"Stopped itself: {made.failed_again - before} failed again."
    assert made.failed_again >= before + 5


def test_one_that_has_not_stopped_does_not_go_on_twice():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 2)
    made = reprocess_many(EVERYTHING, sample=0).reprocessing

    reprocessing.go_on(made)

    assert OrmQ.objects.count() == 1


def test_fewer_failures_than_that_do_not_stop_it():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 8)
    made = reprocess_many(EVERYTHING, sample=5, stop_after_failures=9).reprocessing

    finish(flow, made)

    assert made.state == Reprocessing.State.FINISHED
    assert made.failed_again == 8


def test_an_operator_stops_it():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 30)
    user = User.objects.create_user("operator")
    made = reprocess_many(EVERYTHING, sample=5).reprocessing
    run_sent_tasks()

    reprocessing.stop(made, user=user)
    finish(flow, made)

    assert made.state == Reprocessing.State.STOPPED
    assert made.note == "Stopped by operator."
    assert (made.reprocessed, made.failed_again) == (5, 5)


def test_a_rate_is_kept_to(monkeypatch):
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 30)
    # However slow the machine is, a task goes on until it waits.
    monkeypatch.setattr(reprocessing, "SLICE_SECONDS", 600.0)
    now = stop_the_clock(monkeypatch)
    made = reprocess_many(EVERYTHING, sample=0, rate_per_second=10).reprocessing

    run_sent_tasks()
    made.refresh_from_db()
    assert made.reprocessed == 10
    assert made.note == "Waits for its rate of 10 a second."
    assert 0.5 < wake_overdue() <= 1.0

    let_time_pass(now[0])
    run_sent_tasks()
    made.refresh_from_db()
    assert made.reprocessed == 10, "the second is not over"

    now[0] += timedelta(seconds=1.1)
    let_time_pass(now[0])
    run_sent_tasks()
    made.refresh_from_db()
    assert made.reprocessed == 20


@pytest.mark.parametrize(
    ("rate", "count", "seconds"), [(2.5, 2, 0.8), (0.1, 1, 10.0), (200, 200, 1.0)]
)
def test_a_rate_is_so_many_in_a_period(rate, count, seconds):
    limit = reprocessing_batch._rate(Reprocessing(rate_per_second=rate))

    assert (limit.count, limit.period_seconds) == (count, pytest.approx(seconds))


def test_a_full_queue_makes_it_wait_and_loses_nothing():
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 25)
    repair(flow)
    Queue.objects.filter(name="flow-0").update(size=10)
    made = reprocess_many(EVERYTHING, newest_script=True, sample=0).reprocessing

    run_sent_tasks()
    made.refresh_from_db()
    assert made.reprocessed == 10
    assert made.note == "Waits for room in the queue 'flow-0'."
    assert made.state == Reprocessing.State.RUNNING
    assert counters("flow-0") == (10, 0)

    finish(flow, made)
    assert (made.reprocessed, made.completed) == (25, 25)


def test_large_messages_are_requeued_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(reprocessing_batch, "MOST_CHARACTERS", 1)
    sizes: list[int] = []
    requeue = reprocessing_batch._requeue

    def noted(made, letters):
        sizes.append(len(letters))
        return requeue(made, letters)

    monkeypatch.setattr(reprocessing_batch, "_requeue", noted)
    flow = make_flow(codes=[REJECT])
    make_dead_letters(flow, 2 * reprocessing_batch.PART + 1)

    made = reprocess_many(EVERYTHING, sample=0).reprocessing
    run_sent_tasks()

    made.refresh_from_db()
    assert made.reprocessed == sum(sizes) == 2 * reprocessing_batch.PART + 1
    assert max(sizes) == reprocessing_batch.PART


def test_letters_that_are_decided_about_meanwhile_are_left_to_that_decision(monkeypatch):
    flow = make_flow(codes=[REJECT])
    letters = make_dead_letters(flow, 6)
    read = reprocessing_batch._next_letters

    def read_late(*args):
        found = read(*args)
        if found:
            engine.reprocess(found[0])
            engine.discard(found[2])
            erase(Selection(run=found[4].run_id), Run.objects.all())
        return found

    monkeypatch.setattr(reprocessing_batch, "_next_letters", read_late)
    repair(flow)
    made = reprocess_many(EVERYTHING, sample=0, newest_script=True).reprocessing
    run_sent_tasks()

    made.refresh_from_db()
    assert (made.reprocessed, made.refused) == (3, 1)
    assert made.last_refusal == str(PayloadErased())
    requeued = ReprocessedLetter.objects.values_list("dead_letter", flat=True)
    assert {*requeued} == {letter.pk for letter in letters[1::2]}
    assert Message.objects.count() == 4
    assert counters("flow-0") == (4, 0)
    assert [fault for each in check() for fault in each.faults()] == []


def test_a_dead_letter_whose_step_is_gone_is_refused_and_stays():
    flow = make_flow(codes=[REJECT, ECHO])
    make_dead_letters(flow, 2)
    Step.objects.filter(name="flow-0").update(name="renamed")
    made = reprocess_many(EVERYTHING, newest_script=True, sample=0).reprocessing

    finish(flow, made)

    assert made.state == Reprocessing.State.FINISHED
    assert (made.matched, made.reprocessed, made.refused) == (2, 0, 2)
    assert made.last_refusal.startswith(
        "The flow no longer has a step 'flow-0': without the newest"
    )
    assert DeadLetter.objects.open().count() == 2


def test_a_run_that_is_cancelled_counts_as_ended():
    flow = make_flow(codes=[REJECT])
    [letter] = make_dead_letters(flow, 1)
    made = reprocess_many(EVERYTHING, sample=0).reprocessing
    run_sent_tasks()

    engine.cancel(run_of(letter.run_id))
    finish(flow, made)

    assert made.state == Reprocessing.State.FINISHED
    assert (made.reprocessed, made.cancelled) == (1, 1)


def test_without_any_dead_letter_it_is_finished_at_once():
    made = reprocess_many(EVERYTHING).reprocessing

    run_sent_tasks()

    made.refresh_from_db()
    assert made.state == Reprocessing.State.FINISHED
    assert made.matched == 0
    assert wake_overdue() == 1.0


def test_the_filter_confines_it():
    one, two = make_flow("one", [REJECT]), make_flow("two", [RAISING], max_deliveries=1)
    letters = make_dead_letters(one, 2) + make_dead_letters(two, 2)
    DeadLetter.objects.filter(pk=letters[0].pk).update(dead_at=timezone.now() - timedelta(days=2))
    yesterday = timezone.now() - timedelta(days=1)

    def found(flow_ids=None, **given):
        filter = DeadLetterFilter(**given)
        assert DeadLetterFilter.of(filter.document()) == filter
        ids = set(filter.open(flow_ids).values_list("pk", flat=True))
        return [n for n, letter in enumerate(letters) if letter.pk in ids]

    assert found() == [0, 1, 2, 3]
    assert found(flow_name="one") == [0, 1]
    assert found(queue="two-0") == [2, 3]
    assert found(reason="exhausted") == [2, 3]
    assert found(dead_before=yesterday) == [0]
    assert found(dead_after=yesterday, flow_name="one") == [1]
    assert found(flow_ids=[two.pk]) == [2, 3]
    assert found(flow_ids=[two.pk], flow_name="one") == []
    assert found(flow_name="three") == []


def test_the_filter_of_a_reprocessing_is_kept_to():
    one, two = make_flow("one", [REJECT]), make_flow("two", [REJECT])
    make_dead_letters(one, 2)
    make_dead_letters(two, 2)
    made = reprocess_many(EVERYTHING, flow_ids=[two.pk], sample=0).reprocessing

    finish(two, made)

    assert (made.matched, made.reprocessed) == (2, 2)
    reprocessed = DeadLetter.objects.exclude(reprocessed_at=None)
    assert set(reprocessed.values_list("step__name", flat=True)) == {"two-0"}


SPLIT = "def run(message, context):\n    return [{'payload': {'n': n}} for n in range(3)]\n"


def test_branches_of_a_run_count_one_by_one():
    flow = make_flow(codes=[SPLIT, REJECT])
    run = run_of(engine.start("flow", {}).correlation_id)
    work_until_idle(flow)
    step = flow.steps.get(name="flow-1")
    step.script.code = (
        "def run(message, context):\n"
        "    if message['payload']['n'] == 1:\n"
        "        raise Reject('still not')\n"
        "    return message\n"
    )
    step.script.save()

    made = reprocess_many(EVERYTHING, newest_script=True, sample=0).reprocessing
    finish(flow, made)

    assert made.state == Reprocessing.State.FINISHED
    assert (made.reprocessed, made.completed, made.failed_again) == (3, 2, 1)
    assert run_of(run.pk).status == Run.Status.FAILED
    outcomes = ReprocessedLetter.objects.values_list("dead_letter__body", "outcome")
    assert sorted((json.loads(body)["payload"]["n"], outcome) for body, outcome in outcomes) == [
        (0, "COMPLETED"),
        (1, "FAILED"),
        (2, "COMPLETED"),
    ]


def test_a_dead_branch_stays_pending_while_its_message_waits():
    flow = make_flow(codes=[SPLIT, REJECT])
    engine.start("flow", {})
    work_until_idle(flow)
    made = reprocess_many(EVERYTHING, sample=0).reprocessing
    run_sent_tasks()
    let_time_pass()
    run_sent_tasks()

    made.refresh_from_db()

    assert (made.reprocessed, made.outstanding, made.finished_at) == (3, 3, None)
    assert made.note == "All were requeued; still running: 3."
