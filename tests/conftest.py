from collections.abc import Iterator

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings

from flows import consumer

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
