"""A pool of its own for each test, which may kill its hosts."""

from collections.abc import Iterator

import pytest

from scripts.pool.host_pool import HostPool
from tests.hosts.zygotes import Zygotes


@pytest.fixture
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool()
    zygotes.lend_to(pool)
    yield pool
    pool.close()
