"""Where nothing fails, every script is executed exactly once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import snapshot
from tests.chaos.checks import Accepted, faults_in
from tests.chaos.scripts import FLOWS, configuration, steps
from tests.chaos.system import System
from tests.databases import fresh_database
from tests.waiting import wait_for

pytestmark = pytest.mark.chaos

MESSAGES = 100_000
CHUNK = 1_000


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with fresh_database(tmp_path) as url:
        system = System(url, tmp_path)
        try:
            yield system
        finally:
            system.end()


def test_every_script_is_executed_once_where_nothing_fails(system: System):
    system.begin(configuration(2 * MESSAGES))
    code = (
        "from flows import engine\n"
        f"for first in range(0, {MESSAGES}, {CHUNK}):\n"
        f"    payloads = ({{'n': n}} for n in range(first, first + {CHUNK}))\n"
        "    print(*engine.start_many('quick', payloads), sep='\\n')\n"
    )

    began = time.monotonic()
    ids = system.manage("shell", "--no-imports", "-c", code).stdout.split()
    started = time.monotonic() - began
    wait_for(lambda: is_at_rest(system), 600, "the end of all runs")
    seconds = time.monotonic() - began

    history = [Accepted(run, run, "quick", fails=False) for run in ids]
    with snapshot(system.database_url) as query:
        findings = faults_in(query, history, {flow: steps(flow) for flow in FLOWS})
        [(executions,)] = query("SELECT COUNT(*) FROM flows_steprun")
    rate = executions / seconds
    print(f"{len(ids)} runs started in {started:.1f} s, {rate:.0f} steps a second over all")
    assert len(set(ids)) == MESSAGES
    assert findings.nothing(), findings
    assert findings.extra_executions == 0
    assert executions == MESSAGES * len(FLOWS["quick"])


def is_at_rest(system: System) -> bool:
    time.sleep(0.5)
    return system.rows("SELECT 1 FROM flows_message LIMIT 1") == []
