"""PostgreSQL stops under a cluster that runs tasks, and starts again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation
from tests.databases import installed_postgresql
from tests.replicas import replicated
from tests.waiting import PATIENCE, wait_for

PROGRAMS = installed_postgresql()
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROGRAMS is None, reason="this machine has no PostgreSQL server"),
]
TASKS = 3
QUEUE = """
from django_q.tasks import async_task
for n in range({count}):
    async_task("tests.tasks.hold", {here!r}, f"t{{n}}")
"""
RESULTS = "SELECT success, attempt_count FROM django_q_task WHERE func = 'tests.tasks.hold'"


def test_results_that_come_meanwhile_are_stored_and_each_event_is_a_line(tmp_path: Path) -> None:
    assert PROGRAMS is not None
    log = tmp_path / "log"
    with replicated(PROGRAMS) as servers:
        installation = Installation(servers.url, tmp_path)
        installation.environment |= {
            "ASYNCENGINE_CALLABLE_MODULES": "tests.tasks",
            "ASYNCENGINE_LOG_FORMAT": "json",
            "ASYNCENGINE_TASK_WORKERS": str(TASKS),
        }
        installation.manage("migrate")
        installation.manage("shell", "-c", QUEUE.format(count=TASKS, here=str(tmp_path)))
        with installation.cluster(log):
            began = lambda: len(list(tmp_path.glob("*.began"))) == TASKS  # noqa: E731
            wait_for(began, PATIENCE, "the tasks")
            servers.stop_primary()
            (tmp_path / "released").touch()
            wait_for(lambda: "results of tasks wait" in log.read_text(), PATIENCE, "the monitor")
            servers.start_primary()
            stored = lambda: installation.rows(RESULTS) == [(True, 1)] * TASKS  # noqa: E731
            wait_for(stored, PATIENCE, "the results")
        assert installation.rows("SELECT count(*) FROM django_q_ormq WHERE key <> 'none'") == [(0,)]
        installation.http.close()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum("results of tasks wait" in each["event"] for each in events) == 1
    assert not [each for each in events if "reincarnated" in each["event"]]
