"""A backend of Django's tasks framework: a task that is enqueued is a run of a flow of one step.

    TASKS = {"default": {"BACKEND": "flows.tasks_backend.FlowsBackend", "QUEUES": ["default"]}}

From Django 6.0 on the framework is `django.tasks`, before that `django-tasks`.
"""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import django
from django.core import checks
from django.core.exceptions import ValidationError
from django.utils import timezone

from flows import public
from flows.configuration import import_configuration
from flows.message.error_class import naming_line
from flows.models import Flow, Run
from flows.models.message import HIGHEST_PRIORITY
from flows.monitoring.run_story import first_step, payload_at
from flows.processes import this_machine
from scripts.dotted_path import allowed_member, callable_fault
from scripts.protocol.errors import ScriptInvalid

if TYPE_CHECKING or django.VERSION < (6, 0):
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import Task, TaskContext, TaskError, TaskResult, TaskResultStatus
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started
else:
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskContext, TaskError, TaskResult, TaskResultStatus
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started

RUN_TASK = f"{__name__}.run_task"
SCRIPT = "django-task"
# What a flow that is made has for its tasks; its pages change it.
TIMEOUT_SECONDS = 600
STATUSES = {
    Run.Status.QUEUED: TaskResultStatus.READY,
    Run.Status.RUNNING: TaskResultStatus.RUNNING,
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
        result = _result(task, "", self.alias, args, kwargs, enqueued_at=timezone.now())
        payload = {"task": task.module_path, "args": result.args, "kwargs": result.kwargs}
        options = {"priority": _priority(task.priority), "start_at": task.run_after}
        flow = self.flow_of(task.queue_name)
        try:
            run = public.start(flow, payload, **options)
        except public.UnknownFlow:
            make_flow(flow)
            run = public.start(flow, payload, **options)
        object.__setattr__(result, "id", str(run))
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        run = _run(result_id)
        if run is None or (call := _call_of(run)) is None:
            raise TaskResultDoesNotExist(result_id)
        attempts = list(run.step_runs.order_by("started_at"))
        result = _result(
            _task_at(call["task"]),
            str(run.pk),
            self.alias,
            call["args"],
            call["kwargs"],
            status=STATUSES[Run.Status(run.status)],
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
        task = _task_at(call["task"])
    except (ScriptInvalid, KeyError, TypeError) as error:
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
    task_started.send(backend, task_result=result)
    first = [TaskContext(task_result=result)] if task.takes_context else []
    message["payload"] = {"returned": task.call(*first, *call["args"], **call["kwargs"])}
    object.__setattr__(result, "status", TaskResultStatus.SUCCESSFUL)
    task_finished.send(backend, task_result=result)
    return message


def make_flow(name: str) -> None:
    """Make the flow of a queue of tasks, where it is not there."""
    if Flow.objects.filter(name=name).exists():
        return
    import_configuration(
        {
            "scripts": [
                {
                    "name": SCRIPT,
                    "language": "callable",
                    "code": RUN_TASK,
                    "timeoutSeconds": TIMEOUT_SECONDS,
                }
            ],
            "queues": [{"name": name}],
            "flows": [
                {
                    "name": name,
                    "description": "Tasks of Django's tasks framework.",
                    "steps": [{"name": "task", "script": SCRIPT, "queue": name, "threads": 4}],
                }
            ],
        }
    )


def _task_at(path: str) -> Any:
    """Return the task at a path. Raises ScriptInvalid."""
    found = allowed_member(path)
    if not isinstance(found, Task) or found.module_path != path:
        raise ScriptInvalid(f"{path} is no task.")
    return found


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
    call = json.loads(payload) if payload else None
    return call if isinstance(call, dict) and {"task", "args", "kwargs"} <= call.keys() else None


def _error(error: str) -> Any:
    name = naming_line(error).partition(":")[0]
    known = isinstance(getattr(builtins, name, None), type)
    path = f"builtins.{name if known else 'Exception'}"
    return TaskError(exception_class_path=path, traceback=error)


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
