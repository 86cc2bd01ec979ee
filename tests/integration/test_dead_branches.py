"""What becomes of a run when branches end with nothing, die, or are decided about."""

import json
import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction

from flows import engine
from flows.errors import AlreadyReprocessed, QueueFull
from flows.models import BranchEnd, DeadLetter, FlowTotals, Message, Queue, QueueState, Run, Step
from flows.monitoring.conservation import check
from flows.store import store
from flows.tasks.retention import purge
from tests.builders import ECHO, counters, make_flow, make_script, run_of, work, work_until_idle
from tests.databases import is_postgresql
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db

FAN = (
    "def run(message, context):\n"
    "    return [{'payload': {'i': i}} for i in range(1, message['payload']['count'] + 1)]\n"
)
# Which of them returns nothing.
DROPS = (
    "def run(message, context):\n"
    "    return [] if message['payload']['i'] in {numbers} else message\n"
)
REJECTS = (
    "def run(message, context):\n"
    "    if message['payload'].get('i') in {numbers} and not message['payload'].get('repaired'):\n"
    "        raise Reject('no')\n"
    "    return message\n"
)
MARK = "def run(message, context):\n    return {'joined': message['payload']}\n"
REPAIR = {"repaired": True}


def make(*codes: str, join: int | None = -1, **queue):
    flow = make_flow(codes=[FAN, *codes], **queue)
    if join is not None:
        step = flow.steps.order_by("position")[join % flow.steps.count()]
        Step.objects.filter(pk=step.pk).update(join=True)
    return flow


def start(count: int) -> Run:
    return run_of(engine.start("flow", {"count": count}).correlation_id)


def joined(run: Run) -> list[int]:
    run = run_of(run.pk)
    assert run.status == Run.Status.COMPLETED, run.error
    return [payload["i"] for payload in json.loads(run.result or "")["joined"]]


def letter(number: int) -> DeadLetter:
    return next(d for d in DeadLetter.objects.all() if json.loads(d.body)["payload"]["i"] == number)


def repair(number: int) -> Run:
    return engine.reprocess(letter(number), payload={"i": number, "repaired": True})


def make_ready() -> None:
    Message.objects.update(available_at=store().database.now())


def assert_balanced() -> None:
    assert [fault for checked in check() for fault in checked.faults()] == []


def assert_purgeable(run: Run) -> None:
    purge(store().database.now() + timedelta(days=365))
    assert not Run.objects.filter(pk=run.pk).exists()
    assert_balanced()


# --- branches that end with nothing ------------------------------------------------------------


@pytest.mark.parametrize("last", [1, 2, 3])
def test_the_join_gets_what_there_is_whichever_branch_ends_last(last):
    flow = make(DROPS.format(numbers={1}), ECHO, MARK)
    run = start(3)
    work("flow-0")
    late = Message.objects.order_by("branch")[last - 1]
    Message.objects.filter(pk=late.pk).update(
        available_at=store().database.now() + timedelta(hours=1)
    )
    work_until_idle(flow)
    assert run_of(run.pk).status == Run.Status.RUNNING
    make_ready()

    work_until_idle(flow)

    assert joined(run) == [2, 3]
    assert_balanced()


def test_the_join_runs_with_an_empty_list_where_no_branch_gave_anything():
    flow = make(DROPS.format(numbers={1, 2, 3}), ECHO, ECHO, MARK, join=3)
    run = start(3)

    work_until_idle(flow)

    assert joined(run) == []
    assert run.step_runs.filter(step__name="flow-3").count() == 1
    assert_balanced()


def test_an_empty_list_before_there_are_branches_is_joined_too():
    flow = make(ECHO, ECHO, MARK)
    run = start(0)

    work_until_idle(flow)

    assert joined(run) == []
    assert_balanced()


@pytest.mark.long
def test_the_first_of_several_joins_is_the_one_that_follows():
    flow = make(DROPS.format(numbers={1, 2}), ECHO, ECHO, MARK, join=2)
    Step.objects.filter(name="flow-4").update(join=True)
    run = start(2)

    work_until_idle(flow)

    assert joined(run) == []
    assert run.step_runs.filter(step__name="flow-2").count() == 1


def test_a_join_whose_queue_is_full_waits_for_room_and_the_queue_keeps_its_bound():
    flow = make(DROPS.format(numbers={1}), ECHO, MARK, join=3)
    Queue.objects.filter(name="flow-3").update(size=1, paused=True)
    first, second = start(1), start(1)
    for _ in range(3):
        make_ready()
        work_until_idle(flow)
        assert counters("flow-3")[0] <= 1
        assert_balanced()
    assert {run_of(run.pk).status for run in (first, second)} == {Run.Status.RUNNING}
    Queue.objects.filter(name="flow-3").update(paused=False)

    for _ in range(2):
        work_until_idle(flow)
        make_ready()
        work_until_idle(flow)

    assert joined(first) == joined(second) == []
    assert not Message.objects.exists()


