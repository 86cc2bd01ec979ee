"""Ten thousand dead letters are reprocessed with the repaired script while parts are killed."""

from __future__ import annotations

import json
import os
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.acceptance.installation import snapshot
from tests.chaos.checks import broken_counters
from tests.chaos.faults import KILLED
from tests.chaos.scripts import TRAIL
from tests.chaos.server import Server
from tests.chaos.system import System
from tests.waiting import wait_for

pytestmark = pytest.mark.chaos

LETTERS = 10_000
CHUNK = 1_000
# Slow enough that there is a middle to be killed in.
RATE_PER_SECOND = 1_000
KILL_SECONDS = (0.3, 1.5)
MOST_KILLS = 12
BROKEN = "def run(message, context):\n    raise Reject('not yet')\n"
REQUEUED = "SELECT COUNT(*) FROM flows_reprocessedletter"
EXECUTIONS = "SELECT v.name, s.outcome, COUNT(*) FROM flows_steprun s"
EXECUTIONS += " JOIN flows_stepversion v ON v.id = s.step_id GROUP BY v.name, s.outcome"
MOST_OF_A_RUN = """
    SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM flows_steprun s
    JOIN flows_stepversion v ON v.id = s.step_id GROUP BY s.run_id, v.name, s.outcome) AS counts
"""
OUTCOMES = "SELECT outcome, COUNT(*) FROM flows_reprocessedletter GROUP BY outcome"
RESULTS = "SELECT result FROM flows_run WHERE status = 'COMPLETED'"
UNFINISHED = "SELECT 1 FROM flows_reprocessing WHERE finished_at IS NULL"


def configuration(second: str) -> dict[str, Any]:
    return {
        "scripts": [{"name": "first", "code": TRAIL}, {"name": "second", "code": second}],
        "queues": [
            {"name": name, "size": 2 * LETTERS, "maxDeliveries": 1000} for name in ("s0", "s1")
        ],
        "flows": [
            {
                "name": "repaired",
                "steps": [
                    {"name": "s0", "script": "first", "queue": "s0"},
                    {"name": "s1", "script": "second", "queue": "s1"},
                ],
            }
        ],
    }


@pytest.fixture
def system(server: Server, tmp_path: Path) -> Iterator[System]:
    system = System(server.url, tmp_path)
    try:
        yield system
    finally:
        system.end()


def test_every_dead_letter_is_reprocessed_exactly_once_though_parts_are_killed(system: System):
    seed = os.environ.get("CHAOS_SEED") or secrets.token_hex(4)
    rng = random.Random(seed)
    system.begin(configuration(BROKEN))
    let_die(system)
    system.configure(configuration(TRAIL))

    began = time.monotonic()
    ask_until_answered(system)
    kills: list[str] = []
    next_kill_at = began
    while (requeued := system.rows(REQUEUED)[0][0]) < LETTERS:
        system.look_after()
        is_due = requeued > LETTERS / 100 and time.monotonic() > next_kill_at
        if is_due and len(kills) < MOST_KILLS:
            kills += kill_one(system, rng)
            next_kill_at = time.monotonic() + rng.uniform(*KILL_SECONDS)
        assert time.monotonic() < began + 300, f"{requeued} were requeued"
    # What was done is done: nothing is left to be requeued.
    ask_until_answered(system)
    wait_for(lambda: is_over(system), 120, "the end of all runs")
    seconds = time.monotonic() - began

    print(f"\nCHAOS_SEED={seed}: {LETTERS} in {seconds:.1f} s, killed {', '.join(kills)}")
    with snapshot(system.database_url) as query:
        executions = {(step, outcome): n for step, outcome, n in query(EXECUTIONS)}
        assert executions == {
            ("s0", "COMPLETED"): LETTERS,
            ("s1", "REJECTED"): LETTERS,
            ("s1", "COMPLETED"): LETTERS,
        }
        assert query(MOST_OF_A_RUN) == [(1,)]
        assert query(OUTCOMES) == [("COMPLETED", LETTERS)]
        assert broken_counters(query) == []
        trails = [json.loads(row[0])["payload"]["trail"] for row in query(RESULTS)]
    assert [[name for name, _ in trail] for trail in trails] == [["s0", "s1"]] * LETTERS
    assert len(kills) >= 3


def let_die(system: System) -> None:
    code = (
        "from flows import engine\n"
        f"for _ in range({LETTERS // CHUNK}):\n"
        f"    engine.start_many('repaired', [{{}}] * {CHUNK})\n"
    )
    system.manage("shell", "--no-imports", "-c", code)
    sql = "SELECT COUNT(*) FROM flows_deadletter"
    wait_for(lambda: system.rows(sql) == [(LETTERS,)], 120, "the dead letters")


def ask_until_answered(system: System) -> None:
    """Ask for all of them, and again where no answer comes."""
    order = {
        "filter": {"flowName": "repaired"},
        "newestScript": True,
        "sample": 0,
        "ratePerSecond": RATE_PER_SECOND,
    }

    def is_answered() -> bool:
        system.look_after()
        with suppress(httpx.TransportError):
            answer = system.http.post("/api/dead-letters/reprocess", json=order)
            assert answer.status_code in (202, 503), answer.text
            return answer.status_code == 202
        return False

    wait_for(is_answered, 30, "an answer")


def kill_one(system: System, rng: random.Random) -> list[str]:
    kind = rng.choice(KILLED)
    with suppress(IndexError, psutil.NoSuchProcess):
        rng.choice(system.processes().get(kind, [])).kill()
        return [kind]
    return []


def is_over(system: System) -> bool:
    system.look_after()
    return system.rows("SELECT 1 FROM flows_message LIMIT 1") == system.rows(UNFINISHED) == []
