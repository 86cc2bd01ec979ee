from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from flows import consumer

# The machine may be busy: how long an example takes says nothing.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="session")
def script_hosts_end_with_the_tests() -> Iterator[None]:
    yield
    consumer.close_hosts()
