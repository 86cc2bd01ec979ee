"""A PostgreSQL that is connected and does not answer."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.db import OperationalError, connection

from flows.errors import CommitInDoubt
from flows.postgresql import connection as watchful
from flows.postgresql.base import DatabaseWrapper
from flows.store import store
from tests.databases import is_postgresql
from tests.proxy import Proxy, address_of
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(not is_postgresql(), reason="SQLite has no connections"),
    pytest.mark.django_db(transaction=True),
]

SILENCE = 0.5
CONNECT = 1


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy(address_of(os.environ["DATABASE_URL"]))
    yield proxy
    proxy.close()


@pytest.fixture
def database(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabaseWrapper]:
    """A connection of Django's through the proxy."""
    monkeypatch.setattr(watchful, "SILENCE_SECONDS", SILENCE)
    settings = connection.settings_dict | {"HOST": "127.0.0.1", "PORT": proxy.port}
    settings["OPTIONS"] = {**settings["OPTIONS"], "connect_timeout": CONNECT}
    database = DatabaseWrapper(settings, "through the proxy")
    database.inc_thread_sharing()
    yield database
    database.close()


def ask(database: DatabaseWrapper, sql: str) -> object:
    with database.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


@pytest.mark.parametrize("direction", ["requests", "replies", "both"])
def test_a_statement_that_gets_no_answer_ends(database: DatabaseWrapper, proxy: Proxy, direction):
    ask(database, "SELECT 1")
    proxy.silence(direction)

    with pytest.raises(OperationalError, match="no answer"):
        ask(database, "SELECT 1")

    proxy.drop()
    database.close_if_unusable_or_obsolete()
    assert ask(database, "SELECT 2") == 2


def test_a_commit_that_gets_no_answer_ends(database: DatabaseWrapper, proxy: Proxy):
    database.set_autocommit(False)
    ask(database, "SELECT 1")
    proxy.silence("both")

    with pytest.raises(CommitInDoubt, match="no answer"):
        database.commit()

    assert database.connection.closed


def test_a_statement_may_be_slow_as_long_as_the_server_answers(database: DatabaseWrapper):
    assert ask(database, f"SELECT 7 FROM pg_sleep({4 * SILENCE})") == 7


def test_a_connection_at_rest_is_usable_until_its_server_has_ended_it(database: DatabaseWrapper):
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    assert database.is_usable()

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])

    wait_for(lambda: not database.is_usable(), 5, "the end of the connection")


@pytest.mark.parametrize(
    "verb", ["query", "query_now", "look_up", "look", "see", "change", "write"]
)
def test_a_statement_tries_to_connect_once_and_no_other_time(
    verb: str, monkeypatch: pytest.MonkeyPatch
):
    tries: list[object] = []

    def is_away(self: DatabaseWrapper, parameters: object) -> None:
        tries.append(parameters)
        raise OperationalError("connection timeout expired")

    connection.close()
    with monkeypatch.context() as patches:
        patches.setattr(DatabaseWrapper, "get_new_connection", is_away)
        with pytest.raises(OperationalError):
            getattr(store().database, verb)("SELECT 1")

    assert len(tries) == 1
    assert store().database.look_up("SELECT 1") == [(1,)]
