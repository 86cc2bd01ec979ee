"""What a task of the project leaves behind in its worker does not reach the next task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections
from django_q.worker import worker
from psycopg.pq import TransactionStatus

from flows.tasks import leftovers as task_leftovers
from flows.worker.cluster import Timer
from tests.callables import leftovers, noted, thread_state
from tests.side_by_side import shared_database

pytestmark = pytest.mark.django_db(transaction=True)

on_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL's own")


@pytest.fixture(autouse=True)
def shared(transactional_db, tmp_path, monkeypatch) -> Iterator[None]:
    """Have a worker that has run no task yet, on a database that it may close."""
    monkeypatch.setattr(task_leftovers, "_decimals", None)
    with shared_database(tmp_path):
        yield


class Tasks(list):
    get = list.pop
    put = list.append


def leave(what: str) -> list[Any]:
    found = thread_state()
    leftovers[what](connections["default"])
    return found


def work(*leaves: str) -> list[Any]:
    """Run a task for each, as a worker of django-q2 does, and return the states that they find."""
    tasks = [{"func": leave, "name": what, "args": [what], "kwargs": {}} for what in leaves]
    done = Tasks()
    worker(Tasks(["STOP", *reversed(tasks)]), done, Timer(), None)
    assert all(task["success"] for task in done), done
    return [task["result"] for task in done]


@pytest.mark.parametrize(
    "what",
    [
        "begin",
        "block",
        "temporary table",
        *(
            pytest.param(what, marks=on_postgresql)
            for what in (
                *("search path", "setting by function", "timeout", "time zone", "role"),
                *("advisory lock", "prepared", "listen", "autocommit off", "raw autocommit off"),
            )
        ),
    ],
)
def test_state_of_its_connection_ends_with_it(what):
    first, _, last = work("nothing", what, "nothing")

    assert last == first
    assert connection.get_autocommit()


def test_a_wrapper_that_it_leaves_is_not_called_for_the_next():
    work("wrapper", "nothing")

    assert connection.execute_wrappers == []


def test_language_zone_decimals_and_prefix_end_with_it():
    first, _, last = work("nothing", "context", "nothing")

    # A variable of its own is its own affair.
    assert [*first[:3], *first[4:]] == [*last[:3], *last[4:]]


@on_postgresql
def test_what_the_next_task_writes_is_committed():
    work("begin", "write")

    connection.close()
    assert noted() == ["left"]


def test_a_task_that_runs_within_its_caller_leaves_the_caller_s_transaction_alone():
    task_leftovers.before_task({"func": leave})
    leftovers["begin"](connection)

    task_leftovers.before_task({"func": leave, "sync": True})

    assert is_in_transaction()
    with connection.cursor() as cursor:
        cursor.execute("ROLLBACK")


def is_in_transaction() -> bool:
    raw: Any = connection.connection
    if connection.vendor == "sqlite":
        return raw.in_transaction
    return raw.info.transaction_status == TransactionStatus.INTRANS
