"""Clusters are replaced every ten seconds, while callers start runs whose scripts take longer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.acceptance.installation import snapshot
from tests.acceptance.processes import step
from tests.chaos.checks import Accepted, faults_in
from tests.chaos.scripts import TRAIL
from tests.chaos.server import Server
from tests.chaos.system import MANAGE, System
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.chaos

SECONDS = float(os.environ.get("CHAOS_SECONDS", "300"))
SECONDS_OF_SCRIPT, GRACE_SECONDS, REPLACE_SECONDS = 25, 30, 10
THREADS = 32
CONFIGURATION = {
    "scripts": [
        {
            "name": "slow",
            "code": "import time\n"
            + TRAIL.replace("    return", f"    time.sleep({SECONDS_OF_SCRIPT})\n    return"),
            "timeoutSeconds": 2 * SECONDS_OF_SCRIPT,
        }
    ],
    # A delivery that counts would leave none.
    "queues": [{"name": "slow", "maxDeliveries": 1}],
    "flows": [{"name": "slow", "steps": [step("slow", "slow", "slow", threads=THREADS)]}],
}
LIVE = "SELECT key FROM flows_livecluster"
UNDER_WAY = "SELECT COUNT(*) FROM flows_run WHERE status IN ('QUEUED', 'RUNNING')"
ATTEMPTS = "SELECT delivery, outcome, COUNT(*) FROM flows_steprun GROUP BY delivery, outcome"
DEAD_LETTERS = "SELECT COUNT(*) FROM flows_deadletter"


class Caller(threading.Thread):
    """Starts a run each second, and notes what it was answered."""

    def __init__(self, system: System) -> None:
        super().__init__(daemon=True)
        self.url, self.auth = str(system.http.base_url), system.http.auth
        self.is_over = threading.Event()
        self.answers: Counter[int] = Counter()
        self.ids: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, auth=self.auth, timeout=PATIENCE) as http:
            while not self.is_over.wait(1.0):
                answer = http.post("/api/start", params={"flowName": "slow"}, json={"n": 1})
                self.answers[answer.status_code] += 1
                self.ids.append(answer.json()["correlationId"])


class Clusters:
    """One after the other, each started before the one before it is asked to stop."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.all: list[subprocess.Popen[bytes]] = []

    def replace(self) -> None:
        known = set(self.system.rows(LIVE))
        self.all.append(self.system.spawn([sys.executable, MANAGE, "qcluster", "--skip-checks"]))
        wait_for(lambda: set(self.system.rows(LIVE)) - known, PATIENCE, "a cluster")
        if len(self.all) > 1:
            self.all[-2].terminate()

    def end(self) -> list[int]:
        self.all[-1].terminate()
        return [cluster.wait(PATIENCE) for cluster in self.all]

    def kill(self) -> None:
        for cluster in self.all:
            cluster.kill()
            cluster.wait()


def test_replaced_clusters_run_each_script_to_its_end_once(server: Server, tmp_path: Path):
    system = System(server.url, tmp_path, clusters=0)
    system.environment |= {
        "DJANGO_SETTINGS_MODULE": "asyncengine.settings",
        "ASYNCENGINE_GRACE_SECONDS": str(GRACE_SECONDS),
        "ASYNCENGINE_TASK_WORKERS": "0",
    }
    clusters = Clusters(system)
    try:
        system.begin(CONFIGURATION)
        clusters.replace()
        caller = Caller(system)
        caller.start()
        ends_at = time.monotonic() + SECONDS
        while time.monotonic() < ends_at:
            next_at = time.monotonic() + REPLACE_SECONDS
            clusters.replace()
            time.sleep(max(next_at - time.monotonic(), 0))
        caller.is_over.set()
        caller.join(PATIENCE)
        wait_for(lambda: system.rows(UNDER_WAY) == [(0,)], PATIENCE, "the ends of all runs")
        codes = clusters.end()
    finally:
        clusters.kill()
        system.end()

    with snapshot(server.url) as query:
        history = [Accepted(run, run, "slow", fails=False) for run in caller.ids]
        findings = faults_in(query, history, {"slow": ["slow"]})
        attempts, letters = query(ATTEMPTS), query(DEAD_LETTERS)
    print(f"\n{server.name}: {len(codes)} clusters, answers {dict(caller.answers)}; {findings}")
    assert caller.answers.keys() == {202}
    assert codes == [0] * len(codes)
    assert findings.nothing(), findings
    assert attempts == [(1, "COMPLETED", len(caller.ids))]
    assert letters == [(0,)]
    assert "Traceback" not in system.output.read_text(errors="replace")
