"""Which functions django-q2 may run: the engine's own, and those of the allowed modules.

A task, a hook and a schedule name their function by a dotted path, and the path comes from a form
or from a row. So each is checked before its module is imported: when a task is queued, when the
broker takes it from the database, and before a hook runs. A task that may not run is not dropped:
it fails, with the reason, and stands among the failed tasks.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any

from django.db.models.signals import post_save
from django.utils import timezone
from django_q.models import Task
from django_q.signals import call_hook, pre_enqueue
from django_q.signing import SignedPackage
from django_q.utils import get_func_repr

from scripts.dotted_path import allowed_function
from scripts.protocol.errors import ScriptInvalid

logger = logging.getLogger(__name__)

ENGINE_TASKS = frozenset(
    {
        "flows.tasks.alerts.evaluate",
        "flows.tasks.cancelling.go_on",
        "flows.tasks.conservation.check_and_store",
        "flows.tasks.deadlines.cancel_overdue",
        "flows.tasks.erasing.erase_archive",
        "flows.tasks.erasing.go_on",
        "flows.tasks.flow_schedules.start_due",
        "flows.tasks.reprocessing.advance",
        "flows.tasks.retention.purge",
        "flows.tasks.run_texts.gather",
        "flows.tasks.upgrading.go_on",
        "flows.tasks.webhooks.send",
    }
)
# It takes a worker for tasks, as a project's own would.
BENCH_TASK = "flows.benchmark.long_task.long_task"
REFUSE = "flows.tasks.allowed_tasks.refuse"
# Where functions are that have moved. Tasks that an older version has queued, and schedules of a
# database that is restored, name them by their old paths. To be removed with version 2.
MOVED = {
    "flows.allowed_tasks.refuse": REFUSE,
    "flows.bench.long_task": BENCH_TASK,
    "flows.benchmark.long_task": BENCH_TASK,
    "flows.reprocessing.advance": "flows.tasks.reprocessing.advance",
    "flows.retention.purge": "flows.tasks.retention.purge",
}


class TaskRefused(Exception):
    """The function of a task is neither the engine's own nor in an allowed module."""


def is_of_engine(package: str) -> bool:
    """Tell whether a package that is being queued is a task of the engine's own."""
    return SignedPackage.loads(package)["func"] in ENGINE_TASKS


def task_fault(path: str) -> str:
    """Say why no task may run the function at a dotted path, "" where one may."""
    path = MOVED.get(path, path)
    if path in ENGINE_TASKS or path == BENCH_TASK:
        return ""
    if path != path.strip():
        return "A dotted path has no spaces around it."
    try:
        allowed_function(path)
    except ScriptInvalid as error:
        return str(error)
    return ""


def refuse(path: str, reason: str) -> None:
    """Fail in the place of a task that may not run."""
    raise TaskRefused(f"{path} was not run: {reason}")


def connect() -> None:
    pre_enqueue.connect(check_queued, dispatch_uid="allowed-tasks")
    post_save.disconnect(call_hook, sender=Task)
    post_save.connect(call_allowed_hook, sender=Task, dispatch_uid="allowed-hooks")


def check_queued(task: dict[str, Any], **kwargs: Any) -> None:
    """Check a task that is being queued; its functions become dotted paths."""
    for name in ("func", "hook"):
        if callable(task.get(name)):
            task[name] = get_func_repr(task[name])
    if "chain" in task:
        task["chain"] = [_link_by_path(link) for link in task["chain"] or []]
    _follow_moves(task)
    _check(task)


def checked_package(package: str) -> str:
    """Return the package of a row as it may run: itself, or one that fails with the reason."""
    try:
        task = SignedPackage.loads(package)
    except Exception as error:
        # A wrong signature, or a pickle that is no plain data.
        logger.error("a queued task was refused: it cannot be read: %s", error)
        unreadable = {"id": uuid.uuid4().hex, "name": "unreadable", "started": timezone.now()}
        return SignedPackage.dumps(_refusal(unreadable, "A queued task", str(error)))
    has_changed = _follow_moves(task)
    has_changed = _check(task) or has_changed
    return SignedPackage.dumps(task) if has_changed else package


def call_allowed_hook(sender: Any, instance: Task, **kwargs: Any) -> None:
    if not instance.hook:
        return
    if fault := task_fault(str(instance.hook)):
        logger.error("the hook %r of task %s was not run: %s", instance.hook, instance, fault)
        return
    try:
        call_hook(sender, instance, **kwargs)
    except SystemExit as error:
        # It would end the process that stores results, before the task is taken off its list.
        logger.error("the hook %r of task %s raised %r", instance.hook, instance, error)


def _follow_moves(task: dict[str, Any]) -> bool:
    """Name the functions of a task by where they are now; return whether any has moved."""
    paths = {name: _current(task[name]) for name in ("func", "hook") if task.get(name)}
    if task.get("chain"):
        paths["chain"] = [_current_link(link) for link in task["chain"]]
    has_changed = any(task[name] != path for name, path in paths.items())
    task.update(paths)
    return has_changed


def _current_link(link: Any) -> Any:
    is_call = isinstance(link, tuple) and link
    return (_current(link[0]), *link[1:]) if is_call else _current(link)


def _current(path: Any) -> Any:
    return MOVED.get(path, path) if isinstance(path, str) else path


def _check(task: dict[str, Any]) -> bool:
    """Turn the task into a refusal where any function of it may not run; return whether so."""
    for path in _paths(task):
        if fault := task_fault(path):
            logger.error("the task %s was refused: %s: %s", task.get("name"), path, fault)
            refusal = _refusal(task, path, fault)
            task.clear()
            task.update(refusal)
            return True
    return False


def _paths(task: dict[str, Any]) -> list[str]:
    if task["func"] == REFUSE:
        return []
    hook = [task["hook"]] if task.get("hook") else []
    links = [link[0] if isinstance(link, tuple) else link for link in task.get("chain") or []]
    return [str(path) for path in (task["func"], *hook, *links)]


def _refusal(task: dict[str, Any], path: str, fault: str) -> dict[str, Any]:
    kept = {key: task[key] for key in ("id", "name", "group", "started", "sync") if key in task}
    told = {"func": REFUSE, "args": (path, fault), "kwargs": {}}
    # It would fail again and again.
    return kept | told | {"ack_failure": True}


def _link_by_path(link: Any) -> Any:
    if isinstance(link, tuple | list):
        return (_link_by_path(link[0]), *link[1:])
    return get_func_repr(link) if callable(link) else link
