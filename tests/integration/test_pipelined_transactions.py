"""Transactions on PostgreSQL whose statements travel together."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from threading import Timer
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from flows.models import Queue
from flows.postgresql.pipeline import MOST_PREPARED
from flows.store import store
from flows.store.database import Database
from flows.store.troubles import DATABASE_ERRORS
from tests.databases import is_postgresql

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not is_postgresql(), reason="what PostgreSQL alone has"),
]

RENAME = "UPDATE flows_queue SET name = %s WHERE name = %s"
RESIZE = "UPDATE flows_queue SET size = %s"


def is_free() -> bool:
    """Whether the connection is as before: in no transaction, and in no pipeline."""
    found: bool = store().database.query("SELECT true")[0][0]
    return found and connection.get_autocommit() and connection.pipeline is None  # type: ignore[attr-defined]


def test_writes_are_stored_by_the_commit_in_their_order():
    Queue.objects.create(name="a")

    with store().database.transaction(pipelined=True):
        for before, after in pairwise("abcd"):
            store().database.write(RENAME, [after, before])

    assert [queue.name for queue in Queue.objects.all()] == ["d"]
    assert is_free()


def pipelined(*steps: Callable[[Database], object]) -> None:
    with store().database.transaction(pipelined=True):
        for step in steps:
            step(store().database)


def test_statements_have_one_plan_for_all_values():
    planned = "SELECT custom_plans FROM pg_prepared_statements WHERE statement LIKE %s"
    look = "SELECT id FROM flows_message WHERE queue_id = %s"

    for queue_id in range(7):
        with store().database.transaction(pipelined=True):
            store().database.query(look, [queue_id])

    assert store().database.query(planned, [look.replace("%s", "$1")]) == [(0,)]


def refuse(_: Database) -> None:
    raise KeyError


@pytest.mark.parametrize("more", [[], [lambda database: database.query("SELECT 1"), refuse]])
def test_a_write_that_fails_undoes_all(more):
    Queue.objects.create(name="a")

    with pytest.raises(IntegrityError):
        pipelined(
            lambda database: database.write(RENAME, ["b", "a"]),
            lambda database: database.write(RESIZE, [None]),
            *more,
        )

    assert [queue.name for queue in Queue.objects.all()] == ["a"]
    assert is_free()


def test_the_first_error_is_raised():
    Queue.objects.create(name="a")

    with pytest.raises(DataError):
        pipelined(
            lambda database: database.write("SELECT 1 / %s::int", [0]),
            lambda database: database.write(RESIZE, [None]),
        )


def test_an_error_of_the_block_undoes_what_was_sent():
    Queue.objects.create(name="a")

    with pytest.raises(KeyError):
        pipelined(lambda database: database.write(RENAME, ["b", "a"]), refuse)

    assert [queue.name for queue in Queue.objects.all()] == ["a"]
    assert is_free()


def test_changes_are_counted_within_it():
    Queue.objects.create(name="a")

    with store().database.transaction(pipelined=True):
        store().database.write(RENAME, ["b", "a"])
        counts = [store().database.change(RENAME, ["c", name]) for name in "ab"]

    assert counts == [0, 1]


def test_what_runs_after_the_commit_is_in_no_pipeline():
    found = []

    with store().database.transaction(pipelined=True):
        transaction.on_commit(lambda: found.append(is_free()))

    assert found == [True]


def test_answers_may_be_read_in_any_order():
    with store().database.transaction(pipelined=True):
        first = store().database.ask("SELECT 1")
        second = store().database.ask("SELECT 2")
        rows = [second(), first()]

    assert rows == [[(2,)], [(1,)]]


def test_a_transaction_goes_on_where_the_session_has_forgotten_its_statements():
    Queue.objects.create(name="a")
    pipelined(lambda database: database.write(RENAME, ["b", "a"]))
    # As psycopg does after a rollback.
    store().database.change("DEALLOCATE ALL")

    pipelined(
        lambda database: database.write(RENAME, ["c", "b"]),
        lambda database: database.query("SELECT 1"),
        lambda database: database.write(RENAME, ["d", "c"]),
    )

    assert [queue.name for queue in Queue.objects.all()] == ["d"]
    assert is_free()


def test_statements_that_are_forgotten_later_undo_all():
    Queue.objects.create(name="a")
    pipelined(lambda database: database.write(RENAME, ["b", "a"]))

    with pytest.raises(DATABASE_ERRORS):
        pipelined(
            lambda database: database.query("SELECT 1"),
            lambda database: database.write("DEALLOCATE ALL"),
            lambda database: database.write(RENAME, ["c", "b"]),
        )
    pipelined(lambda database: database.write(RENAME, ["d", "b"]))

    assert [queue.name for queue in Queue.objects.all()] == ["d"]
    assert is_free()


def test_models_see_what_was_sent_before_and_what_follows_sees_them():
    with store().database.transaction(pipelined=True):
        store().database.write(RESIZE, [7])
        Queue.objects.create(name="a")
        store().database.write(RENAME, ["b", "a"])
        [queue] = Queue.objects.all()
        counts = [store().database.change(RENAME, ["c", queue.name])]

    assert [each.name for each in Queue.objects.all()] == ["c"]
    assert counts == [1]
    assert is_free()


def test_a_session_keeps_a_bounded_number_of_statements():
    counted = "SELECT COUNT(*) FROM pg_prepared_statements WHERE name LIKE 'engine%%'"

    for number in range(3):
        with store().database.transaction(pipelined=True):
            answers = [
                store().database.ask(f"SELECT {number}{each} + %s", [1]) for each in range(100)
            ]
            assert [answer()[0][0] for answer in answers][:2] == [number * 10 + 1, number * 10 + 2]

    assert store().database.query(counted)[0][0] <= MOST_PREPARED + 1


def test_a_percent_sign_and_a_name_that_comes_twice_are_as_elsewhere():
    statement = "SELECT %(a)s::text || '%%' || %(b)s::text || %(a)s::text"

    with store().database.transaction(pipelined=True):
        named = connection.pipeline.send(statement, {"a": "x", "b": "y"})  # type: ignore[attr-defined]
        rows = connection.pipeline.rows(named)  # type: ignore[attr-defined]

    assert rows == [("x%yx",)]


def test_a_transaction_of_the_caller_is_not_pipelined():
    with transaction.atomic(), store().database.transaction(pipelined=True):
        assert connection.pipeline is None  # type: ignore[attr-defined]


def test_a_connection_that_is_lost_within_it_is_made_anew():
    end_session = "SELECT pg_terminate_backend(pg_backend_pid())"

    with pytest.raises(DATABASE_ERRORS):
        pipelined(lambda database: database.query(end_session))

    connection.close()
    assert is_free()


@pytest.fixture
def narrow() -> Iterator[None]:
    """Let the socket take a few bytes at a time, and end it where a transaction gets stuck."""
    connection.ensure_connection()
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        deadline = Timer(60, end.shutdown, [socket.SHUT_RDWR])
        deadline.start()
        yield
        deadline.cancel()
        deadline.join()
    connection.close()


@pytest.mark.parametrize("megabytes", [1, 5])
@pytest.mark.parametrize("is_read", [True, False])
def test_a_statement_that_the_socket_takes_in_parts_is_sent_whole(narrow, megabytes, is_read):
    sizes = []

    with store().database.transaction(pipelined=True):
        store().database.write("SELECT length(%s)", ["a" * 1_000_000 * megabytes])
        length = store().database.ask("SELECT length(%s)", ["b" * 1_000_000 * megabytes])
        if is_read:
            sizes = length()

    assert sizes == [(1_000_000 * megabytes,)] * is_read
    assert is_free()


def test_a_statement_alone_is_prepared_once_and_again_where_the_session_has_forgotten_it():
    Queue.objects.create(name="a")
    prepared = "SELECT COUNT(*) FROM pg_prepared_statements WHERE name LIKE 'engine%%'"
    own: Any = connection

    changed = [own.commit_one(RESIZE, [size]) for size in (5, 6, 7)]
    count = store().database.query(prepared)[0][0]
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    changed.append(own.commit_one(RESIZE, [8]))

    assert changed == [1] * 4
    assert count == 1
    assert Queue.objects.get().size == 8
    with pytest.raises(IntegrityError):
        own.commit_one(RESIZE, [None])
    assert own.commit_one(RENAME, ["b", "c"]) == 0
    assert is_free()
