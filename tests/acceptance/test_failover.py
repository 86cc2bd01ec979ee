"""The primary of PostgreSQL refuses writes or is gone, and its replica is promoted."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.acceptance.installation import Installation, ended
from tests.acceptance.processes import step
from tests.databases import installed_postgresql
from tests.replicas import Replicated, replicated
from tests.waiting import PATIENCE, wait_for

PROGRAMS = installed_postgresql()
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROGRAMS is None, reason="this machine has no PostgreSQL server"),
]

CONFIGURATION = {
    "scripts": [{"name": "echo", "code": "def run(message, context):\n    return message\n"}],
    "queues": [{"name": "q"}],
    "flows": [{"name": "f", "steps": [step("s", "echo", "q")]}],
}


def turn_read_only(servers: Replicated) -> None:
    servers.turn_read_only()
    servers.promote()


def lose_primary(servers: Replicated) -> None:
    servers.promote()
    servers.servers[0].send_signal(signal.SIGQUIT)


def a_run_ends(installation: Installation) -> bool:
    """Start a run, which may be refused, and see whether it ends."""
    try:
        answer = installation.http.post("/api/start", params={"flowName": "f"}, json={}, timeout=10)
        if answer.status_code != 202:
            assert answer.status_code == 503, answer.text
            return False
        run = answer.json()["correlationId"]
        answer = installation.http.get(f"/api/runs/{run}", params={"wait": 5}, timeout=10)
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json()["status"] == "COMPLETED"


@pytest.mark.parametrize("fail", [turn_read_only, lose_primary])
def test_work_goes_on_at_the_promoted_replica(fail, tmp_path: Path, record_property) -> None:
    assert PROGRAMS is not None
    with (
        replicated(PROGRAMS) as servers,
        ended(Installation(servers.url, tmp_path)) as installation,
    ):
        installation.up("--no-demo")
        installation.configure(CONFIGURATION)
        wait_for(partial(a_run_ends, installation), PATIENCE, "a run")
        [[before]] = installation.rows("SELECT count(*) FROM flows_run WHERE status = 'COMPLETED'")

        fail(servers)
        began = time.monotonic()
        wait_for(partial(a_run_ends, installation), PATIENCE, "a run at the replica")
        # What it took depends on what else the machine does.
        record_property("seconds", time.monotonic() - began)
        print(f"{time.monotonic() - began:.1f} s")

        [[after]] = installation.rows("SELECT count(*) FROM flows_run WHERE status = 'COMPLETED'")
        assert after > before