def test_a_run_that_waits_for_room_at_its_join_can_be_cancelled():
    flow = make(DROPS.format(numbers={1}), ECHO, MARK, join=3)
    Queue.objects.filter(name="flow-3").update(size=1, paused=True)
    runs = start(1), start(1)
    work_until_idle(flow)

    for run in runs:
        assert engine.cancel(run).status == Run.Status.CANCELLED

    assert not Message.objects.exists()
    assert not BranchEnd.objects.exists()
    assert_balanced()


# --- decisions about dead branches -------------------------------------------------------------


@pytest.mark.parametrize("order", ["discard first", "reprocess first", "discard after its end"])
def test_a_run_goes_on_without_what_was_discarded_once_the_rest_is_repaired(order):
    flow = make(REJECTS.format(numbers={2, 4}), MARK)
    run = start(5)
    work_until_idle(flow)
    assert run_of(run.pk).status == Run.Status.FAILED

    if order == "discard first":
        assert engine.discard(letter(2)).status == Run.Status.FAILED
        assert repair(4).status == Run.Status.RUNNING
    else:
        assert repair(4).status == Run.Status.FAILED
        if order == "discard after its end":
            work_until_idle(flow)
        assert engine.discard(letter(2)).status == Run.Status.RUNNING
    work_until_idle(flow)

    assert joined(run) == [1, 3, 4, 5]
    assert FlowTotals.objects.values_list("completed", "failed").get() == (1, 0)
    assert_balanced()
    assert_purgeable(run)


def test_without_a_join_the_result_is_what_the_other_branches_gave():
    flow = make(REJECTS.format(numbers={2, 4}), join=None)
    run = start(5)
    work_until_idle(flow)
    engine.discard(letter(4))

    repair(2)
    work_until_idle(flow)

    run.refresh_from_db()
    assert run.status == Run.Status.COMPLETED
    assert [m["payload"]["i"] for m in json.loads(run.result or "")] == [1, 2, 3, 5]


def test_a_run_whose_dead_branches_are_all_discarded_stays_failed_and_can_be_purged():
    flow = make(REJECTS.format(numbers={2, 4}), MARK)
    run = start(5)
    work_until_idle(flow)

    for number in (2, 4):
        engine.discard(letter(number))

    assert run_of(run.pk).status == Run.Status.FAILED
    assert not BranchEnd.objects.exists()
    assert_balanced()
    assert_purgeable(run)


def test_a_branch_that_was_requeued_in_vain_and_then_discarded_is_given_up_as_well():
    flow = make(REJECTS.format(numbers={2}), MARK)
    run = start(3)
    work_until_idle(flow)
    engine.reprocess(letter(2))
    work_until_idle(flow)

    engine.discard(DeadLetter.objects.open().get())

    assert run_of(run.pk).status == Run.Status.FAILED
    assert_balanced()
    assert_purgeable(run)


def test_branches_that_go_on_beside_a_discarded_one_do_not_bring_the_run_back():
    flow = make(REJECTS.format(numbers={1}), ECHO, MARK)
    run = start(3)
    Queue.objects.filter(name="flow-2").update(paused=True)
    work_until_idle(flow)
    engine.discard(letter(1))
    Queue.objects.filter(name="flow-2").update(paused=False)

    work_until_idle(flow)

    assert run_of(run.pk).status == Run.Status.FAILED
    assert_balanced()
    assert_purgeable(run)


def test_a_discard_is_refused_while_the_queue_of_the_join_is_full():
    flow = make(REJECTS.format(numbers={1, 2}), MARK)
    run = start(2)
    work_until_idle(flow)
    repair(1)
    work_until_idle(flow)
    Queue.objects.filter(name="flow-2").update(size=1)
    QueueState.objects.filter(queue__name="flow-2").update(depth=1)

    with pytest.raises(QueueFull):
        engine.discard(letter(2))

    assert DeadLetter.objects.open().count() == 1
    QueueState.objects.filter(queue__name="flow-2").update(depth=0)
    engine.discard(letter(2))
    work_until_idle(flow)
    assert joined(run) == [1]


def test_a_run_that_changes_its_version_is_in_the_totals_of_its_flow_whichever_ends_last():
    flow = make(REJECTS.format(numbers={1, 2}), join=None)
    run = start(3)
    work_until_idle(flow)
    flow.refresh_from_db()
    flow.name = "renamed"
    flow.save()
    script = flow.steps.get(position=1).script
    script.code = ECHO
    script.save()

    engine.reprocess(letter(1), newest_script=True)
    assert_balanced()
    repair(2)
    assert_balanced()
    work_until_idle(flow)

    assert run_of(run.pk).status == Run.Status.COMPLETED
    assert_balanced()


def test_branches_of_two_versions_meet_where_the_version_of_the_run_has_its_join():
    flow = make(REJECTS.format(numbers={2}), join=None)
    run = start(3)
    work_until_idle(flow)
    flow.refresh_from_db()
    script = flow.steps.get(position=1).script
    script.code = ECHO
    script.save()
    Step.objects.create(
        flow=flow,
        position=2,
        name="late",
        script=make_script("mark", MARK),
        queue=Queue.objects.create(name="late"),
        join=True,
    )

    engine.reprocess(letter(2), newest_script=True)
    work_until_idle(flow)

    assert joined(run) == [1, 2, 3]
    assert_balanced()


