"""Every process of an installation is killed once, and the work goes on without help."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import psutil
import pytest

from tests.acceptance.children import by_age, children, command_line, pages_of
from tests.acceptance.installation import Installation
from tests.acceptance.processes import (
    await_completion,
    descendants,
    found,
    is_at_work,
    start_anyhow,
    step,
)
from tests.databases import migrated_database
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.long

WORKERS = 2
# One for django-q2's tasks, one for the engine's own.
TASK_WORKERS = 2
RECOVERY_SECONDS = 5.0
# As in tests.chaos.settings.
LEASE_SECONDS = GRACE_SECONDS = 2.0
WORK = (
    "import time\n"
    "def run(message, context):\n"
    "    time.sleep(message['payload'].get('seconds', 0))\n"
    "    message['payload'].setdefault('trail', []).append(context.step)\n"
    "    return message\n"
)
# A module that a script may import refers to others.
AROUND_IMPORTS = "import json\nmodules = json.codecs.sys.modules\n"
BROKEN_CODE = (
    "def crash(): pass\ncrash.__code__ = crash.__code__.replace(co_code=bytes([100, 255] * 8))\n"
)
POISON = {
    "exits": f"{AROUND_IMPORTS}def harm(): modules['os']._exit(7)\n",
    "crashes": f"{BROKEN_CODE}def harm(): crash()\n",
    "hoards": "def harm(): return [bytes(2**20) for _ in range(2**12)]\n",
    "hangs": "def harm():\n    while True: pass\n",
}
CAUSES = {
    "exits": "exit code 7",
    "crashes": "sigsegv",
    "hoards": "memory",
    "hangs": "time limit",
}
POISONED = (
    "def run(message, context):\n    if message['payload']['bad']: harm()\n    return message\n"
)
DELIVERIES = 3


CONFIGURATION = {
    "scripts": [
        {"name": "work", "code": WORK},
        *(
            # The neighbours have the limit, too, and a busy machine lets them wait.
            {"name": name, "code": harm + POISONED, "timeoutSeconds": 3, "memoryMb": 64}
            for name, harm in POISON.items()
        ),
    ],
    "queues": [
        *({"name": name, "maxDeliveries": 50} for name in ("first", "second", "alone")),
        *(
            {
                "name": name,
                "maxDeliveries": DELIVERIES,
                "backoff": {"initialSeconds": 0.05, "multiplier": 1},
            }
            for name in ("killed", *POISON)
        ),
    ],
    "flows": [
        {"name": "two", "steps": [step("s0", "work", "first"), step("s1", "work", "second")]},
        {"name": "one", "steps": [step("s0", "work", "alone")]},
        {"name": "killed", "steps": [step("s0", "work", "killed")]},
        *({"name": name, "steps": [step("s0", name, name)]} for name in POISON),
    ],
}


@contextmanager
def installed(
    tmp_path_factory: pytest.TempPathFactory, **environment: str
) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("installation")
    with migrated_database(directory) as url:
        installation = Installation(url, directory)
        installation.environment |= environment
        try:
            installation.up("--no-demo")
            installation.configure(CONFIGURATION)
            yield installation
        finally:
            installation.http.close()
            if installation.process is not None:
                installation.stop()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory) as installation:
        yield installation


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with leases of two seconds."""
    with installed(tmp_path_factory, DJANGO_SETTINGS_MODULE="tests.chaos.settings") as installation:
        yield installation


# --- the processes of an installation -------------------------------------------------------------


