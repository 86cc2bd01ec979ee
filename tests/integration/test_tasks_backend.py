"""Tasks of Django's tasks framework as runs."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import django
import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.utils import timezone

from flows import engine, public, tasks_backend
from flows.management.commands.qcluster import make_flows_of_tasks
from flows.models import DeadLetter, Flow, Message, Queue, Run
from flows.tasks_backend import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    _priority,
    task_enqueued,
    task_finished,
    task_started,
)
from scripts.models import Script
from tests import project_tasks
from tests.builders import RAISING, make_flow, work
from tests.databases import is_postgresql
from tests.waiting import PATIENCE

if TYPE_CHECKING or django.VERSION < (6, 0):
    from django_tasks.exceptions import TaskResultMismatch
else:
    from django.tasks.exceptions import TaskResultMismatch

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "tests.project_tasks.add"
NAMES = {task_enqueued: "enqueued", task_started: "started", task_finished: "finished"}


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
    assert Flow.objects.count() == 1


def test_a_task_knows_its_result_and_what_it_was_enqueued_with(backend):
    later = timezone.now() + timedelta(hours=1)
    task = project_tasks.attempts.using(priority=-50, queue_name="mail", run_after=later)

    result = worked(task.enqueue(), "letters")

    assert result.return_value == [1, result.id, "mail", -50]
    found = backend.get_result(result.id)
    assert found == result
    assert (found.task.run_after, found.task.func) == (later, project_tasks.attempts.func)


def test_a_result_is_found_by_its_id_and_by_its_own_task_alone(backend):
    result = worked(project_tasks.add.enqueue(3))

    assert backend.get_result(result.id).return_value == 4
    assert project_tasks.add.get_result(result.id) == backend.get_result(result.id)
    with pytest.raises(TaskResultMismatch):
        project_tasks.fail.get_result(result.id)


def test_a_task_that_ends_while_its_result_is_looked_up_has_ended(backend, monkeypatch):
    result = project_tasks.add.enqueue(3)
    read = tasks_backend._status_now

    def end_first(run):
        work("tasks-default")
        return read(run)

    monkeypatch.setattr(tasks_backend, "_status_now", end_first)

    found = backend.get_result(result.id)

    assert (found.status, found.return_value) == (TaskResultStatus.SUCCESSFUL, 4)
    assert found.finished_at is not None


def test_a_dead_letter_of_no_task_costs_one_query(django_assert_num_queries):
    make_flow(codes=[RAISING], max_deliveries=1)
    run = engine.start("flow", {}).correlation_id
    work("flow-0")
    letter = DeadLetter.objects.get()

    with django_assert_num_queries(1):
        tasks_backend.tell_failure(letter.pk, run)


def test_tasks_are_enqueued_and_looked_up_in_asynchronous_code():
    async def enqueue() -> Any:
        result = await project_tasks.add.aenqueue(1, other=5)
        return await project_tasks.add.aget_result(result.id)

    with transaction.atomic():
        undone = async_to_sync(enqueue)()
        transaction.set_rollback(True)
    assert not Run.objects.filter(pk=undone.id).exists()
    result = async_to_sync(enqueue)()

    assert result.status == TaskResultStatus.READY
    work("tasks-default")
    async_to_sync(result.arefresh)()
    assert result.return_value == 6


def test_what_is_not_valid_is_not_enqueued():
    naive = datetime(2100, 1, 1)
    for wrong in ({"queue_name": "unknown"}, {"priority": 101}, {"run_after": naive}):
        with pytest.raises(InvalidTask):
            project_tasks.add.using(**wrong)
    with pytest.raises(TypeError):
        project_tasks.add.enqueue(object())
    assert not Run.objects.exists()
    with pytest.raises(InvalidTask):
        project_tasks.task(lambda: 5)


def test_a_task_that_raises_is_redelivered_and_then_a_dead_letter():
    result = project_tasks.fail.enqueue()
    Queue.objects.update(max_deliveries=2)

    worked(result)
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 1)
    worked(result)

    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 2)
    assert [each.exception_class for each in result.errors] == [ValueError] * 2
    assert DeadLetter.objects.get().run_id == Run.objects.get().pk
    assert worked(project_tasks.refuse.enqueue()).attempts == 1
    ordered = worked(project_tasks.order.enqueue())
    assert ordered.errors[0].exception_class is project_tasks.OutOfStock
    assert "none are left" in ordered.errors[0].traceback


def test_a_task_that_was_repaired_and_reprocessed_succeeds(tmp_path):
    result = project_tasks.fail_until.enqueue(str(tmp_path), "repaired")
    Queue.objects.update(max_deliveries=1)
    worked(result)
    assert result.status == TaskResultStatus.FAILED
    (tmp_path / "repaired").touch()

    public.reprocess(DeadLetter.objects.get().pk)
    assert project_tasks.fail_until.get_result(result.id).status == TaskResultStatus.READY
    worked(result)

    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, "repaired")
    assert result.attempts == 2


def test_a_cancelled_task_has_failed():
    result = project_tasks.add.enqueue(1)

    public.cancel(result.id)
    result.refresh()

    assert (result.status, result.errors) == (TaskResultStatus.FAILED, [])


def test_receivers_are_told_of_tasks_and_harm_none(backend):
    told: list[tuple[str, Any]] = []

    def receive(signal: Any, sender: Any, task_result: Any, **kwargs: Any) -> None:
        told.append((NAMES[signal], task_result.status))
        assert sender is type(backend)
        raise LookupError("a receiver that raises")

    for signal in NAMES:
        signal.connect(receive)
    try:
        good, bad = project_tasks.add.enqueue(1), project_tasks.fail.enqueue()
        Queue.objects.update(max_deliveries=2)
        worked(good)
        Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))
        worked(bad)
    finally:
        for signal in NAMES:
            signal.disconnect(receive)

    assert good.return_value == 2
    assert Counter(told) == {
        ("enqueued", TaskResultStatus.READY): 2,
        ("started", TaskResultStatus.RUNNING): 3,
        ("finished", TaskResultStatus.SUCCESSFUL): 1,
        ("finished", TaskResultStatus.FAILED): 1,
    }


@pytest.mark.skipif(not is_postgresql(), reason="threads share one database in memory")
def test_the_first_tasks_of_a_queue_may_come_from_many_threads_at_once():
    ready = Barrier(4)

    def enqueue(number: int) -> str:
        ready.wait()
        try:
            return project_tasks.add.enqueue(number).id
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(enqueue, range(4)))

    assert Run.objects.filter(pk__in=ids).count() == 4
    assert Flow.objects.get().name == "tasks-default"


def test_a_flow_that_is_made_changes_no_script_and_no_queue_that_is_there():
    project_tasks.add.enqueue(1)
    Script.objects.update(timeout=timedelta(seconds=30))
    Queue.objects.create(name="letters", size=7)

    project_tasks.add.using(queue_name="mail").enqueue(1)

    assert Script.objects.get().timeout == timedelta(seconds=30)
    assert Queue.objects.get(name="letters").size == 7


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
    wrong: list[dict[str, Any]] = [
        *({"task": "tests.project_tasks.no_task"}, {"task": "os.system"}, {"task": 5}, {}),
        *({"task": ADD, "using": using} for using in (5, "x", {"other": 1}, {"run_after": "x"})),
    ]
    for payload in wrong:
        run = public.start("tasks-default", {"args": [], "kwargs": {}} | payload)
        work("tasks-default")
        assert "names no task" in Run.objects.get(pk=run).error
        with pytest.raises(TaskResultDoesNotExist):
            backend.get_result(str(run))
    for unknown in ("nothing", "0190b7a6-0000-7000-8000-000000000000"):
        with pytest.raises(TaskResultDoesNotExist):
            backend.get_result(unknown)
    assert list(backend.check()) == []
    # One of before, whose queue is no longer in the settings.
    old = {"task": ADD, "args": [5], "kwargs": {}, "using": {"queue_name": "gone"}}
    assert worked(backend.get_result(str(public.start("tasks-default", old)))).return_value == 6
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.project_tasks"]
    assert [each.id for each in backend.check()] == ["flows.E013"]
    result.refresh()
    assert result.return_value == 2


def configure_meanwhile() -> None:
    try:
        tasks_backend.make_flow("made meanwhile")
    finally:
        connection.close()


def test_a_cluster_makes_the_flows_so_that_a_first_task_locks_no_configuration():
    make_flows_of_tasks()

    assert set(Flow.objects.values_list("name", flat=True)) == {"tasks-default", "letters"}
    with transaction.atomic():
        project_tasks.add.enqueue(1)
        if is_postgresql():
            with ThreadPoolExecutor(1) as other:
                other.submit(configure_meanwhile).result(PATIENCE)
            assert Flow.objects.filter(name="made meanwhile").exists()
    make_flows_of_tasks()
    assert Flow.objects.filter(name__in=("tasks-default", "letters")).count() == 2


def test_a_cluster_whose_project_has_no_such_tasks_makes_no_flow(settings):
    settings.TASKS = {}

    make_flows_of_tasks()

    assert not Flow.objects.exists()


def test_a_flow_that_cannot_be_made_keeps_no_cluster_from_starting(settings, caplog):
    settings.ASYNCENGINE_CALLABLE_MODULES = []

    make_flows_of_tasks()

    assert "are made with their first task" in caplog.text
