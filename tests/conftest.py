from collections.abc import Iterator

import pytest

from flows import consumer
from flows.plan import forget_plans


@pytest.fixture(autouse=True, scope="session")
def script_hosts_end_with_the_tests() -> Iterator[None]:
    yield
    consumer.close_hosts()


@pytest.fixture(autouse=True)
def plans_are_forgotten() -> None:
    forget_plans()
