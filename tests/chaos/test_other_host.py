"""A cluster on a second host falls silent: its work goes on here, and it never commits again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.acceptance.installation import snapshot
from tests.chaos.checks import Accepted, faults_in
from tests.chaos.network import OtherHost, needs_root, other_host
from tests.chaos.scripts import TRAIL
from tests.chaos.server import restartable_postgresql
from tests.chaos.system import System
from tests.waiting import wait_for

pytestmark = [pytest.mark.chaos, needs_root]

ELSEWHERE_SECONDS = 15.0
SILENT_SECONDS = 30.0
SECONDS_OF_SCRIPT = 0.4
STEPS = ["s0", "s1"]
CONFIGURATION = {
    "scripts": [
        {
            "name": "work",
            "code": "import time\n"
            + TRAIL.replace("    return", f"    time.sleep({SECONDS_OF_SCRIPT})\n    return"),
        }
    ],
    "queues": [{"name": name, "maxDeliveries": 50} for name in STEPS],
    "flows": [
        {
            "name": "two",
            "steps": [
                {"name": name, "script": "work", "queue": name, "threads": 8} for name in STEPS
            ],
        }
    ],
}
HELD_THERE = """
    SELECT m.id, c.id FROM flows_message m JOIN flows_consumer c ON c.id = m.consumer_id
    WHERE c.host LIKE '{host}/%' AND c.pid IS NOT NULL
"""
COMMITTED = "SELECT COUNT(*) FROM flows_steprun WHERE run_id IN ({ids}) AND outcome = 'COMPLETED'"
COMPLETED = "SELECT COUNT(*) FROM flows_run WHERE status = 'COMPLETED'"


@dataclass
class Deployment:
    """A web server and a cluster here, with the database, and a cluster on another host."""

    system: System
    host: OtherHost

    def over_there(self) -> list[psutil.Process]:
        """Every process of the other host's cluster, script hosts included."""
        root = psutil.Process(self.system.parts["cluster 1"].pid)
        return [root, *root.children(recursive=True)]

    def stop(self) -> None:
        for process in self.over_there():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def go_on(self) -> None:
        for process in self.over_there():
            with suppress(psutil.NoSuchProcess):
                process.resume()


SILENCES: dict[str, tuple[Callable[[Deployment], None], Callable[[Deployment], None]]] = {
    "stopped": (Deployment.stop, Deployment.go_on),
    "cut off": (lambda there: there.host.cut(), lambda there: there.host.mend()),
}


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with restartable_postgresql() as server, other_host() as host:
        [url] = server.listen_on(host.here)
        system = System(url, tmp_path)
        system.move_to(host, "cluster 1")
        # With leases as they are in production.
        system.environment["DJANGO_SETTINGS_MODULE"] = "asyncengine.settings"
        try:
            system.begin(CONFIGURATION)
            yield Deployment(system, host)
        finally:
            system.end()


@pytest.mark.parametrize("silence", SILENCES)
def test_work_goes_on_elsewhere_and_nothing_is_committed_twice(
    deployment: Deployment, silence: str
):
    system, host = deployment.system, deployment.host
    fall_silent, go_on = SILENCES[silence]
    ids = system.start_many("two", 400)
    held_there = HELD_THERE.format(host=host.name)
    wait_for(lambda: len(system.rows(held_there)) >= 4, 30, "work on the other host")

    fall_silent(deployment)
    silent_at = time.monotonic()
    held = system.rows(held_there)
    runs = ", ".join(f"'{message}'" for message, _ in held)
    consumers = {consumer for _, consumer in held}
    commits = system.rows(COMMITTED.format(ids=runs))[0][0]
    wait_for(
        lambda: system.rows(COMMITTED.format(ids=runs))[0][0] >= commits + len(held),
        60,
        "a commit elsewhere for each message that was held",
    )
    went_on = time.monotonic() - silent_at
    time.sleep(max(SILENT_SECONDS - went_on, 0))
    go_on(deployment)
    went_on_at = time.monotonic()
    wait_for(lambda: says_lease_lost(system, consumers), 20, "word of the lost leases")
    back = time.monotonic() - went_on_at
    # Now it is the other host that has to do everything.
    del system.commands["cluster 0"]
    here = system.parts.pop("cluster 0")
    here.terminate()
    assert here.wait(30) == 0
    later = system.start_many("two", 100)
    wait_for(lambda: system.rows(held_there), 30, "new work on the other host")
    wait_for(lambda: system.rows(COMPLETED) == [(500,)], 120, "the end of all runs")

    with snapshot(system.database_url) as query:
        history = [Accepted(run, run, "two", fails=False) for run in (*ids, *later)]
        findings = faults_in(query, history, {"two": STEPS})
    print(
        f"\n{silence}: {len(held)} messages of {len(consumers)} leases went on elsewhere within"
        f" {went_on:.1f} s; the host noticed {back:.1f} s after it was back; {findings}"
    )
    assert findings.nothing(), findings
    assert went_on < ELSEWHERE_SECONDS
    assert findings.extra_executions <= len(held)


def says_lease_lost(system: System, consumers: set[int]) -> bool:
    log = system.output.read_text(errors="replace")
    return all(f"consumer {pk} lost its lease" in log for pk in consumers)
