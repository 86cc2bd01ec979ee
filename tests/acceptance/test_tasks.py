"""django-q2's own tasks beside flows, on clusters as users run them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.acceptance.installation import ROOT, Installation, children
from tests.acceptance.test_kills import await_completion, found, step
from tests.databases import fresh_database
from tests.waiting import PATIENCE, wait_for

CONFIGURATION = {
    "scripts": [{"name": "pass", "code": "def run(message, context):\n    return message\n"}],
    "queues": [{"name": "only"}],
    "flows": [{"name": "trivial", "steps": [step("s0", "pass", "only")]}],
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A database with a flow, of a project that has tasks of its own."""
    directory = tmp_path_factory.mktemp("installation")
    with fresh_database(directory) as url:
        installation = Installation(url, directory)
        installation.environment["ASYNCENGINE_CALLABLE_MODULES"] = "tests.tasks"
        installation.manage("migrate", "-v0")
        installation.configure(CONFIGURATION)
        yield installation
        installation.http.close()


@pytest.fixture
def project(installed: Installation, tmp_path: Path) -> Iterator[Project]:
    """Each test starts the clusters that it needs."""
    project = Project(installed, tmp_path)
    try:
        yield project
    finally:
        project.release()
        project.stop()


class Project:
    def __init__(self, installation: Installation, directory: Path) -> None:
        self.installation = installation
        self.directory = directory
        self.clusters: list[subprocess.Popen[bytes]] = []
        # What a worker held that an earlier test has killed.
        self.left_over = self.queued()

    def start_cluster(self, *options: str, **environment: str) -> psutil.Process:
        with (self.directory / "clusters.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "qcluster", *options],
                cwd=ROOT,
                env=self.installation.environment | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.clusters.append(process)
        return psutil.Process(process.pid)

    def stop(self) -> None:
        for process in self.clusters:
            process.terminate()
        for process in self.clusters:
            assert process.wait(PATIENCE) == 0

    def release(self) -> None:
        (self.directory / "released").touch()

    def shell(self, code: str) -> str:
        """Run code of the project's own, as one of its views would."""
        imports = (
            "from django_q.models import *\nfrom django_q.tasks import *\n"
            f"from flows import public\nhere = {str(self.directory)!r}\n"
        )
        return self.installation.manage("shell", "-v0", "-c", imports + code).stdout.strip()

    def queue_held(self, count: int, **options: Any) -> None:
        """Queue tasks that keep their workers until they are released; wait for the first."""
        self.shell(
            f"for n in range({count}):\n"
            f"    async_task('tests.tasks.hold', here, f'held{{n}}', **{options!r})\n"
        )
        wait_for(lambda: self.marks("*.began"), PATIENCE, "a task that has begun")

    def marks(self, pattern: str) -> list[str]:
        return sorted(path.name for path in self.directory.glob(pattern))

    def run_flow(self) -> None:
        """Start the trivial flow and wait for its end."""
        run_id = self.shell("print(public.start('trivial', {}))")
        await_completion(self.installation, run_id, PATIENCE)

    def queued(self) -> set[int]:
        return {pk for (pk,) in self.installation.rows("SELECT id FROM django_q_ormq")}

    def unfinished_tasks(self) -> int:
        return len(self.queued() - self.left_over)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_flow_ends_while_twenty_tasks_still_run_or_wait(project: Project, workers: str):
    project.start_cluster(ASYNCENGINE_WORKERS=workers)
    project.queue_held(20)

    project.run_flow()

    assert project.marks("*.ended") == []
    assert project.unfinished_tasks() == 20
    project.release()
    wait_for(lambda: project.unfinished_tasks() == 0, PATIENCE, "the end of the tasks")
    assert len(project.marks("*.ended")) == 20


def test_no_more_tasks_run_at_once_than_there_are_workers_for_them(project: Project):
    project.start_cluster(ASYNCENGINE_WORKERS="1", ASYNCENGINE_TASK_WORKERS="2")
    project.queue_held(5)
    wait_for(lambda: len(project.marks("*.began")) == 2, PATIENCE, "two tasks")

    project.run_flow()

    assert len(project.marks("*.began")) == 2


def test_a_task_that_waits_is_run_by_a_cluster_that_comes_later(project: Project):
    project.start_cluster(ASYNCENGINE_WORKERS="1")
    project.queue_held(2)

    project.start_cluster(ASYNCENGINE_WORKERS="1")

    wait_for(lambda: len(project.marks("*.began")) == 2, PATIENCE, "the second task")


def test_a_purge_runs_while_tasks_keep_every_worker_for_tasks(project: Project):
    project.start_cluster(ASYNCENGINE_WORKERS="1")
    project.queue_held(3)

    shown = project.shell(
        f"print(fetch(async_task('flows.retention.purge'), wait={PATIENCE * 1000}).success)"
    )

    assert shown == "True"
    assert project.marks("*.ended") == []


@pytest.mark.parametrize("victim", ["idle", "busy"])
def test_tasks_and_flows_go_on_though_the_worker_for_tasks_is_killed(project: Project, victim: str):
    cluster = project.start_cluster(ASYNCENGINE_WORKERS="1")
    if victim == "busy":
        project.queue_held(1)
    worker = found(lambda: workers_of(cluster)[-1])

    worker.kill()

    project.shell("async_task('tests.tasks.mark', here, 'after')")
    project.run_flow()
    wait_for(lambda: project.marks("after.ended"), PATIENCE, "a task after the kill")


def workers_of(cluster: psutil.Process) -> list[psutil.Process]:
    """The cluster's three workers: for flows, for the engine's own tasks, for tasks."""
    processes = [process for sentinel in children(cluster) for process in children(sentinel)]
    # Behind them, monitor and pusher.
    is_complete = len(processes) == 5
    return sorted(processes, key=lambda process: process.pid)[:3] if is_complete else []
