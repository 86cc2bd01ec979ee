from __future__ import annotations

from unittest import mock

import pytest
from django.db import OperationalError, connection

from flows.api.health import ReadyView
from tests.integration.api.helpers import assert_problem

LIVE, READY = "/async/health/live", "/async/health/ready"


@pytest.fixture(autouse=True)
def _not_known_to_be_migrated(monkeypatch):
    monkeypatch.setattr(ReadyView, "is_migrated", False)


def test_live_needs_no_database_and_no_login(client):
    with mock.patch.object(connection, "cursor", side_effect=OperationalError):
        response = client.get(LIVE, headers={"Authorization": "Bearer broken"})

    assert response.status_code == 200
    assert response.json() == {"status": "live"}


def test_ready_with_a_migrated_database(anonymous):
    assert anonymous.get(READY).json() == {"status": "ready"}
    assert anonymous.get(READY).json() == {"status": "ready"}


def test_not_ready_where_scripts_cannot_be_sandboxed(anonymous, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")

    assert_problem(anonymous.get(READY), 503, "scripts-not-sealed")


def test_ready_tells_staff_alone_what_the_sandbox_of_scripts_lacks_here(
    anonymous, client, user, monkeypatch, settings
):
    settings.ASYNCENGINE_UNSEALED_SCRIPTS = True
    monkeypatch.setattr("platform.machine", lambda: "riscv64")

    broken = {"Authorization": "Bearer broken"}
    for response in (anonymous.get(READY), anonymous.get(READY, headers=broken), client.get(READY)):
        assert response.status_code == 200
        assert response.json() == {"status": "ready"}

    user.is_staff = True
    user.save()
    assert client.get(READY).json() == {
        "status": "ready",
        "missingMeasures": ["filter of system calls"],
    }


def test_not_ready_without_a_database(anonymous):
    with mock.patch.object(connection, "cursor", side_effect=OperationalError("gone")):
        response = anonymous.get(READY)

    assert_problem(response, 503, "database-unavailable")
    assert response["Retry-After"]


def test_not_ready_while_migrations_are_missing(anonymous):
    with mock.patch("flows.api.health.unapplied_migrations", return_value=["flows.9999_more"]):
        assert_problem(anonymous.get(READY), 503, "not-ready")

    assert anonymous.get(READY).status_code == 200
