"""A pooler before the database: it refuses start-up options and gives sessions out anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.db import connection

from flows import engine
from flows.checks.database import database_fits
from flows.models import Run
from flows.postgresql.base import DatabaseWrapper
from flows.postgresql.session_settings import SESSION_SETTINGS
from flows.store import store
from tests.builders import make_flow, run_of, work_until_idle
from tests.pooler import POOLER_TESTS, pooler

pytestmark = [*POOLER_TESTS, pytest.mark.django_db(transaction=True)]


BOTH_MODES = pytest.mark.parametrize("mode", ["session", "transaction"])


@pytest.fixture
def mode() -> str:
    return "transaction"


@pytest.fixture
def port(mode: str) -> Iterator[int]:
    with pooler(mode) as port:
        yield port
        # It holds connections to the test's database, which is to go.
        connection.close()


@pytest.fixture
def direct() -> dict[str, Any]:
    return {key: connection.settings_dict[key] for key in ("HOST", "PORT", "USER", "OPTIONS")}


@pytest.fixture
def pooled(port: int, direct: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The project's connection goes through the pooler."""
    connection.close()
    options = {key: value for key, value in direct["OPTIONS"].items() if key != "host"}
    for key, value in {"HOST": "127.0.0.1", "PORT": port, "OPTIONS": options}.items():
        monkeypatch.setitem(connection.settings_dict, key, value)
    yield
    connection.close()
    connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = False


def another_client() -> DatabaseWrapper:
    return DatabaseWrapper(connection.settings_dict, "another")


def ids(messages: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


@BOTH_MODES
def test_a_flow_runs_through_a_pooler(pooled: None):
    flow = make_flow()

    started = engine.start_many(flow.name, [{"n": n} for n in range(20)])
    work_until_idle(flow)

    assert {run_of(id).status for id in started} == {Run.Status.COMPLETED}


@BOTH_MODES
def test_transactions_are_set_in_whatever_session_the_pooler_gives(pooled: None):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        name = connection.ops.quote_name(connection.settings_dict["NAME"])
        cursor.execute(f"ALTER DATABASE {name} SET lock_timeout = '77s'")
    clients = [another_client() for _ in range(4)]
    try:
        for client in clients:
            client.ensure_connection()
            assert client.is_pooled
        # All at once: the pooler opens new sessions, which no client has set up.
        found = [in_a_transaction(client) for client in clients]
    finally:
        for client in clients:
            client.close()
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} RESET lock_timeout")

    assert found == [SESSION_SETTINGS] * len(clients)


def in_a_transaction(client: DatabaseWrapper) -> dict[str, str]:
    """Return the settings in a transaction that stays open."""
    client.set_autocommit(False)
    names = [*SESSION_SETTINGS]
    with client.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join('current_setting(%s)' for _ in names)}", names)
        return dict(zip(names, cursor.fetchone(), strict=True))


def test_the_query_of_the_broker_is_not_compiled_in_whatever_session_it_gets(pooled: None):
    store().ready()
    with contextlib.closing(another_client()) as client:
        # This one has the session that was set up, so that the next is new.
        in_a_transaction(client)
        with store().database.set_up():
            [(jit,)] = store().database.query("SHOW jit")

    assert jit == "off"


@BOTH_MODES
def test_rows_are_read_in_parts_without_a_cursor_on_the_server(pooled: None):
    make_flow()
    engine.start_many("flow", [{}] * 30)
    rows = Run.objects.order_by("pk").iterator(chunk_size=5)
    first = next(rows)

    with another_client().cursor() as cursor:
        cursor.execute("BEGIN")
        rest = list(rows)
        cursor.execute("ROLLBACK")
        cursor.db.close()

    assert len({first.pk, *(run.pk for run in rest)}) == 30


def test_the_check_names_a_pooler_without_a_way_past_it(pooled: None):
    assert ids(database_fits(databases=["default"])) == ["flows.W004"]


def test_the_check_is_content_with_a_way_past_the_pooler(
    pooled: None, direct: dict[str, Any], settings: Any
):
    settings.ASYNCENGINE_DIRECT_DATABASE = direct

    assert database_fits(databases=["default"]) == []


def test_the_check_names_a_way_that_goes_through_the_pooler_too(pooled: None, settings: Any):
    settings.ASYNCENGINE_DIRECT_DATABASE = {"USER": "another"}

    assert ids(database_fits(databases=["default"])) == ["flows.W005"]


def test_the_check_names_a_way_to_another_database(
    pooled: None, direct: dict[str, Any], settings: Any
):
    settings.ASYNCENGINE_DIRECT_DATABASE = direct | {"NAME": "template1"}

    assert ids(database_fits(databases=["default"])) == ["flows.E002"]
