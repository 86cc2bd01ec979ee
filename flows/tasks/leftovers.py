"""What a task of the project leaves behind in its worker, put right before the next task begins.

Workers for tasks never work on flows, but a task meets what the one before it has left: a
transaction that is open, where all it writes is lost without a word, or another search path.
"""

from __future__ import annotations

import decimal
from typing import Any

from django.urls import clear_script_prefix, set_urlconf
from django.utils import timezone, translation
from django_q.signals import pre_execute
from django_q.utils import get_func_repr

from flows.tasks.allowed_tasks import ENGINE_TASKS
from scripts.callables.leftovers import put_connections_right

# They leave nothing behind, and sessions begin often.
OWN = ENGINE_TASKS | {"flows.worker.worker.consume", "flows.worker.worker.take_offer"}

# Of the worker, as it was before the task of a project that has begun last; None: none has.
_decimals: decimal.Context | None = None


def connect() -> None:
    pre_execute.connect(before_task, dispatch_uid="task-leftovers")


def before_task(task: dict[str, Any], **kwargs: Any) -> None:
    """Put right what the last task of this process has left; django-q2 calls it before each."""
    global _decimals
    if task.get("sync"):
        # It runs within the caller, whose connections these are.
        return
    if _decimals is not None:
        put_connections_right()
        decimal.setcontext(_decimals)
        translation.deactivate()
        timezone.deactivate()
        set_urlconf(None)
        clear_script_prefix()
    _decimals = None if get_func_repr(task["func"]) in OWN else decimal.getcontext().copy()
