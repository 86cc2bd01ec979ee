"""Tasks of Django's tasks framework, as a project has them."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

from flows.public import Reject

if TYPE_CHECKING or django.VERSION < (6, 0):
    from django_tasks import task
else:
    from django.tasks import task


@task
def add(one: int, other: int = 1) -> int:
    return one + other


@task
async def add_later(one: int, other: int) -> int:
    return one + other


@task(takes_context=True)
def attempts(context: Any) -> list[Any]:
    """Return what the task is told of itself."""
    result = context.task_result
    return [context.attempt, result.id, result.task.queue_name, result.task.priority]


@task
def fail() -> None:
    raise ValueError("no")


class OutOfStock(Exception): ...


@task
def order() -> None:
    raise OutOfStock("none are left")


@task
def now() -> Any:
    return datetime.now(UTC)


@task
def mark(directory: str, name: str) -> str:
    """Leave a mark for each attempt."""
    with (Path(directory) / name).open("a") as file:
        file.write("attempted\n")
    return name


@task
def fail_until(directory: str, name: str) -> str:
    """Fail until the test has made the file of this name."""
    if not (Path(directory) / name).exists():
        raise OutOfStock(name)
    return name


@task
def die_once(directory: str) -> str:
    """Take the worker along at the first attempt."""
    place = Path(directory) / "died"
    if not place.exists():
        place.touch()
        os._exit(1)
    return "alive"


@task
def refuse() -> None:
    raise Reject("never")


def no_task() -> None: ...
