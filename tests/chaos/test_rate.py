"""A rate limit over two clusters: never more starts in any window, whatever is killed."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.chaos.scripts import CODES
from tests.chaos.system import System
from tests.databases import fresh_database
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.chaos

RATE = 50
CONFIGURATION = {
    "scripts": [{"name": "trail", "code": CODES["trail"]}],
    "queues": [
        {
            "name": "limited",
            "maxDeliveries": 1000,
            "rateLimit": {"count": RATE, "periodSeconds": 1},
        }
    ],
    "flows": [
        {
            "name": "limited",
            "steps": [{"name": "s0", "script": "trail", "queue": "limited", "threads": 20}],
        }
    ],
}


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with fresh_database(tmp_path) as url:
        system = System(url, tmp_path)
        system.begin(CONFIGURATION)
        try:
            yield system
        finally:
            system.end()


def test_no_window_has_more_starts_than_the_rate(system: System):
    starts = starts_without_faults(system)

    print(f"at most {fullest_window(starts)} in a second")
    assert fullest_window(starts) <= RATE


def test_the_rate_is_used(system: System):
    shares: list[float] = []

    def is_used() -> bool:
        starts = starts_without_faults(system)
        # A stretch of whole seconds' worth of starts, without the first ones and the last.
        shares.append((8 * RATE) / (starts[10 * RATE] - starts[2 * RATE]) / RATE)
        print(f"{shares[-1]:.1%} of the rate used")
        return shares[-1] >= 0.95

    # Other programs may take the processors for a while.
    wait_for(is_used, PATIENCE, "the use of the rate")
    assert max(shares) >= 0.95


def test_no_window_has_more_starts_than_the_rate_though_workers_are_killed(system: System):
    seed = secrets.token_hex(4)
    print(f"seed {seed}")
    rng = random.Random(seed)
    start_many(system, 15 * RATE)
    next_kill_at, kills = time.monotonic() + 1, 0

    def goes_on() -> bool:
        nonlocal next_kill_at, kills
        system.look_after()
        if time.monotonic() > next_kill_at:
            kills += kill_one(system, rng)
            next_kill_at = time.monotonic() + rng.uniform(0.3, 1.5)
        return is_done(system, 15 * RATE)

    wait_for(goes_on, 90, "the end of all runs")

    starts = started_at(system)
    print(f"{kills} kills, at most {fullest_window(starts)} in a second")
    assert fullest_window(starts) <= RATE


def starts_without_faults(system: System) -> list[float]:
    """Return when each of some runs has started, whatever has run before them."""
    [(before,)] = system.rows("SELECT COUNT(*) FROM flows_run")
    start_many(system, 12 * RATE)
    wait_for(lambda: is_done(system, before + 12 * RATE), 60, "the end of all runs")
    return started_at(system)[before:]


def start_many(system: System, count: int) -> None:
    code = f"from flows import engine; engine.start_many('limited', [{{}}] * {count})"
    system.manage("shell", "--no-imports", "-c", code)


def kill_one(system: System, rng: random.Random) -> bool:
    kind = rng.choice(["worker", "worker", "zygote", "script host", "pusher", "sentinel"])
    processes = system.processes().get(kind, [])
    try:
        rng.choice(processes).kill()
    except (IndexError, psutil.NoSuchProcess):
        return False
    return True


def is_done(system: System, count: int) -> bool:
    sql = "SELECT COUNT(*) FROM flows_run WHERE status = 'COMPLETED'"
    return system.rows(sql) == [(count,)]


def started_at(system: System) -> list[float]:
    """When each recorded execution has started, in seconds."""
    return sorted(seconds(at) for (at,) in system.rows("SELECT started_at FROM flows_steprun"))


def seconds(at: Any) -> float:
    """Read a time; SQLite has it as text, in UTC."""
    if isinstance(at, str):
        at = datetime.fromisoformat(at + "+00:00")
    return at.timestamp()


def fullest_window(starts: list[float]) -> int:
    """Return the most starts in any window of a second, open at its end."""
    most = first = 0
    for last, at in enumerate(starts):
        while starts[first] <= at - 1:
            first += 1
        most = max(most, last - first + 1)
    return most
