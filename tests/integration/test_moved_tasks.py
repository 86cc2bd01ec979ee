"""Tasks and schedules that were stored before their functions moved go on after an upgrade."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from flows.tasks.allowed_tasks import BENCH_TASK, ENGINE_TASKS, MOVED, REFUSE, task_fault
from flows.tasks.lanes import Lanes
from flows.worker.broker import ENGINE_LIST, QueueBroker

pytestmark = pytest.mark.django_db

Link = tuple[str, tuple[()], dict[str, str]]

migration = import_module("flows.migrations.0017_paths_of_tasks")


@pytest.fixture
def broker():
    broker = QueueBroker("asyncengine")
    yield broker
    if broker.listener:
        broker.listener.close()


@pytest.fixture(autouse=True)
def one_connection(monkeypatch):
    # django-q2's scheduler would close the connection that holds the test's transaction.
    monkeypatch.setattr("django.db.close_old_connections", lambda: None)


def queued(**options):
    """Store a task as an older version has queued it."""
    task = {"id": "a" * 32, "name": "old", "args": (), "kwargs": {}, "started": timezone.now()}
    payload = SignedPackage.dumps(task | options)
    lock = timezone.now() - timedelta(hours=1)
    return OrmQ.objects.create(key="asyncengine", payload=payload, lock=lock)


def handed_out(broker):
    return [SignedPackage.loads(package) for _, package in broker.dequeue()]


@pytest.mark.parametrize("old", MOVED)
def test_a_queued_task_is_handed_out_with_the_path_of_today(broker, old):
    queued(func=old, args=(1, 2))

    [task] = handed_out(broker)

    assert (task["func"], task["args"]) == (MOVED[old], (1, 2))
    module, _, name = task["func"].rpartition(".")
    assert callable(getattr(import_module(module), name))


def test_the_hook_and_the_chain_of_a_queued_task_follow_too(broker):
    link: Link = ("flows.retention.purge", (), {})
    queued(func="flows.retention.purge", hook="flows.retention.purge", chain=[link])

    [task] = handed_out(broker)

    assert task["hook"] == "flows.tasks.retention.purge"
    assert task["chain"] == [("flows.tasks.retention.purge", (), {})]


def test_an_odd_chain_of_a_queued_task_is_refused_and_stops_no_other(broker):
    queued(func="flows.retention.purge", chain=[{"no": "path"}])
    queued(func="flows.retention.purge")

    tasks = [*handed_out(broker), *handed_out(broker)]
    assert [task["func"] for task in tasks] == [REFUSE, "flows.tasks.retention.purge"]


def test_a_task_that_older_code_queues_waits_in_the_list_of_the_engine(broker):
    broker.lanes = Lanes(flow_workers=1, task_workers=1)

    async_task("flows.retention.purge")

    row = OrmQ.objects.get()
    assert row.key == ENGINE_LIST
    assert SignedPackage.loads(row.payload)["func"] == "flows.tasks.retention.purge"
    broker.lanes.shut()


def test_a_schedule_of_a_restored_database_goes_on(broker):
    Schedule.objects.update(
        func="flows.retention.purge", next_run=timezone.now() - timedelta(hours=1)
    )

    scheduler(broker)

    [task] = handed_out(broker)
    assert task["func"] == "flows.tasks.retention.purge"


def test_schedules_are_migrated_there_and_back():
    Schedule.objects.create(name="own", func="flows.retention.purge", hook="shop.note")
    Schedule.objects.create(name="other", func="shop.sweep", hook="flows.reprocessing.advance")
    editor = SimpleNamespace(connection=connection)

    migration.follow(apps, editor)

    assert stored() == {
        "asyncengine retention": ("flows.tasks.retention.purge", None),
        "own": ("flows.tasks.retention.purge", "shop.note"),
        "other": ("shop.sweep", "flows.tasks.reprocessing.advance"),
    }

    migration.go_back(apps, editor)

    assert stored() == {
        "asyncengine retention": ("flows.retention.purge", None),
        "own": ("flows.retention.purge", "shop.note"),
        "other": ("shop.sweep", "flows.reprocessing.advance"),
    }


def stored():
    """Return the schedules that were there when paths moved."""
    newer = ["asyncengine conservation", "asyncengine texts of runs"]
    rows = Schedule.objects.exclude(name__in=newer)
    rows = rows.values_list("name", "func", "hook")
    return {name: (func, hook) for name, func, hook in rows}


def test_every_path_that_has_moved_leads_to_a_task_of_the_engine():
    newer = {
        f"flows.tasks.{path}"
        for path in (
            *("alerts.evaluate", "cancelling.go_on", "conservation.check_and_store"),
            *(
                "deadlines.cancel_overdue",
                "erasing.erase_archive",
                "erasing.go_on",
                "flow_schedules.start_due",
            ),
            *("run_texts.gather", "upgrading.go_on", "webhooks.send"),
        )
    }
    assert set(MOVED.values()) == (ENGINE_TASKS - newer) | {REFUSE, BENCH_TASK}
    assert {task_fault(old) for old in MOVED if MOVED[old] != REFUSE} == {""}
