"""django-q2's own tasks beside flows, on clusters as users run them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import psutil
import pytest

from tests.acceptance.children import by_age, children, command_line
from tests.acceptance.installation import ROOT, Installation
from tests.acceptance.processes import await_completion, found, step
from tests.acceptance.project_process import ProjectProcess, project_process
from tests.databases import migrated_database
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.long

CONFIGURATION = {
    "scripts": [{"name": "pass", "code": "def run(message, context):\n    return message\n"}],
    "queues": [{"name": name} for name in ("only", "q0", "q1", "q2")],
    "flows": [
        {"name": "trivial", "steps": [step("s0", "pass", "only")]},
        {"name": "three", "steps": [step(f"s{n}", "pass", f"q{n}") for n in range(3)]},
    ],
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A database with a flow, of a project that has tasks of its own."""
    directory = tmp_path_factory.mktemp("installation")
    with migrated_database(directory) as url:
        installation = Installation(url, directory)
        installation.environment["ASYNCENGINE_CALLABLE_MODULES"] = "tests.tasks"
        installation.configure(CONFIGURATION)
        yield installation
        installation.http.close()


@pytest.fixture(scope="module")
def process(installed: Installation) -> Iterator[ProjectProcess]:
    with project_process(installed) as process:
        yield process


@pytest.fixture
def project(installed: Installation, process: ProjectProcess, tmp_path: Path) -> Iterator[Project]:
    """Each test starts the clusters that it needs."""
    project = Project(installed, process, tmp_path)
    try:
        yield project
    finally:
        # Shown where the test fails.
        print(project.clusters_log())
        print(*installed.rows("SELECT id, key, lock FROM django_q_ormq"), sep="\n")
        project.release()
        project.stop()


