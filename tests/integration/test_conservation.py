"""The counters against the rows: right after everything that happens, and found when wrong."""

import json
import os
import sqlite3
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from threading import Thread

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.utils import timezone

from flows import engine
from flows.models import DeadLetter, Flow, FlowTotals, Message, Queue, QueueState, Run
from flows.monitoring.conservation import (
    FlowConservation,
    QueueConservation,
    check,
    oldest_without_progress,
)
from flows.store import store
from tests.builders import ECHO, make_flow, open_lease, run_of, work_until_idle
from tests.databases import is_postgresql, migrated_database
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db

REJECT = "def run(message, context):\n    raise Reject('no')\n"
SPLIT = "def run(message, context):\n    return [{'payload': n} for n in range(3)]\n"


def faults() -> list[str]:
    return [f"{b.kind} {b.name}: {fault}" for b in check() for fault in b.faults()]


def conservation_of(flow: str) -> FlowConservation:
    [found] = [c for c in check() if isinstance(c, FlowConservation) and c.name == flow]
    return found


def hold(queue: str, count: int) -> None:
    held = store().claim(open_lease(queue, count), lambda plan, threads: count)
    assert len(held) == count


def test_it_shows_where_every_run_of_a_flow_is():
    flow = make_flow(codes=[ECHO])
    engine.start_many("flow", [{}] * 2)
    work_until_idle(flow)
    engine.start("flow", {}, start_at=timezone.now() + timedelta(days=1))
    engine.start_many("flow", [{}] * 3)
    hold("flow-0", 1)
    engine.cancel(run_of(engine.start("flow", {}).correlation_id))

    found = conservation_of("flow")

    assert (found.accepted, found.waiting, found.delayed, found.running) == (7, 2, 1, 1)
    assert (found.completed, found.failed, found.cancelled) == (2, 0, 1)
    assert faults() == []


def test_the_counters_of_a_queue_are_its_messages_and_those_that_come_to_it():
    make_flow(codes=[ECHO, ECHO])
    engine.start_many("flow", [{}] * 5)
    hold("flow-0", 2)

    first, second = (c for c in check() if isinstance(c, QueueConservation))

    assert (first.depth, first.waiting, first.held, first.reserved) == (5, 3, 2, 0)
    assert (second.depth, second.reserved, second.coming) == (0, 2, 2)
    assert faults() == []


def test_the_books_are_right_after_dead_letters_and_their_reprocessing():
    flow = make_flow(codes=[ECHO, REJECT])
    engine.start_many("flow", [{}] * 3)
    work_until_idle(flow)
    assert conservation_of("flow").failed == 3
    assert faults() == []

    engine.reprocess(DeadLetter.objects.all()[0])
    engine.discard(DeadLetter.objects.all()[1])
    assert faults() == []
    assert (conservation_of("flow").failed, conservation_of("flow").waiting) == (2, 1)

    work_until_idle(flow)
    assert faults() == []


def test_a_run_of_many_branches_is_one_run():
    flow = make_flow(codes=[SPLIT, REJECT])
    Queue.objects.filter(name="flow-1").update(size=4, paused=True)
    engine.start_many("flow", [{}] * 2)
    work_until_idle(flow)

    assert Message.objects.count() > 4
    assert conservation_of("flow").waiting == 2
    assert faults() == []

    hold_paused_branch()
    assert (conservation_of("flow").waiting, conservation_of("flow").running) == (1, 1)
    assert faults() == []


def hold_paused_branch() -> None:
    Queue.objects.update(paused=False)
    hold("flow-1", 1)


def test_branches_beside_a_dead_one_belong_to_a_run_that_has_failed():
    picky = (
        "def run(message, context):\n"
        "    if message['payload'] == 0:\n"
        "        raise Reject('no')\n"
        "    raise Retry(after=3600)\n"
    )
    flow = make_flow(codes=[SPLIT, picky])
    engine.start("flow", {})
    work_until_idle(flow)

    assert Message.objects.count() == 2
    assert (conservation_of("flow").failed, conservation_of("flow").delayed) == (1, 0)
    assert faults() == []


def test_a_run_that_is_cancelled_while_its_script_runs_is_cancelled():
    make_flow(codes=[ECHO, ECHO])
    started = engine.start("flow", {})
    hold("flow-0", 1)

    engine.cancel(run_of(started.correlation_id))

    assert (conservation_of("flow").cancelled, conservation_of("flow").running) == (1, 0)
    assert faults() == []


