"""Clusters are replaced under load, each by one that begins before the old one has drained."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.acceptance.installation import Installation, installation_in
from tests.acceptance.processes import step
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.long

RUNS = 80
REPLACEMENTS = 5
# A tenth of scripts of 25 s.
CODE = "import time\ndef run(message, context):\n    time.sleep(2.5)\n    return message\n"
CONFIGURATION = {
    "scripts": [{"name": "slow", "code": CODE}],
    # A delivery that counts would leave none.
    "queues": [{"name": "slow", "maxDeliveries": 1}],
    "flows": [{"name": "slow", "steps": [step("s", "slow", "slow", threads=8)]}],
}


def begin_cluster(installation: Installation) -> subprocess.Popen[bytes]:
    """Start a cluster, and wait until it tells that it lives."""
    with (installation.directory / "clusters.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "qcluster", "--skip-checks"],
            cwd=installation.project,
            env=installation.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def lives() -> bool:
        assert process.poll() is None, Path(log.name).read_text()
        told = {int(key.rpartition(":")[2]) for (key,) in installation.rows(TOLD)}
        own = [process.pid, *(child.pid for child in psutil.Process(process.pid).children())]
        return not told.isdisjoint(own)

    wait_for(lives, PATIENCE, "a cluster")
    return process


TOLD = "SELECT key FROM flows_livecluster"
ENDED = "SELECT count(*) FROM flows_run WHERE status = 'COMPLETED'"
ATTEMPTS = "SELECT delivery, outcome, count(*) FROM flows_steprun GROUP BY delivery, outcome"


def test_a_deploy_under_load_runs_each_script_to_its_end_once(tmp_path: Path) -> None:
    with installation_in(tmp_path) as installation:
        installation.environment |= {
            # However slow the machine is: a cluster ends when its scripts have ended.
            "ASYNCENGINE_GRACE_SECONDS": "120",
            "ASYNCENGINE_TASK_WORKERS": "0",
        }
        installation.configure(CONFIGURATION)
        payloads = tmp_path / "payloads.json"
        payloads.write_text(json.dumps([{}] * RUNS))
        installation.manage("start", "slow", "--payload", f"@{payloads}")
        clusters = [begin_cluster(installation)]
        try:
            for _ in range(REPLACEMENTS):
                clusters.append(begin_cluster(installation))
                clusters[-2].terminate()
            wait_for(lambda: installation.rows(ENDED) == [(RUNS,)], PATIENCE, "the runs' ends")
            clusters[-1].terminate()
            codes = [cluster.wait(PATIENCE) for cluster in clusters]
        finally:
            for cluster in clusters:
                cluster.kill()
                cluster.wait()

        assert codes == [0] * (REPLACEMENTS + 1)
        assert installation.rows(ATTEMPTS) == [(1, "COMPLETED", RUNS)]
        assert installation.rows("SELECT count(*) FROM flows_deadletter") == [(0,)]
        assert "Traceback" not in (tmp_path / "clusters.log").read_text()
