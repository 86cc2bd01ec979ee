"""Everything at once: what is accepted while parts are killed, stopped and restarted is done once.

    CHAOS_SECONDS=300 CHAOS_SEED=7 pytest -m chaos tests/chaos/test_chaos.py -s

The seed is printed. It decides which faults come when; which process is hit and where it just is
depends on the machine, so that a seed repeats a storm nearly, not exactly.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.acceptance.installation import snapshot
from tests.chaos.callers import Callers
from tests.chaos.checks import Findings, broken_counters, faults_in
from tests.chaos.faults import Faults
from tests.chaos.history import History
from tests.chaos.interventions import ends
from tests.chaos.scripts import FLOWS, configuration, steps
from tests.chaos.server import Server
from tests.chaos.system import System, seconds_of_chaos
from tests.waiting import wait_for

pytestmark = pytest.mark.chaos

# Small enough that queues are full now and then.
QUEUE_SIZE = 200
LOOK_SECONDS = 0.5
SHOWN = 4
RUNS_BY_END = "SELECT status, COUNT(*) FROM flows_run GROUP BY status"


def test_nothing_is_lost_or_doubled_whatever_is_killed(server: Server, tmp_path: Path):
    seed = os.environ.get("CHAOS_SEED") or secrets.token_hex(4)
    print(f"\nCHAOS_SEED={seed}", flush=True)
    system = System(server.url, tmp_path)
    try:
        report, findings = storm(system, server, seed)
    finally:
        system.end()

    print(json.dumps(report, indent=2), flush=True)
    assert findings.nothing(), findings
    assert report["surprises"] == []


def storm(system: System, server: Server, seed: str) -> tuple[dict[str, Any], Findings]:
    system.begin(configuration(QUEUE_SIZE))
    histories = [History(system.directory / name) for name in ("http.jsonl", "bulk.jsonl")]
    callers = Callers(str(system.http.base_url), system.token(), histories[0], seed)
    faults = Faults(system, server, seed)
    interventions = system.directory / "interventions.jsonl"
    helpers = [
        system.spawn([sys.executable, "-m", f"tests.chaos.{name}", str(path)], CHAOS_SEED=seed)
        for name, path in (("bulk", histories[1].path), ("interventions", interventions))
    ]
    broken: list[str] = []
    began = time.monotonic()
    callers.begin()
    looked_at = began
    while time.monotonic() < began + seconds_of_chaos():
        faults.go_on()
        system.look_after()
        if time.monotonic() > looked_at + LOOK_SECONDS:
            broken += look_at_counters(system)
            looked_at = time.monotonic()
        time.sleep(0.05)
    system.heal()
    healed_at = time.monotonic()
    for helper in helpers:
        helper.send_signal(signal.SIGTERM)
    callers.end(60)
    assert [helper.wait(60) for helper in helpers] == [0, 0], system.log_tail()
    wait_for(lambda: is_at_rest(system), 60, "rest after the storm")
    quiet_at = time.monotonic()
    history = [start for history in histories for start in history.read()]
    with snapshot(server.url) as query:
        findings = faults_in(
            query, history, {flow: steps(flow) for flow in FLOWS}, ends(interventions)
        )
    findings.wrong += broken
    latencies = sorted(probe.seconds for probe in callers.probes)
    slowest = sorted(callers.probes, key=lambda probe: probe.seconds)[-SHOWN:]
    report = {
        "seed": seed,
        "database": server.name,
        "seconds": round(healed_at - began, 1),
        "starts": findings.accepted,
        "runs": dict(system.rows(RUNS_BY_END)),
        "answers": dict(callers.answers),
        "faults": dict(sorted(faults.counts.items())),
        "kills": sum(n for fault, n in faults.counts.items() if fault.startswith("kill")),
        "databaseTroubles": sum(faults.counts[trouble] for trouble in server.troubles()),
        "extraExecutions": findings.extra_executions,
        "failedAttempts": findings.failed_attempts,
        "losses": len(findings.losses),
        "doubledCommits": len(findings.doubled_commits),
        "doubledStarts": len(findings.doubled_starts),
        "otherFindings": findings.wrong[:20],
        "lostLeases": system.output.read_text(errors="replace").count("lost its lease"),
        "secondsToQuiet": round(quiet_at - healed_at, 1),
        "probeSeconds": {
            "count": len(latencies),
            "median": round(statistics.median(latencies), 3),
            "p99": round(latencies[int(len(latencies) * 0.99)], 3),
            "longest": round(latencies[-1], 3),
        },
        "slowestProbes": [
            {
                "run": probe.run,
                "accepted": round(probe.accepted, 1),
                "seconds": round(probe.seconds, 1),
                "faults": faults.between(probe.began, probe.began + probe.seconds),
                "attempts": attempts(system, probe.run),
            }
            for probe in slowest
        ],
        "surprises": callers.surprises[:20],
    }
    return report, findings


def attempts(system: System, run: str) -> list[str]:
    """Return what is known of a run: step, delivery, outcome, begin and end."""
    sql = (
        "SELECT v.name, s.delivery, s.outcome, s.started_at, s.finished_at FROM flows_steprun s"
        " JOIN flows_stepversion v ON v.id = s.step_id WHERE CAST(s.run_id AS text) IN"
        f" ('{run}', '{UUID(run).hex}') ORDER BY s.started_at"
    )
    [(started_at,)] = system.rows(
        "SELECT created_at FROM flows_run WHERE CAST(correlation_id AS text) IN"
        f" ('{run}', '{UUID(run).hex}')"
    )
    return [f"stored {started_at}", *(" ".join(map(str, row)) for row in system.rows(sql))]


def look_at_counters(system: System) -> list[str]:
    with snapshot(system.database_url) as query:
        return broken_counters(query)


def is_at_rest(system: System) -> bool:
    """Whether no message is left and no consumer."""
    system.look_after()
    return system.rows(
        "SELECT (SELECT COUNT(*) FROM flows_message), (SELECT COUNT(*) FROM flows_consumer)"
    ) == [(0, 0)]