class Parts:
    """The processes of `manage.py up`, by parent and age."""

    have_worked: ClassVar[set[int]] = set()

    def __init__(self, installation: Installation) -> None:
        assert installation.process is not None
        self.installation = installation
        self.supervisor = psutil.Process(installation.process.pid)

    def cluster(self) -> psutil.Process:
        return self._part("qcluster")

    def sentinel(self) -> psutil.Process:
        parts = children(self.cluster())
        return next(process for process in parts if "qcluster" in command_line(process))

    def web_server(self) -> psutil.Process:
        return self._part("flows.up.server")

    def web_worker(self) -> psutil.Process:
        return children(self.web_server())[0]

    def zygote(self) -> psutil.Process:
        """That of the cluster; where that was killed, one that a worker has started."""
        return self._zygotes()[0]

    def _zygotes(self) -> list[psutil.Process]:
        parents = (self.cluster(), *self._of_sentinel())
        found = (child for parent in parents for child in children(parent))
        return [child for child in found if {"-I", "-S"} <= set(command_line(child))]

    def script_host(self) -> psutil.Process:
        pages = pages_of(self.busy_worker())
        hosts = (host for zygote in self._zygotes() for host in children(zygote))
        return next(host for host in hosts if pages & pages_of(host))

    def busy_worker(self) -> psutil.Process:
        """The worker whose consumer holds a message."""
        rows = self.installation.rows(
            "SELECT c.pid FROM flows_consumer c JOIN flows_message m ON m.consumer_id = c.id"
            " WHERE c.pid IS NOT NULL"
        )
        # The consumer of one that was killed is there until its lease is over.
        return next(worker for (pid,) in rows if is_at_work(worker := psutil.Process(pid)))

    def idle_worker(self) -> psutil.Process:
        busy = {pid for (pid,) in self.installation.rows("SELECT pid FROM flows_consumer")}
        return next(worker for worker in self.workers() if worker.pid not in busy)

    def pusher(self) -> psutil.Process:
        return self._helpers()[-1]

    def monitor(self) -> psutil.Process:
        return self._helpers()[0]

    def workers(self) -> list[psutil.Process]:
        """Those that have, or had, script hosts."""
        processes = self._of_sentinel()
        self.have_worked.update(process.pid for process in processes if pages_of(process))
        return [process for process in processes if process.pid in self.have_worked]

    def _helpers(self) -> list[psutil.Process]:
        """Monitor and pusher: the sentinel starts them in this order, after the workers."""
        return self._of_sentinel()[WORKERS + TASK_WORKERS :]

    def _of_sentinel(self) -> list[psutil.Process]:
        return by_age(children(self.sentinel()))

    def _part(self, word: str) -> psutil.Process:
        parts = children(self.supervisor)
        return next(process for process in parts if word in command_line(process))


# --- starting and looking at runs ----------------------------------------------------------------


def commits_of(installation: Installation, run_id: str) -> list[str]:
    """Return the step of each commit of a completed run, which its result has seen as well."""
    run = installation.run(run_id, wait=20)
    assert run["status"] == "COMPLETED", run
    steps = [
        entry["name"]
        for entry in run["steps"]
        for attempt in entry["attempts"]
        if attempt["outcome"] == "COMPLETED"
    ]
    assert run["result"]["payload"]["trail"] == steps
    return steps


def counted(installation: Installation) -> dict[str, dict[str, int]]:
    """Return the events of each flow that are counted in its minutes."""
    sums: dict[str, dict[str, int]] = {}
    for flow, counts in installation.rows(
        "SELECT flow_name, counts FROM flows_countblock WHERE slot_seconds = 60 AND step_name = ''"
    ):
        for event, numbers in json.loads(counts).items():
            events = sums.setdefault(flow, {})
            events[event] = events.get(event, 0) + sum(numbers)
    return sums


# --- SIGKILL -------------------------------------------------------------------------------------


def test_minutes_count_each_run_once_though_the_process_that_counts_is_killed(
    installation: Installation,
) -> None:
    for kills in range(3):
        runs = start_some(installation, f"counted-{kills}")
        found(Parts(installation).pusher).kill()
        for run_id in runs:
            commits_of(installation, run_id)

    totals = {
        flow: {"accepted": accepted, "completed": completed}
        for flow, accepted, completed in installation.rows(
            "SELECT flow_name, accepted, completed FROM flows_flowtotals"
        )
    }
    assert totals["two"]["completed"] >= 120
    wait_for(lambda: counted(installation) == totals, PATIENCE, "the counts of the last runs")


# Monitor and pusher are told by their age: they come before a worker is replaced.
VICTIMS = [
    *("script_host", "zygote", "monitor", "sentinel", "pusher", "cluster"),
    *("busy_worker", "idle_worker", "web_worker", "web_server"),
]


@pytest.mark.parametrize("victim", VICTIMS)
def test_work_goes_on_though_this_process_is_killed(installation: Installation, victim: str):
    warm_up(installation)
    before = [] if victim == "idle_worker" else start_some(installation, victim)
    process = found(getattr(Parts(installation), victim))
    family = descendants(process)

    process.kill()
    killed_at = time.monotonic()
    after = start_anyhow(installation, "one", {}, f"{victim}-after")
    await_completion(installation, after, RECOVERY_SECONDS - (time.monotonic() - killed_at))

    # Orphans of a web server answer until its successor listens.
    wait_for(lambda: not any(map(is_at_work, family)), PATIENCE, "the end of the orphans")
    wait_for(installation.is_ready, PATIENCE, "readiness")
    commits = [commits_of(installation, run_id) for run_id in (*before, after)]
    assert commits == [*(["s0", "s1"] for _ in before), ["s0"]]


