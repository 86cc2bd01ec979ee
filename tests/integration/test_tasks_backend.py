"""Tasks of Django's tasks framework as runs."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from flows import public
from flows.models import DeadLetter, Flow, Message, Queue, Run
from flows.tasks_backend import TaskResultDoesNotExist, TaskResultStatus, _priority
from tests import project_tasks
from tests.builders import work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def backend(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["flows.tasks_backend", "tests.project_tasks"]
    settings.TASKS = {
        "default": {
            "BACKEND": "flows.tasks_backend.FlowsBackend",
            "QUEUES": ["default", "mail"],
            "OPTIONS": {"FLOWS": {"mail": "letters"}},
        }
    }
    return project_tasks.add.get_backend()


def worked(result, queue: str = "tasks-default"):
    Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))
    work(queue)
    result.refresh()
    return result


def test_a_task_is_a_run_whose_result_is_that_of_the_task():
    cases: list[tuple[Any, dict[str, int], int]] = [
        (project_tasks.add, {"one": 1}, 2),
        (project_tasks.add_later, {"one": 2, "other": 3}, 5),
    ]
    for task, arguments, returned in cases:
        result = task.enqueue(**arguments)
        assert task.get_result(result.id).status == TaskResultStatus.READY
        assert Run.objects.get(pk=result.id).flow_version.flow_name == "tasks-default"

        worked(result)

        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, returned)
        assert result.attempts == 1
        assert result.enqueued_at <= result.started_at <= result.finished_at
        assert task.get_result(result.id).kwargs == arguments
    result = worked(project_tasks.attempts.enqueue())
    assert result.return_value == [1, result.id]
    assert Flow.objects.count() == 1


def test_a_task_that_raises_is_redelivered_and_then_a_dead_letter():
    result = project_tasks.fail.enqueue()
    Queue.objects.update(max_deliveries=2)

    worked(result)
    assert (result.status, result.attempts) == (TaskResultStatus.RUNNING, 1)
    worked(result)

    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 2)
    assert [each.exception_class for each in result.errors] == [ValueError] * 2
    assert DeadLetter.objects.get().run_id == Run.objects.get().pk
    assert worked(project_tasks.refuse.enqueue()).attempts == 1


def test_a_task_is_enqueued_with_the_transaction_a_priority_a_time_and_a_flow():
    with transaction.atomic():
        project_tasks.add.enqueue(1)
        transaction.set_rollback(True)
    assert not Run.objects.exists()
    later = timezone.now() + timedelta(hours=1)

    project_tasks.add.using(priority=100, run_after=later, queue_name="mail").enqueue(1)

    message = Message.objects.get()
    assert (message.priority, message.queue.name) == (9, "letters")
    assert abs(message.available_at - later) < timedelta(seconds=1)
    assert [_priority(each) for each in (-100, 0, 100)] == [0, 4, 9]


def test_what_is_no_task_is_refused(backend, settings):
    result = project_tasks.add.enqueue(1)
    for payload in ({"task": "tests.project_tasks.no_task"}, {"task": "os.system"}, {}):
        run = public.start("tasks-default", {"args": [], "kwargs": {}} | payload)
        work("tasks-default")
        assert "names no task" in Run.objects.get(pk=run).error
    for unknown in ("nothing", "0190b7a6-0000-7000-8000-000000000000"):
        with pytest.raises(TaskResultDoesNotExist):
            backend.get_result(unknown)
    assert list(backend.check()) == []
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.project_tasks"]
    assert [each.id for each in backend.check()] == ["flows.E013"]
    result.refresh()
    assert result.return_value == 2
