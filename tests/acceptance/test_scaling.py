"""A cluster has more workers while messages wait, and fewer again when they are done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.installation import ROOT, Installation, installation_in
from tests.acceptance.processes import step
from tests.waiting import wait_for

pytestmark = pytest.mark.long

RUNS = 300
CODE = "import time\ndef run(message, context):\n    time.sleep(0.3)\n    return message\n"
CONFIGURATION = {
    "scripts": [{"name": "slow", "code": CODE}],
    # A delivery that counts would leave none.
    "queues": [{"name": "slow", "maxDeliveries": 1}],
    "flows": [{"name": "slow", "steps": [step("s", "slow", "slow", threads=6)]}],
}
ATTEMPTS = "SELECT delivery, outcome, count(*) FROM flows_steprun GROUP BY delivery, outcome"
UNDER_WAY = "SELECT count(*) FROM flows_message"


def told(installation: Installation) -> int:
    """Return how many workers for flows the cluster says that it has."""
    return int(installation.rows("SELECT workers FROM flows_livecluster")[0][0])


def test_workers_come_while_messages_wait_and_go_when_they_are_done(tmp_path: Path) -> None:
    with installation_in(tmp_path) as installation:
        installation.environment |= {
            "ASYNCENGINE_WORKERS": "1",
            "ASYNCENGINE_MAX_WORKERS": "3",
            "DJANGO_SETTINGS_MODULE": "tests.acceptance.scaling_settings",
            "PYTHONPATH": str(ROOT),
        }
        installation.configure(CONFIGURATION)
        payloads = tmp_path / "payloads.json"
        payloads.write_text(json.dumps([{}] * RUNS))
        installation.up("--no-demo")
        installation.manage("start", "slow", "--payload", f"@{payloads}")

        wait_for(lambda: len(installation.workers()) == 3, what="three workers with script hosts")
        wait_for(lambda: told(installation) == 3, what="the cluster's word")
        wait_for(lambda: installation.rows(UNDER_WAY) == [(0,)], what="the end of all runs")
        wait_for(lambda: len(installation.workers()) == 1, what="the end of two workers")
        wait_for(lambda: told(installation) == 1, what="the cluster's word")
        again = installation.start("slow", {})
        assert installation.run(again, wait=30)["status"] == "COMPLETED"
        assert installation.stop() == 0

        assert installation.rows(ATTEMPTS) == [(1, "COMPLETED", RUNS + 1)]
        assert "Traceback" not in installation.output.read_text()
