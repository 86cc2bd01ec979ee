from collections.abc import Iterator

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from pytest_django import DjangoDbBlocker

from flows import consumer
from tests.databases import is_postgresql

# The machine may be busy: how long an example takes says nothing.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="session")
def script_hosts_end_with_the_tests() -> Iterator[None]:
    yield
    consumer.close_hosts()


@pytest.fixture(autouse=True)
def starts_are_counted_at_once(request: pytest.FixtureRequest) -> None:
    """Count the starts of a test whose transaction never comes to its commit."""
    marker = request.node.get_closest_marker("django_db")
    if "db" in request.fixturenames or (marker and not marker.kwargs.get("transaction")):
        request.getfixturevalue("db")
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS flows_starts_are_counted IMMEDIATE")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """End the sessions that threads and poolers of tests still have when all tests have run.

    PostgreSQL drops no database that another session uses.
    """
    yield
    if is_postgresql():
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
