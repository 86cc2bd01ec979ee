"""A schedule of an installation whose processes are killed: each of its times has one run."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.acceptance.installation import installation_in, snapshot
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.long

PERIOD = timedelta(seconds=2)
# Times that come and go while processes are killed, and more of them afterwards.
KILLS = 12
CONFIGURATION: Any = {
    "scripts": [{"name": "echo", "code": "def run(message, context):\n    return message\n"}],
    "queues": [{"name": "q"}],
    "flows": [
        {
            "name": "f",
            "steps": [{"name": "s", "script": "echo", "queue": "q"}],
            "schedules": [{"name": "often", "cron": "*/2 * * * * *", "missed": "all"}],
        }
    ],
}
STATE = "SELECT {} FROM flows_flowschedulestate"


def moment(value: Any) -> datetime:
    """Return a time of either database."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def test_each_time_of_a_schedule_has_one_run_whatever_is_killed(tmp_path: Path) -> None:
    with installation_in(tmp_path) as installation:
        # Nothing runs yet, so that its first time is known.
        installation.configure(CONFIGURATION)
        [[first]] = installation.rows(STATE.format("time"))
        installation.up("--no-demo")
        chance = random.Random(1)

        for number in range(KILLS):
            wait_for(partial(has_started, installation.database_url, number + 1), PATIENCE, "a run")
            if victims := installation.family():
                with suppress(psutil.NoSuchProcess):
                    chance.choice(victims).kill()
        more = partial(has_started, installation.database_url, KILLS + 10)
        wait_for(more, 2 * PATIENCE, "runs after the last kill")
        with snapshot(installation.database_url) as query:
            [[last, problem]] = query(STATE.format("last_time, problem"))
            [[runs]] = query("SELECT count(*) FROM flows_run")
            [[labelled]] = query("SELECT count(DISTINCT run_id) FROM flows_runlabel")

    assert runs == labelled == (moment(last) - moment(first)) / PERIOD + 1
    assert problem == ""


def has_started(database_url: str, runs: int) -> bool:
    with snapshot(database_url) as query:
        [[found]] = query("SELECT count(*) FROM flows_run")
    return bool(found >= runs)
