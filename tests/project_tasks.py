"""Tasks of Django's tasks framework, as a project has them."""

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
    return [context.attempt, context.task_result.id]


@task
def fail() -> None:
    raise ValueError("no")


@task
def refuse() -> None:
    raise Reject("never")


def no_task() -> None: ...