def warm_up(installation: Installation) -> None:
    """Have every worker start script hosts, and wait until all are idle."""
    parts = Parts(installation)

    def is_warm() -> bool:
        ids = [installation.start("one", {"seconds": 0.1}) for _ in range(8)]
        for run_id in ids:
            await_completion(installation, run_id, 20)
        # There may be more of them for a while: a worker that stood still counted as busy.
        return len(parts.workers()) >= WORKERS

    wait_for(is_warm, 30, "script hosts of each worker")
    wait_for(lambda: not installation.rows("SELECT 1 FROM flows_consumer"), 10, "idleness")


def start_some(installation: Installation, name: str) -> list[str]:
    return [start_anyhow(installation, "two", {"seconds": 0.05}, f"{name}-{n}") for n in range(40)]


def test_a_message_whose_workers_die_is_dead_lettered_after_its_last_delivery(
    installation: Installation,
):
    warm_up(installation)
    # Longer than its worker is looked for.
    run_id = installation.start("killed", {"seconds": 20})

    for _ in range(DELIVERIES):
        worker = found(Parts(installation).busy_worker)
        worker.kill()
        psutil.wait_procs([worker], PATIENCE)

    run = installation.run(run_id, wait=20)
    assert run["status"] == "FAILED"
    assert run["steps"][0]["deliveries"] == DELIVERIES
    assert "worker died" in run["error"]


# --- SIGSTOP and SIGTERM -------------------------------------------------------------------------


def test_a_worker_stopped_for_longer_than_its_lease_commits_nothing(hasty: Installation):
    warm_up(hasty)
    ids = [hasty.start("two", {"seconds": 0.3}) for _ in range(8)]

    worker, lost = stop_one_at_work(hasty)
    for run_id in ids:
        await_completion(hasty, run_id, 3 * LEASE_SECONDS + 10)
    worker.resume()

    wait_for(lambda: says_lease_lost(hasty, lost), 10, "word of the lost lease")
    assert [commits_of(hasty, run_id) for run_id in ids] == [["s0", "s1"]] * len(ids)


def stop_one_at_work(installation: Installation) -> tuple[psutil.Process, list[tuple[int]]]:
    """Stop a worker, and return it with its sessions; one whose session has ended goes on."""
    while True:
        worker = found(Parts(installation).busy_worker)
        worker.suspend()
        sessions = installation.rows(f"SELECT id FROM flows_consumer WHERE pid = {worker.pid}")
        if sessions:
            return worker, sessions
        worker.resume()


def says_lease_lost(installation: Installation, consumers: list[tuple[int]]) -> bool:
    log = installation.output.read_text()
    return any(f"consumer {pk} lost its lease" in log for (pk,) in consumers)


def test_a_stop_signal_lets_running_scripts_end_and_releases_those_that_do_not(
    hasty: Installation,
):
    warm_up(hasty)
    # The short one may have ended before it is looked at.
    long, short = (hasty.start("one", {"seconds": s}) for s in (12, 1))
    sql = "SELECT COUNT(*) FROM flows_message WHERE consumer_id IS NULL"
    wait_for(lambda: hasty.rows(sql) == [(0,)], 10, "two messages under way")
    cluster = Parts(hasty).cluster()

    cluster.terminate()

    wait_for(lambda: "cluster ended with 0;" in hasty.output.read_text(), 5, "the exit code")
    for run_id in (short, long):
        run = hasty.run(run_id, wait=20)
        assert run["status"] == "COMPLETED"
        assert run["steps"][0]["deliveries"] == 1


# --- poison --------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", POISON)
def test_poison_is_dead_lettered_after_its_last_delivery_and_harms_no_neighbour(
    installation: Installation, poison: str
):
    bad = installation.start(poison, {"bad": True})
    good = [installation.start(poison, {"bad": False}) for _ in range(30)]

    run = installation.run(bad, wait=30)

    assert run["status"] == "FAILED"
    assert run["steps"][0]["deliveries"] == DELIVERIES
    assert [attempt["outcome"] for attempt in run["steps"][0]["attempts"]] == ["FAILED"] * 3
    assert CAUSES[poison] in run["error"].lower(), run["error"]
    for run_id in good:
        neighbour = installation.run(run_id, wait=30)
        assert neighbour["status"] == "COMPLETED"
        assert neighbour["steps"][0]["deliveries"] == 1
