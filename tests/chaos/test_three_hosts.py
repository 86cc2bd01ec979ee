"""Three clusters, each on a host of its own: they share the work, also after one was cut off."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.installation import snapshot
from tests.chaos.checks import Accepted, faults_in
from tests.chaos.network import OtherHost, needs_root, other_hosts
from tests.chaos.scripts import TRAIL
from tests.chaos.server import restartable_postgresql
from tests.chaos.system import System
from tests.waiting import wait_for

pytestmark = [pytest.mark.chaos, needs_root]

RUNS = 1_500
THREADS = 12
SECONDS_OF_SCRIPT = 0.4
TAKEN_OVER_SECONDS = 15.0
# Looks at who holds what, and how far apart they are.
LOOKS, LOOK_SECONDS = 40, 0.25
# Of the messages that are held, a third would be even.
LEAST_SHARE = 1 / 6
CONFIGURATION = {
    "scripts": [
        {
            "name": "work",
            "code": "import time\n"
            + TRAIL.replace("    return", f"    time.sleep({SECONDS_OF_SCRIPT})\n    return"),
        }
    ],
    "queues": [{"name": "work", "maxDeliveries": 50}],
    "flows": [
        {
            "name": "one",
            "steps": [{"name": "work", "script": "work", "queue": "work", "threads": THREADS}],
        }
    ],
}
HELD = """
    SELECT c.host, m.id FROM flows_message m JOIN flows_consumer c ON c.id = m.consumer_id
    WHERE c.pid IS NOT NULL
"""
COMPLETED = "SELECT COUNT(*) FROM flows_run WHERE status = 'COMPLETED'"
STILL_THERE = "SELECT COUNT(*) FROM flows_message WHERE id IN ({ids})"


@dataclass
class Deployment:
    system: System
    hosts: list[OtherHost]

    def held(self) -> dict[str, list[str]]:
        """Return the messages that are held, by the name of the host."""
        held: dict[str, list[str]] = {host.name: [] for host in self.hosts}
        for machine, message in self.system.rows(HELD):
            held[machine.partition("/")[0]].append(str(message))
        return held

    def shares(self) -> dict[str, float]:
        """Return the share of each host in what is held, over a while."""
        counts: Counter[str] = Counter()
        for _ in range(LOOKS):
            counts.update({name: len(held) for name, held in self.held().items()})
            time.sleep(LOOK_SECONDS)
        return {name: count / counts.total() for name, count in counts.items()}


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with restartable_postgresql() as server, other_hosts(3) as hosts:
        urls = server.listen_on(*(host.here for host in hosts))
        system = System(urls[0], tmp_path, clusters=len(hosts))
        # With leases as they are in production.
        system.environment["DJANGO_SETTINGS_MODULE"] = "asyncengine.settings"
        for number, (host, url) in enumerate(zip(hosts, urls, strict=True)):
            system.move_to(host, f"cluster {number}", database_url=url)
        try:
            system.begin(CONFIGURATION)
            yield Deployment(system, hosts)
        finally:
            system.end()


def test_three_hosts_share_the_work_and_one_that_was_cut_off_takes_part_again(
    deployment: Deployment,
):
    system, cut_off = deployment.system, deployment.hosts[0]
    ids = system.start_many("one", RUNS)
    wait_for(lambda: all(deployment.held().values()), 60, "work on each host")
    before = deployment.shares()

    cut_off.cut()
    cut_at = time.monotonic()
    left = ", ".join(f"'{message}'" for message in deployment.held()[cut_off.name])
    wait_for(
        lambda: system.rows(STILL_THERE.format(ids=left)) == [(0,)],
        60,
        "the end elsewhere of what the host held",
    )
    taken_over = time.monotonic() - cut_at
    cut_off.mend()
    wait_for(lambda: deployment.held()[cut_off.name], 60, "work on the host that is back")
    after = deployment.shares()
    wait_for(lambda: system.rows(COMPLETED) == [(RUNS,)], 240, "the end of all runs")

    with snapshot(system.database_url) as query:
        history = [Accepted(run, run, "one", fails=False) for run in ids]
        findings = faults_in(query, history, {"one": ["work"]})
    print(f"\nshares {before}, after {after}; taken over in {taken_over:.1f} s; {findings}")
    assert findings.nothing(), findings
    assert taken_over < TAKEN_OVER_SECONDS
    assert min(*before.values(), *after.values()) > LEAST_SHARE
