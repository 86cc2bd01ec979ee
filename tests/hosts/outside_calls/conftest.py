from collections.abc import Iterator

import pytest

from scripts.services.outside_calls import OutsideCalls


@pytest.fixture(scope="module")
def service() -> Iterator[OutsideCalls]:
    service = OutsideCalls()
    yield service
    service.close()
