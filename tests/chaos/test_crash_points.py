"""A process is killed at each named point of a message's way; nothing is lost, nothing doubled."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import httpx
import psutil
import pytest

from tests.acceptance.installation import Installation, snapshot
from tests.acceptance.processes import await_completion, start_anyhow
from tests.acceptance.test_kills import LEASE_SECONDS
from tests.chaos.checks import Accepted, faults_in
from tests.chaos.scripts import TRAIL
from tests.chaos.system import Bearer
from tests.databases import fresh_database
from tests.waiting import wait_for

pytestmark = pytest.mark.chaos

POINTS = [
    # In a web process.
    "before-commit-of-start",
    "started",
    # In the pusher.
    "consumer-opened",
    "consumer-sent",
    # In a worker.
    "begun",
    "before-commit-of-opening",
    "after-commit-of-opening",
    "before-commit-of-claim",
    "after-commit-of-claim",
    "scripts-ended",
    "before-commit-of-results",
    "after-commit-of-results",
    # In a worker, then in the pusher that releases what it held.
    "after-commit-of-claim,before-commit-of-release",
]
# In a web process that stores the starts of several callers together.
GROUP_POINTS = ["group-taken", "before-commit-of-group", "group-stored"]
# There, of starts whose login was read before.
SEEN_POINTS = ["before-commit-of-seen", "seen-stored"]
STEPS = ["s0", "s1", "s2"]
# What it counts in the state of the flow is stored with its step, or not at all.
COUNTING = TRAIL.replace(
    "    return",
    "    context.state.increment('steps')\n"
    "    context.state.set('turns', context.state.get('turns', 0) + 1)\n"
    "    return",
)
CONFIGURATION = {
    "scripts": [{"name": "trail", "code": COUNTING}],
    "queues": [{"name": name} for name in (*STEPS, "other")],
    "flows": [
        {
            "name": "three",
            "steps": [{"name": name, "script": "trail", "queue": name} for name in STEPS],
        },
        {"name": "other", "steps": [{"name": "other", "script": "trail", "queue": "other"}]},
    ],
}
RUNS = 60


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with fresh_database(tmp_path) as url:
        installation = Installation(url, tmp_path)
        installation.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "CRASH_MARKS": str(tmp_path),
        }
        try:
            yield installation
        finally:
            installation.http.close()
            if installation.process is not None:
                installation.stop()


@pytest.mark.parametrize("points", POINTS)
def test_nothing_is_lost_or_doubled_by_a_crash_there(installation: Installation, points: str):
    installation.environment["CRASH_AT"] = points
    installation.up("--no-demo")
    installation.configure(CONFIGURATION)

    began = time.monotonic()
    history = [
        Accepted(key, start_anyhow(installation, "three", {}, key), "three", fails=False)
        for key in map(str, range(RUNS))
    ]
    wait_for(lambda: is_at_rest(installation), 30, "rest")
    seconds = time.monotonic() - began

    for point in points.split(","):
        assert (installation.directory / point).exists(), f"nothing came to {point}"
    again = [start_anyhow(installation, "three", {}, start.key) for start in history]
    assert again == [start.correlation_id for start in history]
    with snapshot(installation.database_url) as query:
        findings = faults_in(query, history, {"three": STEPS})
    print(f"{points}: {seconds:.1f} s, {findings}")
    assert findings.nothing(), findings
    state = dict(installation.rows("SELECT key, value FROM flows_flowstate"))
    assert state == dict.fromkeys(("steps", "turns"), str(RUNS * len(STEPS)))


def bring_up(installation: Installation, point: str) -> None:
    """Have a process end at the point, and callers log in with a token."""
    installation.environment["CRASH_AT"] = point
    installation.up("--no-demo")
    installation.configure(CONFIGURATION)
    token = installation.http.post("/api/auth/token").json()["accessToken"]
    installation.http.auth = Bearer(token)


@pytest.mark.parametrize("point", GROUP_POINTS)
def test_no_start_of_a_group_is_lost_or_doubled_by_a_crash_there(
    installation: Installation, point: str
):
    """Callers at the same time, in two web processes; one of them dies with what it had taken."""
    bring_up(installation, point)
    # One after the other, so that both web processes know such starts.
    keys = [f"before {number}" for number in range(8)]
    runs = [start_anyhow(installation, "three", {}, key) for key in keys]

    with ThreadPoolExecutor(16) as callers:
        at_once = [str(number) for number in range(4 * RUNS)]
        runs += callers.map(lambda key: start_anyhow(installation, "three", {}, key), at_once)
    wait_for(lambda: is_at_rest(installation), 30, "rest")

    assert (installation.directory / point).exists(), f"nothing came to {point}"
    history = [
        Accepted(key, run, "three", fails=False)
        for key, run in zip((*keys, *at_once), runs, strict=True)
    ]
    again = [start_anyhow(installation, "three", {}, start.key) for start in history]
    assert again == [start.correlation_id for start in history]
    with snapshot(installation.database_url) as query:
        findings = faults_in(query, history, {"three": STEPS})
    print(f"{point}: {findings}")
    assert findings.nothing(), findings


@pytest.mark.parametrize("point", SEEN_POINTS)
def test_no_start_that_was_answered_is_lost_by_a_crash_there(
    installation: Installation, point: str
):
    """Callers without keys, who do not know what became of a start without an answer."""
    bring_up(installation, point)

    def start(_: int) -> str | None:
        try:
            answer = installation.http.post("/api/start?flowName=three", json={}, timeout=5)
        except httpx.TransportError:
            return None
        assert answer.status_code == 202, answer.text
        run: str = answer.json()["correlationId"]
        return run

    with ThreadPoolExecutor(16) as callers:
        answered = [run for run in callers.map(start, range(4 * RUNS)) if run]
    wait_for(lambda: is_at_rest(installation), 30, "rest")

    assert (installation.directory / point).exists(), f"nothing came to {point}"
    rows = installation.rows("SELECT correlation_id, status FROM flows_run")
    statuses = {str(UUID(str(run))): status for run, status in rows}
    print(f"{point}: {len(answered)} answered, {len(statuses)} stored")
    assert len(set(answered)) == len(answered) > 2 * RUNS
    assert {statuses.get(run) for run in answered} == {"COMPLETED"}
    assert len(answered) <= len(statuses) <= 4 * RUNS
    accepted = installation.rows("SELECT accepted FROM flows_flowtotals WHERE flow_name = 'three'")
    assert accepted == [(len(statuses),)]


def is_at_rest(installation: Installation) -> bool:
    return installation.rows("SELECT COUNT(*) FROM flows_message") == [(0,)]


def test_work_goes_on_though_a_worker_is_stopped_in_the_middle_of_a_transaction(
    installation: Installation,
):
    """As one on a machine that has lost its network: the server waits for it, with its locks."""
    installation.environment["STOP_AT"] = "before-commit-of-results"
    installation.up("--no-demo")
    installation.configure(CONFIGURATION)
    mark = installation.directory / "before-commit-of-results"
    history = [Accepted("first", start_anyhow(installation, "three", {}, "first"), "three", False)]
    wait_for(mark.exists, 10, "the stop")
    stopped = psutil.Process(int(mark.read_text()))

    began = time.monotonic()
    try:
        for key, flow in (("same", "three"), ("else", "other")):
            run = start_anyhow(installation, flow, {}, key)
            history.append(Accepted(key, run, flow, False))
            await_completion(installation, run, LEASE_SECONDS + 10)
        wait_for(lambda: is_at_rest(installation), LEASE_SECONDS + 10, "rest")
    finally:
        print(f"work went on, or not, in {time.monotonic() - began:.1f} s")
        with contextlib.suppress(psutil.NoSuchProcess):
            stopped.resume()

    with snapshot(installation.database_url) as query:
        findings = faults_in(query, history, {"three": STEPS, "other": ["other"]})
    assert findings.nothing(), findings
