"""What a role, a database or a server is set to does not reach the engine's sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from flows import engine
from flows.checks.database import database_fits
from flows.models import Run
from flows.postgresql.base import DatabaseWrapper
from flows.postgresql.session_settings import SESSION_SETTINGS
from flows.store import store
from flows.store.sql import READY_QUEUES
from tests.builders import make_flow, run_of, work_until_idle
from tests.databases import is_postgresql

pytestmark = [
    pytest.mark.skipif(not is_postgresql(), reason="SQLite's settings are those of a connection"),
    pytest.mark.django_db(transaction=True),
]

HOSTILE = {
    "jit": "on",
    "jit_above_cost": "0",
    "idle_in_transaction_session_timeout": "1ms",
    "lock_timeout": "1ms",
    # Long enough for a busy machine to set a session up first.
    "statement_timeout": "20s",
    "idle_session_timeout": "20s",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "search_path": "elsewhere",
    "TimeZone": "Asia/Kolkata",
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "row_security": "off",
    "client_encoding": "LATIN1",
}


def shown(names: list[str]) -> dict[str, str]:
    """Return what a new connection of the engine's is set to."""
    database = DatabaseWrapper(connection.settings_dict, "another")
    try:
        with database.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join('current_setting(%s)' for _ in names)}", names)
            return dict(zip(names, cursor.fetchone(), strict=True))
    finally:
        database.close()


def run_sql(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture(params=["DATABASE {name}", "ROLE CURRENT_USER IN DATABASE {name}"])
def hostile(request: pytest.FixtureRequest) -> Iterator[None]:
    """Settings of the test's database, or of the role in it, that break what relies on others."""
    whose = request.param.format(name=connection.ops.quote_name(connection.settings_dict["NAME"]))
    try:
        run_sql(*(f"ALTER {whose} SET {name} = '{value}'" for name, value in HOSTILE.items()))
        yield
    finally:
        connection.close()
        run_sql(f"ALTER {whose} RESET ALL")
        connection.close()


def test_every_session_setting_is_tried_with_another_value():
    assert not SESSION_SETTINGS.keys() - HOSTILE.keys()
    assert not SESSION_SETTINGS.items() & HOSTILE.items()


def test_sessions_are_set_whatever_their_role_and_database_say(hostile: None):
    names = [*SESSION_SETTINGS, "client_encoding", "transaction_isolation"]

    settings = shown(names)

    assert settings == SESSION_SETTINGS | {
        "client_encoding": "UTF8",
        "transaction_isolation": "read committed",
    }


def test_transactions_have_their_isolation_whatever_the_database_says(hostile: None):
    database = DatabaseWrapper(connection.settings_dict, "another")
    try:
        database.set_autocommit(False)
        with database.cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            isolation = cursor.fetchone()[0]
            cursor.execute("SHOW transaction_deferrable")
            deferrable = cursor.fetchone()[0]
        database.rollback()
    finally:
        database.close()

    assert (isolation, deferrable) == ("read committed", "off")


def test_no_query_is_compiled_before_it_runs(hostile: None):
    connection.close()
    make_flow()

    plan = store().database.query_now(f"EXPLAIN ANALYZE {READY_QUEUES}")

    assert "Execution Time" in str(plan)
    assert "JIT" not in str(plan)


def test_a_flow_runs_under_hostile_settings(hostile: None):
    connection.close()
    flow = make_flow()

    started = engine.start(flow.name, {"text": "Ünïcødé \\' 漢字", "number": 0.1})
    work_until_idle(flow)

    run = run_of(started.correlation_id)
    assert run.status == Run.Status.COMPLETED
    assert "Ünïcødé \\\\' 漢字" in run.result
    assert run.created_at <= run.finished_at


def test_a_setting_of_the_url_goes_before_ours(monkeypatch: pytest.MonkeyPatch):
    options = connection.settings_dict["OPTIONS"]
    wanted = options["session_settings"] | {"lock_timeout": "7s", "work_mem": "12MB"}
    monkeypatch.setitem(options, "session_settings", wanted)

    settings = shown(["lock_timeout", "work_mem", "jit"])

    assert settings == {"lock_timeout": "7s", "work_mem": "12MB", "jit": "off"}


@pytest.mark.parametrize(
    ("encoding", "found"), [("UTF8", []), ("LATIN1", ["flows.E001"]), ("SQL_ASCII", ["flows.E001"])]
)
def test_the_check_refuses_a_database_that_cannot_hold_every_text(
    monkeypatch: pytest.MonkeyPatch, encoding: str, found: list[str]
):
    name = f"{connection.settings_dict['NAME']}_{encoding.lower()}"
    run_sql(f"CREATE DATABASE {name} ENCODING {encoding} LOCALE 'C' TEMPLATE template0")
    try:
        connection.close()
        with monkeypatch.context() as patched:
            patched.setitem(connection.settings_dict, "NAME", name)
            messages = database_fits(databases=["default"])
            connection.close()
    finally:
        run_sql(f"DROP DATABASE {name}")

    assert [message.id for message in messages] == found
