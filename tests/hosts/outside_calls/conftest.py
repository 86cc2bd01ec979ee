from collections.abc import Iterator

import pytest

from scripts.services.outside_calls import OutsideCalls
from tests.loopback import Loopback, serving


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def service() -> Iterator[OutsideCalls]:
    service = OutsideCalls()
    yield service
    service.close()
