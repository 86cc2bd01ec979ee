"""A pool of its own for each test, which may kill its hosts."""

from collections.abc import Iterator

import pytest

from scripts.pool.host_pool import HostPool


@pytest.fixture
def pool() -> Iterator[HostPool]:
    pool = HostPool()
    yield pool
    pool.close()