# --- cancelling --------------------------------------------------------------------------------


def test_cancelling_a_failed_run_ends_its_other_branches_and_gives_the_dead_ones_up():
    flow = make(REJECTS.format(numbers={1}), ECHO, MARK)
    run = start(4)
    Queue.objects.filter(name="flow-2").update(paused=True)
    work_until_idle(flow)
    run.refresh_from_db()
    assert run.status == Run.Status.FAILED
    assert Message.objects.count() == 3

    assert engine.cancel(run).status == Run.Status.CANCELLED

    assert not Message.objects.exists()
    assert FlowTotals.objects.values_list("failed", "cancelled").get() == (0, 1)
    with pytest.raises(AlreadyReprocessed):
        engine.reprocess(letter(1))
    assert_balanced()
    assert_purgeable(run)


def test_a_failed_run_of_which_nothing_moves_is_not_cancelled():
    flow = make(REJECTS.format(numbers={1}), MARK)
    run = start(4)
    work_until_idle(flow)

    assert engine.cancel(run_of(run.pk)).status == Run.Status.FAILED

    assert DeadLetter.objects.open().count() == 1
    assert_balanced()


# --- what found no room ------------------------------------------------------------------------


def test_outputs_that_wait_for_a_queue_that_is_removed_are_dead_letters_of_the_next_step():
    flow = make(ECHO, join=None)
    Queue.objects.filter(name="flow-1").update(size=2, paused=True)
    cancelled, run = start(2), start(2)
    work_until_idle(flow)
    engine.cancel(cancelled)
    Queue.objects.filter(name="flow-1").update(paused=False)
    work("flow-1")
    assert Message.objects.get().pending_outputs
    flow.steps.get(position=1).delete()
    Queue.objects.get(name="flow-1").delete()

    work("flow-0")

    dead = DeadLetter.objects.get()
    assert (dead.reason, dead.branch) == (DeadLetter.Reason.NO_QUEUE, "000001")
    assert dead.step.name == "flow-1"
    assert json.loads(dead.body)["payload"] == {"i": 2}
    assert run_of(run.pk).status == Run.Status.FAILED
    assert_balanced()
    engine.discard(dead)
    assert_purgeable(run)


def test_a_smaller_queue_refuses_nothing_that_already_waits_for_its_room():
    flow = make(ECHO, join=None)
    Queue.objects.filter(name="flow-1").update(size=4, paused=True)
    runs = start(4), start(4)
    work_until_idle(flow)
    Queue.objects.filter(name="flow-1").update(size=1, paused=False)

    work_until_idle(flow)

    assert {run_of(run.pk).status for run in runs} == {Run.Status.COMPLETED}
    assert_balanced()


# --- at the same moment ------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not is_postgresql(), reason="SQLite has one writer at a time")
@pytest.mark.parametrize("discards", [False, True])
def test_two_decisions_at_the_same_moment_know_of_each_other(discards):
    flow = make(REJECTS.format(numbers={2, 4}), MARK)
    run = start(5)
    work_until_idle(flow)
    second, has_ended = letter(4), threading.Event()

    def decide() -> None:
        try:
            engine.discard(second) if discards else engine.reprocess(
                second, payload={"i": 4} | REPAIR
            )
        finally:
            connection.close()
            has_ended.set()

    thread = threading.Thread(target=decide)
    with transaction.atomic():
        engine.reprocess(letter(2), payload={"i": 2} | REPAIR)
        thread.start()
        wait_for(lambda: has_ended.is_set() or a_connection_waits_for_a_lock())
    thread.join()

    assert run_of(run.pk).status == Run.Status.RUNNING
    work_until_idle(flow)
    assert joined(run) == ([1, 2, 3, 5] if discards else [1, 2, 3, 4, 5])
    assert FlowTotals.objects.values_list("completed", "failed").get() == (1, 0)
    assert_balanced()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not is_postgresql(), reason="SQLite has one writer at a time")
def test_a_branch_that_is_reprocessed_while_its_run_is_cancelled_leaves_too():
    make(REJECTS.format(numbers={2}), MARK)
    run, has_ended = start(2), threading.Event()
    work("flow-0")
    Message.objects.filter(branch="000000").update(
        available_at=store().database.now() + timedelta(hours=1)
    )
    work("flow-1")

    def cancel() -> None:
        try:
            engine.cancel(run_of(run.pk))
        finally:
            connection.close()
            has_ended.set()

    thread = threading.Thread(target=cancel)
    with transaction.atomic():
        engine.reprocess(letter(2), payload={"i": 2} | REPAIR)
        thread.start()
        wait_for(lambda: has_ended.is_set() or a_connection_waits_for_a_lock())
    thread.join()

    assert run_of(run.pk).status == Run.Status.CANCELLED
    assert not Message.objects.exists()
    assert_balanced()


def a_connection_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])
