"""Other queues keep their throughput while the abuse suite runs through the engine."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.abuse.bait import Bait
from tests.abuse.python_attacks import PYTHON
from tests.chaos.scripts import CODES
from tests.chaos.system import System
from tests.databases import fresh_database
from tests.waiting import wait_for

pytestmark = pytest.mark.chaos

MESSAGES = 20_000
ROUNDS = int(os.environ.get("ABUSE_ROUNDS", "5"))
# Abusive scripts a second: each may have a processor for its whole time limit.
RATE = 2
ABUSE = """
def run(message, context):
    scope = {"__builtins__": __builtins__}
    exec(message["payload"]["attack"], scope)
    return scope["run"](message, context)
"""
CONFIGURATION = {
    "scripts": [
        {"name": "trail", "code": CODES["trail"]},
        {"name": "abuse", "code": ABUSE, "timeoutSeconds": 0.3, "memoryMb": 128},
    ],
    "queues": [
        {"name": "other", "size": 2 * MESSAGES},
        {
            "name": "abused",
            "size": 2 * MESSAGES,
            "maxDeliveries": 1,
            "rateLimit": {"count": RATE, "periodSeconds": 1},
        },
    ],
    "flows": [
        {"name": "other", "steps": [{"name": "s", "script": "trail", "queue": "other"}]},
        {"name": "abused", "steps": [{"name": "s", "script": "abuse", "queue": "abused"}]},
    ],
}

STEP_RUNS_OF = (
    "FROM flows_steprun s JOIN flows_run r ON r.correlation_id = s.run_id"
    " JOIN flows_flowversion v ON v.id = r.flow_version_id"
    " JOIN flows_flow f ON f.id = v.flow_id WHERE f.name ="
)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with fresh_database(tmp_path) as url:
        system = System(url, tmp_path, clusters=1)
        system.begin(CONFIGURATION)
        try:
            yield system
        finally:
            system.end()


@pytest.fixture
def bait() -> Iterator[Bait]:
    bait = Bait()
    yield bait
    bait.close()


def test_abused_queue_takes_no_throughput_from_another(system: System, bait: Bait):
    pids = {"zygote": os.getpid(), "neighbour": os.getpid()}
    attacks = [
        {**bait.described(**pids), "attack": attack.script}
        for _ in range(2)
        for attack in PYTHON.values()
    ]
    set_paused(system, "abused", True)
    start(system, "abused", attacks)
    throughput(system)  # warms up

    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(throughput(system))
        set_paused(system, "abused", False)
        beside.append(throughput(system))
        set_paused(system, "abused", True)

    rates = statistics.median(alone), statistics.median(beside)
    ended = system.rows(f"SELECT COUNT(*) {STEP_RUNS_OF} 'abused'")
    print(f"alone {alone}, beside abuse {beside}, medians {rates}, {ended[0][0]} abusive scripts")
    bait.assert_untouched()
    assert rates[1] >= 0.9 * rates[0]


def throughput(system: System) -> float:
    """Return the messages a second with which the other queue is emptied."""
    [(before,)] = system.rows("SELECT COALESCE(MAX(id), 0) FROM flows_steprun")
    set_paused(system, "other", True)
    start(system, "other", [{}] * MESSAGES)
    set_paused(system, "other", False)
    wait_for(lambda: system.http.get("/api/queues/other").json()["depth"] == 0, 120)
    [(first, last)] = system.rows(
        f"SELECT MIN(s.started_at), MAX(s.finished_at) {STEP_RUNS_OF} 'other' AND s.id > {before}"
    )
    return round(MESSAGES / (seconds(last) - seconds(first)))


def start(system: System, flow: str, payloads: list[dict[str, Any]]) -> None:
    path = system.directory / "payloads.json"
    path.write_text(json.dumps(payloads))
    code = (
        "import json; from flows import engine;"
        f" engine.start_many({flow!r}, json.load(open({str(path)!r})))"
    )
    system.manage("shell", "--no-imports", "-c", code)


def set_paused(system: System, queue: str, paused: bool) -> None:
    verb = "pause" if paused else "resume"
    assert system.http.post(f"/api/queues/{queue}/{verb}").status_code == 200


def seconds(at: Any) -> float:
    """Read a time; SQLite has it as text, in UTC."""
    return (datetime.fromisoformat(at + "+00:00") if isinstance(at, str) else at).timestamp()
