import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from tests.hosts.script_host.helpers import CORRELATION_ID, Run
from tests.hosts.zygotes import Zygotes
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool()
    zygotes.lend_to(pool)
    yield pool
    pool.close()


@pytest.fixture
def run(pool: HostPool) -> Run:
    """Run a script on one message and return the outcome."""

    def run(
        code: str,
        payload: Any = None,
        *,
        body: bytes | None = None,
        is_last: bool = False,
        name: str = "pricing",
        memory_mb: int = 256,
        **program_options: Any,
    ) -> Outcome:
        envelope = {"correlationId": CORRELATION_ID, "payload": payload or {}}
        call = Call("key", CORRELATION_ID, 2, "d-7", body or json.dumps(envelope).encode())
        program = Program(1, name, "python", code, 20, memory_mb, **program_options)
        pool.submit(program, CallSite("orders", "price", "to-price", is_last), [call], 1)
        outcomes = pool.collect(PATIENCE)
        assert len(outcomes) == 1
        return outcomes[0]

    return run