class Project:
    def __init__(
        self, installation: Installation, process: ProjectProcess, directory: Path
    ) -> None:
        self.installation = installation
        self.process = process
        self.directory = directory
        self.clusters: list[subprocess.Popen[bytes]] = []
        # What a worker held that an earlier test has killed.
        self.left_over = self.queued()

    def start_cluster(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
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
        return process

    def stop(self) -> None:
        for process in self.clusters:
            if process.poll() is None:
                process.terminate()
        for process in self.clusters:
            assert process.wait(PATIENCE) == 0

    def clusters_log(self) -> str:
        log = self.directory / "clusters.log"
        return log.read_text() if log.exists() else "no cluster was started"

    def release(self) -> None:
        (self.directory / "released").touch()

    def shell(self, code: str) -> str:
        """Run code of the project's own, as one of its views would."""
        imports = (
            "from django.utils import timezone\nfrom django_q.models import *\n"
            "from django_q.tasks import *\n"
            f"from flows import public\nhere = {str(self.directory)!r}\n"
        )
        return self.process.run(imports + code)

    def queue_held(self, count: int, **options: Any) -> None:
        """Queue tasks that keep their workers until they are released; wait for the first."""
        self.shell(
            f"for n in range({count}):\n"
            f"    async_task('tests.tasks.hold', here, f'held{{n}}', **{options!r})\n"
        )
        wait_for(lambda: self.marks("*.began"), PATIENCE, "a task that has begun")

    def marks(self, pattern: str) -> list[str]:
        return sorted(path.name for path in self.directory.glob(pattern))

    def run_flow(self) -> str:
        """Start the trivial flow and return the state in which it ends."""
        run_id = self.shell("print(public.start('trivial', {}))")
        await_completion(self.installation, run_id, PATIENCE)
        return self.shell(f"print(public.status('{run_id}'))")

    def waiting_messages(self, queue: str) -> int:
        [(count,)] = self.installation.rows(
            "SELECT COUNT(*) FROM flows_message m JOIN flows_queue q ON q.id = m.queue_id"
            f" WHERE q.name = '{queue}'"
        )
        return count

    def queued(self) -> set[int]:
        return {pk for (pk,) in self.installation.rows("SELECT id FROM django_q_ormq")}

    def has_attempts(self, task: str, count: int) -> bool:
        found = self.installation.rows(
            f"SELECT attempt_count FROM django_q_task WHERE id = '{task}'"
        )
        return found == [(count,)]

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
    assert project.marks("*") == ["clusters.log", "held0.began", "held1.began"]


def test_a_purge_runs_while_tasks_keep_every_worker_for_tasks(project: Project):
    project.start_cluster(ASYNCENGINE_WORKERS="1")
    project.queue_held(3)

    shown = project.shell(
        f"print(fetch(async_task('flows.tasks.retention.purge'), wait={PATIENCE * 1000}).success)"
    )

    assert shown == "True"
    assert project.marks("*.ended") == []


@pytest.mark.parametrize("victim", ["idle", "busy"])
def test_tasks_and_flows_go_on_though_the_worker_for_tasks_is_killed(project: Project, victim: str):
    cluster = project.start_cluster(ASYNCENGINE_WORKERS="1")
    if victim == "busy":
        project.queue_held(1)
    worker = found(lambda: workers_of(psutil.Process(cluster.pid))[-1])

    worker.kill()

    project.shell("async_task('tests.tasks.mark', here, 'after')")
    state = project.run_flow()
    wait_for(lambda: project.marks("after.ended"), PATIENCE, "a task after the kill")
    assert state == "COMPLETED"
    # The one that was killed has left nothing but its beginning.
    assert project.marks("held*") == (["held0.began"] if victim == "busy" else [])


# What would end a worker, and what is told of it.
ENDING = {
    "'tests.tasks.exit_with', 3": "The task raised SystemExit(3)",
    "'tests.tasks.exit_with', None": "The task raised SystemExit()",
    "'tests.tasks.raise_what_ends_a_process', 'KeyboardInterrupt'": "KeyboardInterrupt",
    "'tests.tasks.raise_what_ends_a_process', 'GeneratorExit'": "GeneratorExit",
    "'tests.tasks.lock'": "its result cannot be stored: TypeError: cannot pickle",
    "'tests.tasks.numbers'": "its result cannot be stored: TypeError: cannot pickle",
    "'tests.tasks.unreadable'": "its result cannot be stored: ValueError",
    "'tests.tasks.keep_a_lock', []": "its arguments cannot be stored: TypeError",
    "'tests.tasks.die_by', 9": "Its worker died while it ran: it was killed by SIGKILL.",
    "'tests.tasks.die_by', 11": "Its worker died while it ran: it was killed by SIGSEGV.",
    "'tests.tasks.leave_without_a_word', 0": "it exited with 0.",
    "'tests.tasks.leave_without_a_word', 7": "it exited with 7.",
    "'tests.tasks.outlive_the_time_limit', here, timeout=1": "did not end at its time limit",
}


def test_tasks_that_would_end_their_worker_are_failures_with_their_causes(project: Project):
    project.start_cluster(ASYNCENGINE_WORKERS="1")

    shown = {}
    for number, task in enumerate(ENDING):
        shown[task] = project.shell(
            f"found = fetch(async_task({task}), wait={PATIENCE * 1000})\n"
            "print(found.success, found.attempt_count, found.result)\n"
            f"async_task('tests.tasks.mark', here, 'after{number}')"
        )
        wait_for(partial(project.marks, f"after{number}.ended"), PATIENCE, "the next task")

    assert [text for text in shown.values() if not text.startswith("False 1 ")] == []
    assert {task: text for task, text in shown.items() if ENDING[task] not in text} == {}


def test_a_task_that_kills_its_worker_is_tried_as_often_as_others_that_fail(project: Project):
    cluster = project.start_cluster(ASYNCENGINE_WORKERS="1")
    name = project.shell("print(async_task('tests.tasks.die_by', 9))")
    for attempt in range(1, 6):
        attempted = partial(project.has_attempts, name, attempt)
        wait_for(attempted, PATIENCE, f"attempt {attempt}")
        project.shell("OrmQ.objects.update(lock=timezone.now())")

    wait_for(lambda: project.unfinished_tasks() == 0, PATIENCE, "the end of the attempts")
    assert cluster.poll() is None


def test_a_hook_that_exits_leaves_its_task_done(project: Project):
    project.start_cluster(ASYNCENGINE_WORKERS="1")

    project.shell(
        "async_task('tests.tasks.mark', here, 'task', task_name='t',"
        " hook='tests.tasks.exit_by_hook')"
    )

    wait_for(lambda: project.marks("hook-of-t"), PATIENCE, "the hook")
    wait_for(lambda: project.unfinished_tasks() == 0, PATIENCE, "the end of the task")
    rows = project.installation.rows("SELECT success FROM django_q_task WHERE name = 't'")
    assert [bool(success) for (success,) in rows] == [True]


def test_a_cluster_that_runs_once_ends_though_a_task_kills_its_worker(project: Project):
    project.shell("async_task('tests.tasks.die_by', 9, task_name='lost')")

    cluster = project.start_cluster("--run-once", ASYNCENGINE_WORKERS="1")

    assert cluster.wait(PATIENCE) == 0
    assert project.installation.rows(
        "SELECT attempt_count FROM django_q_task WHERE name = 'lost'"
    ) == [(1,)]


def test_a_cluster_that_runs_once_ends_when_neither_flows_nor_tasks_are_left(project: Project):
    project.shell(
        "from datetime import timedelta\n"
        "now = timezone.now()\n"
        "public.start_many('three', [{}] * 50)\n"
        "public.start('three', {}, start_at=now + timedelta(days=1))\n"
        "mark = 'tests.tasks.mark'\n"
        "Chain([(mark, (here, 'first')), (mark, (here, 'second'))]).run()\n"
        "schedule(mark, here, 'scheduled', next_run=now)\n"
    )

    cluster = project.start_cluster("--run-once", ASYNCENGINE_WORKERS="1")

    assert cluster.wait(PATIENCE) == 0
    assert project.installation.rows(
        "SELECT status, COUNT(*) FROM flows_run GROUP BY status ORDER BY status"
    )[:2] == [("COMPLETED", ANY), ("QUEUED", 1)]
    assert project.marks("*.ended") == ["first.ended", "scheduled.ended", "second.ended"]
    assert project.unfinished_tasks() == 0


def test_a_cluster_that_runs_once_with_nothing_to_do_ends(project: Project):
    cluster = project.start_cluster("--run-once")

    assert cluster.wait(PATIENCE) == 0


def test_a_named_cluster_has_a_list_of_tasks_of_its_own_and_works_on_flows(project: Project):
    project.shell(
        "async_task('tests.tasks.mark', here, 'of-reports', cluster='reports')\n"
        "async_task('tests.tasks.mark', here, 'of-all')\n"
        "public.start('trivial', {})"
    )

    named = project.start_cluster("-n", "reports", "--run-once", ASYNCENGINE_WORKERS="1")
    assert named.wait(PATIENCE) == 0

    assert project.marks("*.ended") == ["of-reports.ended"]
    assert project.waiting_messages("only") == 0

    plain = project.start_cluster("--run-once", ASYNCENGINE_WORKERS="1")
    assert plain.wait(PATIENCE) == 0
    assert project.marks("*.ended") == ["of-all.ended", "of-reports.ended"]


def test_a_cluster_for_tasks_alone_leaves_flows_to_others(project: Project):
    project.shell("public.start('trivial', {})\nasync_task('tests.tasks.mark', here, 'only')")

    alone = project.start_cluster(
        "--run-once", ASYNCENGINE_WORKERS="0", ASYNCENGINE_TASK_WORKERS="1"
    )
    assert alone.wait(PATIENCE) == 0

    assert project.marks("*.ended") == ["only.ended"]
    assert project.waiting_messages("only") == 1
    assert project.start_cluster("--run-once").wait(PATIENCE) == 0
    assert project.waiting_messages("only") == 0


def test_a_cluster_for_tasks_alone_starts_no_process_for_scripts(project: Project):
    project.shell("async_task('tests.tasks.mark', here, 'task')")
    alone = project.start_cluster(ASYNCENGINE_WORKERS="0", ASYNCENGINE_TASK_WORKERS="1")

    wait_for(lambda: project.marks("task.ended"), what="the task")

    processes = psutil.Process(alone.pid).children(recursive=True)
    assert not [each for each in processes if "-I" in command_line(each)]
    alone.send_signal(signal.SIGTERM)
    assert alone.wait(PATIENCE) == 0


def test_a_cluster_without_any_worker_is_refused(project: Project):
    project.installation.environment |= {
        "ASYNCENGINE_WORKERS": "0",
        "ASYNCENGINE_TASK_WORKERS": "0",
    }
    try:
        refused = project.installation.manage("qcluster", check=False)
    finally:
        project.installation.environment["ASYNCENGINE_WORKERS"] = "2"
        del project.installation.environment["ASYNCENGINE_TASK_WORKERS"]

    assert refused.returncode == 1
    assert "There is no worker" in refused.stderr


def workers_of(cluster: psutil.Process) -> list[psutil.Process]:
    """The cluster's three workers: for flows, for the engine's own tasks, for tasks."""
    # The zygote of script hosts stands beside the sentinel.
    sentinels = [each for each in children(cluster) if "-I" not in command_line(each)]
    processes = [process for sentinel in sentinels for process in children(sentinel)]
    # Behind them, monitor and pusher.
    is_complete = len(processes) == 5
    return by_age(processes)[:3] if is_complete else []
