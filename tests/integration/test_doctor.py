"""`manage.py doctor` on the database of the tests, with things that are wrong."""

from __future__ import annotations

import json
from unittest import mock

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import OperationalError, connection, connections

from flows import engine
from flows.doctor import hosts, postgresql
from flows.models import Queue
from flows.webhooks.secrets import webhook_of
from scripts.models import Secret
from tests.builders import make_flow
from tests.databases import is_postgresql

on_postgresql = pytest.mark.skipif(not is_postgresql(), reason="SQLite has no such thing")


def doctor(capsys) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit code, and the findings by name."""
    code = 0
    try:
        call_command("doctor", "--json")
    except SystemExit as ended:
        code = int(str(ended.code))
    document = json.loads(capsys.readouterr().out)
    assert (code == 1) is (document["state"] == "error")
    return code, {finding.pop("name"): finding for finding in document["findings"]}


def states(found: dict[str, dict[str, str]], state: str) -> set[str]:
    return {name for name, finding in found.items() if finding["state"] == state}


@pytest.fixture
def no_hosts():
    """Leave out what starts processes."""
    with mock.patch.object(hosts, "hosts", return_value=iter(())):
        yield


# The machine and the server of the tests may have little of something.
LOCAL = {"open files", "memory", "container memory", "container processes", "disk of files"}
LOCAL |= {"disk of the database", "write-ahead log", "connections", "database file", "journal mode"}
KEPT = {"secret key", "secrets keys"}


@pytest.mark.django_db
def test_an_installation_without_workers_has_no_error_and_names_what_to_do(capsys):
    _, found = doctor(capsys)

    assert states(found, "error") - LOCAL == set()
    assert found["workers-gone"]["advice"].startswith("Start one with")
    assert {"database", "migrations", "clock", "secrets", "sandbox"} <= states(found, "ok")
    assert {"script host python", "script host javascript"} <= states(found, "ok")


@pytest.mark.django_db
@pytest.mark.usefixtures("no_hosts")
def test_errors_are_named_and_the_exit_code_says_so(capsys, settings):
    flow = make_flow("orders")
    Queue.objects.update(size=1)
    engine.start("orders", b"{}")
    secret = Secret(name="shop.key")
    secret.set_value("swordfish")
    secret.save()
    webhook_of(flow)
    settings.ASYNCENGINE_SECRETS_KEYS = [Fernet.generate_key().decode()]
    missing = ["flows.9999_more"]

    with mock.patch("flows.doctor.database.unapplied_migrations", return_value=missing):
        _, unmigrated = doctor(capsys)
    code, found = doctor(capsys)

    assert code == 1
    # Whose tables may be missing is left out.
    assert states(unmigrated, "error") - LOCAL == {"migrations"}
    assert "queue-full" not in unmigrated
    assert states(found, "error") - LOCAL == {"queue-full", "secrets"}
    assert "shop.key, webhooks of orders" in found["secrets"]["seen"]


@pytest.mark.django_db
@pytest.mark.usefixtures("no_hosts")
def test_a_database_out_of_reach_leaves_the_rest_examined(capsys):
    refused = OperationalError("connection refused")
    with mock.patch("flows.doctor.database.reached", side_effect=refused):
        code, found = doctor(capsys)

    assert code == 1
    assert "connection refused" in found["database"]["seen"]
    assert {"open files", "secret key"} <= set(found)
    assert "migrations" not in found


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_the_oldest_transaction_of_another_session_is_named(monkeypatch):
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
            monkeypatch.setattr(postgresql, "LONG_SECONDS", 0.0)
            finding = postgresql.long_transactions()
    finally:
        other.close()

    assert finding.state == "warning"
    assert f"pg_terminate_backend({pid})" in finding.advice


@on_postgresql
@pytest.mark.django_db
def test_a_setting_that_loses_what_was_accepted_is_named():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        found = {each.name: each for each in postgresql.settings_of_server()}

    assert "loses" in found["setting synchronous_commit"].seen


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("setting", "name"),
    [("ASYNCENGINE_PAYLOAD_KEYS", "payload keys"), ("ASYNCENGINE_SECRETS_KEYS", "secrets")],
)
def test_a_key_that_is_none_is_a_finding_and_the_others_follow(
    capsys, no_hosts, settings, setting, name
):
    webhook_of(make_flow())
    setattr(settings, setting, ["no key"])

    _, found = doctor(capsys)

    assert setting in found[name]["seen"]
    assert "no key" not in found[name]["seen"].replace("is no key", "")
    assert {"workers", "archive of runs"} <= found.keys()
