"""What scripts reach in these tests. Modules that need no more define a `pool` of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.pool.host_pool import HostPool
from scripts.services.outside_calls import OutsideCalls
from tests.hosts.requests_of_scripts import secret
from tests.hosts.wheels import build
from tests.hosts.zygotes import Zygotes
from tests.loopback import Loopback, serving


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool(services=lambda: {"http": OutsideCalls(), "secret": secret})
    zygotes.lend_to(pool)
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("source"))