@pytest.mark.parametrize(
    ("break_it", "found"),
    [
        (
            lambda: FlowTotals.objects.update(accepted=F("accepted") + 1),
            [
                "flow flow: accepted is 5, but there are 4 waiting, delayed, running or ended",
                "flow flow: accepted is 5, but there are 4 runs",
            ],
        ),
        (
            lambda: FlowTotals.objects.update(completed=F("completed") - 1, failed=F("failed") + 1),
            [
                "flow flow: completed is 0, but there are 1 completed runs",
                "flow flow: failed is 1, but there are 0 failed runs",
            ],
        ),
        (
            lambda: QueueState.objects.filter(queue__name="flow-0").update(depth=9),
            ["queue flow-0: depth is 9, but there are 3 waiting or held messages"],
        ),
        (
            lambda: QueueState.objects.filter(queue__name="flow-1").update(reserved=0),
            ["queue flow-1: reserved is 0, but there are 1 held messages that come to it"],
        ),
        (
            lambda: Message.objects.filter(
                pk=Message.objects.filter(consumer=None).first().pk
            )._raw_delete("default"),
            [
                "flow flow: accepted is 4, but there are 3 waiting, delayed, running or ended",
                "flow flow: waiting, delayed or running is 2, but there are 3 unfinished runs",
                "queue flow-0: depth is 3, but there are 2 waiting or held messages",
            ],
        ),
    ],
    ids=["accepted", "completed", "depth", "reserved", "message"],
)
def test_what_is_off_is_named(break_it, found):
    flow = make_flow(codes=[ECHO, ECHO])
    engine.start("flow", {})
    work_until_idle(flow)
    engine.start_many("flow", [{}] * 3)
    hold("flow-0", 1)
    assert faults() == []

    break_it()

    assert faults() == found


def test_a_message_that_is_left_of_a_completed_run_is_found():
    make_flow(codes=[ECHO])
    run_id = engine.start("flow", {}).correlation_id
    Run.objects.filter(pk=run_id).update(status=Run.Status.COMPLETED)
    FlowTotals.objects.update(completed=1)

    assert faults() == ["flow flow: 1 messages belong to no run or to a completed one"]


def test_a_message_whose_run_is_gone_is_found():
    make_flow(codes=[ECHO])
    engine.start("flow", {})
    Run.objects.all()._raw_delete("default")
    FlowTotals.objects.update(accepted=0)

    assert faults() == ["flow flow: 1 messages belong to no run or to a completed one"]


@pytest.mark.long
def test_the_oldest_message_without_progress_is_the_one_ready_for_the_longest_time():
    make_flow("one", [ECHO])
    make_flow("two", [ECHO])
    assert oldest_without_progress() is None
    engine.start("one", {}, start_at=timezone.now() + timedelta(hours=1))
    assert oldest_without_progress() is None
    old = engine.start("two", {}).correlation_id
    engine.start("one", {})
    Message.objects.filter(pk=old).update(available_at=timezone.now() - timedelta(minutes=5))

    oldest = oldest_without_progress()

    assert (oldest.correlation_id, oldest.queue_name, oldest.paused) == (old, "two-0", False)
    assert oldest.age >= timedelta(minutes=5)
    Flow.objects.filter(name="two").update(paused=True)
    assert oldest_without_progress().paused


def test_the_command_prints_a_table_and_exits_well():
    make_flow("a flow", [ECHO])
    engine.start("a flow", {})
    out = StringIO()

    call_command("check_conservation", stdout=out)

    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["a", "flow", "1", "1", "0", "0", "0", "0", "0"] in lines
    assert ["a", "flow-0", "1", "1", "0", "0", "0"] in lines


def test_the_command_fails_and_names_what_is_off():
    make_flow(codes=[ECHO])
    engine.start("flow", {})
    QueueState.objects.update(depth=0)
    out = StringIO()

    with pytest.raises(CommandError, match="queue flow-0: depth is 0, but there are 1"):
        call_command("check_conservation", json=True, stdout=out)

    report = json.loads(out.getvalue())
    assert report["balanced"] is False
    assert report["flows"][0]["accepted"] == 1
    assert report["flows"][0]["runs"]["QUEUED"] == 1
    assert report["faults"] == [f"queue flow-0: {report['queues'][0]['faults'][0]}"]
    assert report["oldestWithoutProgress"]["queueName"] == "flow-0"


def test_the_command_fails_when_a_message_waits_for_too_long():
    make_flow(codes=[ECHO])
    engine.start("flow", {})
    Message.objects.update(available_at=timezone.now() - timedelta(seconds=90))

    call_command("check_conservation", max_age=100.0, stdout=StringIO())
    with pytest.raises(CommandError, match=r"ready in the queue flow-0 for 9\d\.\d s, longer"):
        call_command("check_conservation", max_age=60.0, stdout=StringIO())


@pytest.mark.skipif(not is_postgresql(), reason="a database in memory has no snapshots")
@pytest.mark.django_db(transaction=True)
def test_it_looks_at_one_moment_whatever_is_committed_meanwhile():
    make_flow(codes=[ECHO])
    engine.start("flow", {})

    def start_another() -> None:
        try:
            engine.start("flow", {})
        finally:
            connection.close()

    with store().database.snapshot():
        before = Run.objects.count()
        other = Thread(target=start_another)
        other.start()
        other.join(PATIENCE)
        during = Run.objects.count()

    assert (before, during, Run.objects.count()) == (1, 1, 2)
    assert faults() == []


@pytest.mark.long
@pytest.mark.skipif(is_postgresql(), reason="readers and writers never wait for each other there")
def test_it_waits_for_no_writer(tmp_path):
    with migrated_database(tmp_path) as url:
        writer = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")

        # A reader that wants to write fails after 30 s.
        command = [sys.executable, "manage.py", "check_conservation"]
        environment = os.environ | {"DATABASE_URL": url}
        finished = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL)

    assert finished.returncode == 0
    writer.close()
