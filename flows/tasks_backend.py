"""A backend of Django's tasks framework: a task that is enqueued is a run of a flow of one step.

    TASKS = {"default": {"BACKEND": "flows.tasks_backend.FlowsBackend", "QUEUES": ["default"]}}

From Django 6.0 on the framework is `django.tasks`, before that `django-tasks`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import django
from django.core import checks
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import transaction
from django.dispatch import receiver
from django.utils import timezone

from flows import public
from flows.configuration import import_configuration
from flows.message.error_class import naming_line
from flows.models import ConfigurationRevision, DeadLetter, Flow, Message, Queue, Run
from flows.models.message import HIGHEST_PRIORITY
from flows.monitoring.run_story import first_step, payload_at
from flows.processes import this_machine
from flows.public import dead_letter_made
from scripts.dotted_path import allowed_member, callable_fault
from scripts.models import Script
from scripts.protocol.errors import ScriptInvalid

if TYPE_CHECKING or django.VERSION < (6, 0):
    from django_tasks import task_backends
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import Task, TaskContext, TaskError, TaskResult, TaskResultStatus
    from django_tasks.exceptions import InvalidTaskError as InvalidTask
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started
else:
    from django.tasks import task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskContext, TaskError, TaskResult, TaskResultStatus
    from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started

RUN_TASK = f"{__name__}.run_task"
SCRIPT = "django-task"
# What a flow that is made has for its tasks; its pages change it.
TIMEOUT_SECONDS = 600
# Of a run that has ended.
STATUSES = {
    Run.Status.COMPLETED: TaskResultStatus.SUCCESSFUL,
    Run.Status.FAILED: TaskResultStatus.FAILED,
    Run.Status.CANCELLED: TaskResultStatus.FAILED,
}


class FlowsBackend(BaseTaskBackend):
    """Starts a run of the flow `tasks-QUEUE`, or of the one that `OPTIONS["FLOWS"]` names."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Store a run with the transaction around it. Raises as `public.start` does."""
        self.validate_task(task)
        result = _result(task, "", self.alias, args, kwargs, enqueued_at=timezone.now())
        payload = {
            "task": task.module_path,
            "args": result.args,
            "kwargs": result.kwargs,
            "using": _using(task),
        }
        options = {"priority": _priority(task.priority), "start_at": task.run_after}
        flow = self.flow_of(task.queue_name)
        try:
            run = public.start(flow, payload, **options)
        except public.UnknownFlow:
            make_flow(flow)
            run = public.start(flow, payload, **options)
        object.__setattr__(result, "id", str(run))
        # A receiver that raises is logged: the run is stored, and a task that ran has run.
        task_enqueued.send_robust(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        run = _run(result_id)
        if run is None or (call := _call_of(run)) is None:
            raise TaskResultDoesNotExist(result_id)
        try:
            task = _task_of(call)
        except ScriptInvalid as error:
            raise TaskResultDoesNotExist(result_id) from error
        status = STATUSES.get(Run.Status(run.status)) or _status_now(run)
        attempts = list(run.step_runs.order_by("started_at"))
        result = _result(
            task,
            str(run.pk),
            self.alias,
            call["args"],
            call["kwargs"],
            status=status,
            enqueued_at=run.created_at,
            started_at=attempts[0].started_at if attempts else run.started_at,
            finished_at=run.finished_at,
            last_attempted_at=attempts[-1].started_at if attempts else run.started_at,
            errors=[_error(each.error) for each in attempts if each.error],
            worker_ids=["flows"] * len(attempts),
        )
        if run.status == Run.Status.COMPLETED:
            returned = json.loads(run.result or "null")["payload"]["returned"]
            object.__setattr__(result, "_return_value", returned)
        return result

    def flow_of(self, queue_name: str) -> str:
        flow: str = self.options.get("FLOWS", {}).get(queue_name, f"tasks-{queue_name}")
        return flow

    def check(self, **kwargs: Any) -> Iterable[checks.CheckMessage]:
        if fault := callable_fault(RUN_TASK):
            yield checks.Error(
                f"No task of the backend {self.alias!r} could run. {fault}",
                hint=f"Add {__name__!r} and the modules of your tasks to"
                " ASYNCENGINE_CALLABLE_MODULES.",
                id="flows.E013",
            )


def run_task(message: Any, context: Any) -> Any:
    """Run a task: the step of a flow of tasks."""
    call = message["payload"]
    try:
        task = _task_of(call)
    except ScriptInvalid as error:
        raise public.Reject(f"The payload names no task: {error}") from error
    result = _result(
        task,
        context.correlation_id,
        task.backend,
        call["args"],
        call["kwargs"],
        status=TaskResultStatus.RUNNING,
        started_at=timezone.now(),
        worker_ids=[f"{this_machine()}:{os.getpid()}"] * context.attempt,
    )
    backend = type(task.get_backend())
    task_started.send_robust(backend, task_result=result)
    first = [TaskContext(task_result=result)] if task.takes_context else []
    message["payload"] = {"returned": task.call(*first, *call["args"], **call["kwargs"])}
    object.__setattr__(result, "status", TaskResultStatus.SUCCESSFUL)
    task_finished.send_robust(backend, task_result=result)
    return message


@receiver(dead_letter_made)
def tell_failure(dead_letter_id: int, correlation_id: Any, **kwargs: Any) -> None:
    """Send `task_finished` of a task that has failed for good."""
    # Most dead letters are of no task: that takes one query.
    if not DeadLetter.objects.filter(
        pk=dead_letter_id, step__script_version__code=RUN_TASK
    ).exists():
        return
    run = _run(correlation_id)
    if run is None or (call := _call_of(run)) is None:
        return
    with suppress(ScriptInvalid, TaskResultDoesNotExist):
        backend = _task_of(call).get_backend()
        if isinstance(backend, FlowsBackend):
            task_finished.send_robust(type(backend), task_result=backend.get_result(str(run.pk)))


def make_flows() -> None:
    """Make the flows of the queues that the settings name for this backend, where they are missing.

    So no transaction that enqueues the first task of a queue holds the lock of the configuration.
    """
    for backend in task_backends.all():
        if isinstance(backend, FlowsBackend):
            for flow in map(backend.flow_of, backend.queues):
                if not Flow.objects.filter(name=flow).exists():
                    make_flow(flow)


def make_flow(name: str) -> None:
    """Make the flow of a queue of tasks, where it is not there. What is there stays as it is."""
    script = {
        "name": SCRIPT,
        "language": "callable",
        "code": RUN_TASK,
        "timeoutSeconds": TIMEOUT_SECONDS,
    }
    flow = {
        "name": name,
        "description": "Tasks of Django's tasks framework.",
        "steps": [{"name": "task", "script": SCRIPT, "queue": name, "threads": 4}],
    }
    with transaction.atomic():
        # Another process may be about to make it.
        ConfigurationRevision.lock()
        if Flow.objects.filter(name=name).exists():
            return
        has_script = Script.objects.filter(name=SCRIPT).exists()
        has_queue = Queue.objects.filter(name=name).exists()
        import_configuration(
            {
                "scripts": [] if has_script else [script],
                "queues": [] if has_queue else [{"name": name}],
                "flows": [flow],
            }
        )


def _task_at(path: str) -> Any:
    """Return the task at a path. Raises ScriptInvalid."""
    found = allowed_member(path)
    if not isinstance(found, Task) or found.module_path != path:
        raise ScriptInvalid(f"{path} is no task.")
    return found


def _task_of(call: Any) -> Any:
    """Return the task of a call, with what it was enqueued with. Raises ScriptInvalid."""
    try:
        task, using = _task_at(call["task"]), {**call.get("using", {})}
        if using.get("run_after"):
            using["run_after"] = datetime.fromisoformat(using["run_after"])
        # Queues and backends of the settings may be others now.
        with suppress(InvalidTask, ImproperlyConfigured):
            return task.using(**using)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ScriptInvalid(f"{type(error).__name__}: {error}") from error
    return task


def _using(task: Any) -> dict[str, Any]:
    return {
        "priority": task.priority,
        "queue_name": task.queue_name,
        "run_after": task.run_after and task.run_after.isoformat(),
        "backend": task.backend,
    }


def _status_now(run: Run) -> Any:
    """Return the status of a run that went on: between two attempts its task is ready again."""
    holders = Message.objects.of_run(run.pk).values_list("consumer", flat=True)
    found = [*holders]
    if not found:
        # It has ended since it was read.
        run.refresh_from_db()
    if status := STATUSES.get(Run.Status(run.status)):
        return status
    return TaskResultStatus.RUNNING if any(found) else TaskResultStatus.READY


def _priority(priority: int) -> int:
    """Return a priority of messages for one of tasks, which are -100 to 100."""
    return round((priority + 100) * HIGHEST_PRIORITY / 200)


def _run(result_id: str) -> Run | None:
    try:
        return Run.objects.select_related("flow_version").filter(pk=result_id).first()
    except (ValueError, TypeError, ValidationError):
        return None


def _call_of(run: Run) -> Any:
    """Return task, args and kwargs; None where the run is of no task, or did not keep them."""
    step = first_step(run)
    payload = payload_at(run, step) if step else None
    if step and payload is None:
        # A commit between its queries may have moved it from the message to the attempt.
        payload = payload_at(run, step)
    call = json.loads(payload) if payload else None
    return call if isinstance(call, dict) and {"task", "args", "kwargs"} <= call.keys() else None


def _error(error: str) -> Any:
    return TaskError(exception_class_path=_class_path(error), traceback=error)


def _class_path(error: str) -> str:
    """Return the path of the exception that an error names, where its module is here."""
    module, _, name = naming_line(error).partition(":")[0].rpartition(".")
    module = module or "builtins"
    found = getattr(sys.modules.get(module), name, None)
    is_exception = isinstance(found, type) and issubclass(found, BaseException)
    return f"{module}.{name}" if is_exception else "builtins.Exception"


def _result(
    task: Any,
    id: str,
    backend: str,
    args: Any,
    kwargs: Any,
    *,
    status: Any = TaskResultStatus.READY,
    enqueued_at: datetime | None = None,
    started_at: datetime | None = None,
    finished_at: datetime | None = None,
    last_attempted_at: datetime | None = None,
    errors: Iterable[Any] = (),
    worker_ids: Iterable[str] = (),
) -> Any:
    return TaskResult(
        task=task,
        id=id,
        status=status,
        enqueued_at=enqueued_at,
        started_at=started_at,
        finished_at=finished_at,
        last_attempted_at=last_attempted_at or started_at,
        args=args,
        kwargs=kwargs,
        backend=backend,
        errors=list(errors),
        worker_ids=list(worker_ids),
    )
