"""A short run of each workload of `manage.py bench` shows that it works, never that it is fast."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flows.benchmark.comparison import flattened
from flows.benchmark.workloads import WORKLOADS
from tests.acceptance.installation import Installation, installation_in
from tests.databases import is_postgresql
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.long

HTTP = {
    f"connections16.{name}"
    for name in ("startsPerSecond", "p99Ms", "shareOfBare", "timesOfBareP50", "bare.p50Ms")
}
# By the workload: its options, and some of its figures.
SHORT: dict[str, tuple[str, set[str]]] = {
    "flow3": ("--runs 100", {"startsPerSecond", "stepsPerSecond", "latencyMs.p95", "peakPssMb"}),
    "flow3js": ("--runs 50 --rounds 1", {"stepsPerSecond", "shareOfPython"}),
    "limit": ("--runs 300 --rounds 1", {"stepsPerSecond", "rawStepsPerSecond", "shareOfRaw"}),
    "latency": ("--runs 10", {"latencyMs.p50", "latencyMs.p95"}),
    "http": ("--seconds 0.5 --rounds 1", HTTP | {"connections1.p50Ms", "connections64.p99Ms"}),
    "http-busy": ("--seconds 0.5 --rounds 1", HTTP),
    "refusals": ("--seconds 0.5 --rounds 1", {"refusalsPerSecond", "p50Ms", "p99Ms"}),
    "bulk": ("--runs 500 --rounds 1", {"startsPerSecond", "rawStartsPerSecond", "shareOfRaw"}),
    "io": ("--runs 40", {"executionsPerSecond", "shareOfIdeal", "peakRssMb", "peakPssMb"}),
    "cpu": ("--runs 40", {"executionsPerSecond", "idealPerSecond", "shareOfIdeal"}),
    "backlog": ("--runs 2000", {"claimMs.waiting1000", "claimMs.waiting2000", "timesOfFew"}),
    "flows10": ("--runs 100 --rounds 1", {"stepsPerSecond", "shareOfOneFlow"}),
    "clusters": ("--runs 40", {"clusters.one.executionsPerSecond", "timesOfOne"}),
    "costs": (
        "--runs 200",
        {"trivial.start.walBytes", "trivial.step.syncs", "sleeping.step.databaseMs"},
    ),
    "fanout": ("--runs 300", {"branchesPerSecond"}),
    "reprocessing": ("--runs 100", {"requeuedPerSecond", "completedPerSecond"}),
    "memory": ("--runs 100", {"peakPssMb", "parts.webMb", "parts.clusterMb", "parts.hostsMb"}),
    "idle": ("--seconds 1", {"idlePercent", "parts.webPercent", "parts.clusterPercent"}),
    "held": ("--seconds 8", {"firstStepsPerSecond", "stepsPerSecond", "shareOfFirst"}),
    "tasks": ("--runs 5", {"latencyMs.p50", "latencyAloneMs.p50", "tasks"}),
}
# The other workloads send PostgreSQL nothing that these do not.
ON_POSTGRESQL = {"flow3", "limit", "bulk", "reprocessing", "idle", "held", "costs"}
# Of work that has ended, so that they are never 0; held looks at some seconds of it.
MOVING = {"startsPerSecond", "executionsPerSecond", "branchesPerSecond", "completedPerSecond"}
# What stays: the log of what operators did, and what the engine keeps for itself.
TABLES = (
    *("flows_flow", "flows_step", "flows_queue", "flows_queuestate", "flows_flowversion"),
    *("flows_stepversion", "flows_run", "flows_steprun", "flows_message", "flows_deadletter"),
    *("flows_branchend", "flows_runtext", "flows_flowtotals", "flows_countblock"),
    *("flows_countedtotals", "flows_refusedstarts", "flows_rolemapping", "flows_reprocessing"),
    *("flows_reprocessedletter", "flows_consumer", "scripts_script", "scripts_scriptversion"),
    *("flows_historicalflow", "flows_historicalstep", "flows_historicalqueue"),
    *("flows_historicalrolemapping", "scripts_historicalscript", "knox_authtoken"),
    *("auth_user", "auth_group", "django_q_ormq"),
)


@pytest.fixture(scope="module")
def idle_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that does not run: the workloads start what they need."""
    with installation_in(tmp_path_factory.mktemp("bench")) as installation:
        yield installation


def left_in(installation: Installation) -> dict[str, int]:
    """Return the tables that have rows, and those of the bench itself."""
    union = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM {table}" for table in TABLES)
    found = {table: count for table, count in installation.rows(union) if count}
    if is_postgresql():
        own = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'bench%'"
    else:
        own = "SELECT name FROM sqlite_master WHERE name LIKE 'bench%'"
    return found | {name: 0 for (name,) in installation.rows(own)}


def test_every_workload_has_a_short_run():
    assert set(SHORT) == set(WORKLOADS)


@pytest.mark.parametrize("workload", SHORT)
def test_a_short_run_of_a_workload_has_its_figures_and_leaves_no_row(
    idle_installation: Installation, workload: str
):
    if not is_postgresql() and WORKLOADS[workload].databases == {"postgresql"}:
        pytest.skip("it is for PostgreSQL")
    if is_postgresql() and workload not in ON_POSTGRESQL:
        pytest.skip("it is the same on PostgreSQL as others")
    options, names = SHORT[workload]

    output = idle_installation.manage("bench", workload, *options.split(), "--json").stdout

    figures = dict(flattened(json.loads(output)))
    assert figures["workload"] == workload
    assert {name for name in names if figures.get(name) is None} == set()
    assert {name for name in MOVING & set(figures) if not figures[name]} == set()
    assert {"noise.stealPercent", "noise.othersPercent", "noise.warnings"} <= set(figures)
    assert left_in(idle_installation) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_workload_removes_what_it_has_made(
    idle_installation: Installation, number: int
):
    command = [sys.executable, "manage.py", "bench", "flow3", "--runs", "1000000"]
    process = subprocess.Popen(
        command,
        cwd=idle_installation.project,
        env=idle_installation.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    completed = "SELECT count(*) FROM flows_run WHERE status = 'COMPLETED'"
    wait_for(lambda: idle_installation.rows(completed)[0][0] > 0, what="a completed run")

    process.send_signal(number)
    process.send_signal(signal.SIGINT)

    _, errors = process.communicate(timeout=2 * PATIENCE)
    assert process.returncode == 130
    assert "interrupted; what was made is removed" in errors
    assert left_in(idle_installation) == {}


def test_what_a_killed_workload_has_left_is_removed_by_the_next(idle_installation: Installation):
    command = [sys.executable, "manage.py", "bench", "flow3", "--runs", "1000000"]
    process = subprocess.Popen(
        command,
        cwd=idle_installation.project,
        env=idle_installation.environment,
        stderr=subprocess.DEVNULL,
    )
    completed = "SELECT count(*) FROM flows_run WHERE status = 'COMPLETED'"
    wait_for(lambda: idle_installation.rows(completed)[0][0] > 0, what="a completed run")
    process.kill()
    process.wait(PATIENCE)
    assert left_in(idle_installation)

    told = idle_installation.manage("bench", "bulk", "--runs", "10", "--rounds", "1")

    assert "Removed what killed ones have left: bench-" in told.stderr
    assert left_in(idle_installation) == {}
