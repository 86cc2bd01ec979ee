"""Tasks of Django's tasks framework on clusters, as a project enqueues and awaits them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import ROOT, Installation
from tests.acceptance.project_process import ProjectProcess, project_process
from tests.databases import migrated_database
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.long

IMPORTS = """
import asyncio, json
from datetime import timedelta
from django.db import transaction
from django.utils import timezone
from flows import public
from flows.models import DeadLetter, Queue, Step
from flows.tasks_backend import FlowsBackend, TaskResultDoesNotExist
from tests import project_tasks as tasks

backend = tasks.add.get_backend()
"""
SHOWN = """
found = backend.get_result({id!r})
print(json.dumps({{
    "status": found.status,
    "attempts": found.attempts,
    "errors": [each.exception_class_path for each in found.errors],
    "returned": found.return_value if found.status == "SUCCESSFUL" else None,
}}))
"""


class Project:
    def __init__(self, process: ProjectProcess, directory: Path) -> None:
        self.process, self.directory = process, directory

    def shell(self, code: str) -> str:
        return self.process.run(f"{IMPORTS}here = {str(self.directory)!r}\n{code}")

    def result(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.shell(SHOWN.format(id=id)))
        return found

    def finished(self, id: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            found = self.result(id)
            return found if found["status"] in {"SUCCESSFUL", "FAILED"} else None

        return wait_for(ended, PATIENCE, f"the end of {id}")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("installation")
    with migrated_database(directory) as url:
        installation = Installation(url, directory)
        installation.environment["DJANGO_SETTINGS_MODULE"] = "tests.acceptance.tasks_settings"
        yield installation
        installation.http.close()


@pytest.fixture
def project(installation: Installation, tmp_path: Path) -> Iterator[Project]:
    with project_process(installation) as process:
        yield Project(process, tmp_path)


@pytest.fixture
def cluster(installation: Installation) -> Iterator[None]:
    with (installation.directory / "cluster.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "qcluster"],
            cwd=ROOT,
            env=installation.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_tasks_run_that_were_committed_by_views_and_by_asynchronous_code(project, cluster):
    committed, undone, later = project.shell(
        "with transaction.atomic():\n"
        "    committed = tasks.mark.using(queue_name='mail').enqueue(here, 'committed')\n"
        "try:\n"
        "    with transaction.atomic():\n"
        "        undone = tasks.mark.enqueue(here, 'undone')\n"
        "        raise LookupError\n"
        "except LookupError:\n"
        "    later = asyncio.run(tasks.add_later.aenqueue(2, other=3))\n"
        "print(committed.id, undone.id, later.id)"
    ).split()

    assert project.finished(committed)["returned"] == "committed"
    assert project.finished(later)["returned"] == 5
    missing = f"try: backend.get_result({undone!r})\nexcept TaskResultDoesNotExist: print('none')"
    assert project.shell(missing) == "none"
    assert not (project.directory / "undone").exists()


def test_a_task_goes_on_after_errors_and_after_the_death_of_its_worker(project, cluster):
    failing, dying = project.shell(
        "print(tasks.fail_until.enqueue(here, 'released').id, tasks.die_once.enqueue(here).id)"
    ).split()
    wait_for(lambda: project.result(failing)["errors"], PATIENCE, "an attempt that failed")
    assert project.result(failing)["status"] in {"READY", "RUNNING"}

    (project.directory / "released").touch()

    assert project.finished(dying)["returned"] == "alive"
    ended = project.finished(failing)
    assert ended["returned"] == "released"
    assert set(ended["errors"]) == {"tests.project_tasks.OutOfStock"}
    assert ended["attempts"] == len(ended["errors"]) + 1


def test_a_task_that_always_fails_is_a_dead_letter_which_is_reprocessed(project, cluster):
    task = project.shell(
        "tasks.add.enqueue(1)\n"
        "Queue.objects.filter(name='tasks-default').update(max_deliveries=1)\n"
        "print(tasks.fail_until.enqueue(here, 'repaired').id)"
    )

    assert project.finished(task)["status"] == "FAILED"

    (project.directory / "repaired").touch()
    project.shell(f"public.reprocess(DeadLetter.objects.get(run={task!r}).pk)")
    assert project.finished(task) == {
        "status": "SUCCESSFUL",
        "attempts": 2,
        "errors": ["tests.project_tasks.OutOfStock"],
        "returned": "repaired",
    }


def test_tasks_wait_for_their_time_and_run_by_their_priority(project, installation):
    """One thread, and a cluster that comes when all of them wait."""
    low, high, later = project.shell(
        "mark = tasks.mark.using(queue_name='mail', priority=100)\n"
        "low = mark.using(priority=-100).enqueue(here, 'low')\n"
        "Step.objects.filter(flow__name='letters').update(threads=1)\n"
        "high = mark.enqueue(here, 'high')\n"
        "tomorrow = timezone.now() + timedelta(days=1)\n"
        "later = mark.using(run_after=tomorrow).enqueue(here, 'later')\n"
        "print(low.id, high.id, later.id)"
    ).split()

    installation.manage("qcluster", "--run-once")

    started = project.shell(
        f"print([backend.get_result(id).started_at for id in {[high, low]!r}] == sorted("
        f"backend.get_result(id).started_at for id in {[low, high]!r}))"
    )
    assert started == "True"
    assert project.result(later)["status"] == "READY"
    assert not (project.directory / "later").exists()
