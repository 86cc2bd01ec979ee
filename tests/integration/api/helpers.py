"""What the tests of the API share: a flow, rights, logins, and what a problem looks like."""

from __future__ import annotations

import base64
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client
from django_q.models import OrmQ
from knox.models import AuthToken

from flows.access import audit
from flows.models import Flow, Queue, Right, RoleMapping, Step
from scripts.models import Script

PASSWORD = "correct horse"


def make_loan_flow(
    name: str = "loan", *, steps: int = 2, schema: Any = None, **fields: Any
) -> Flow:
    flow = Flow.objects.create(name=name, **fields)
    for position in range(1, steps + 1):
        script = Script.objects.create(
            name=f"{name} script {position}",
            code="def run(message, context): return message",
            input_schema=(schema or {}) if position == 1 else {},
        )
        queue = Queue.objects.create(name=f"{name} queue {position}")
        Step.objects.create(
            flow=flow, position=position, name=f"step {position}", script=script, queue=queue
        )
    return flow


def grant(user: User, right: str = Right.START, flow: Flow | None = None) -> RoleMapping:
    # What the audit log tells of rights is tested with the log; here it took most of the time.
    with audit.silent():
        role, _ = Group.objects.get_or_create(name=f"role of {user.username}")
        user.groups.add(role)
        return RoleMapping.objects.create(role=role, right=right, flow=flow)


def client_of(user: User) -> Client:
    _, token = AuthToken.objects.create(user)
    return Client(headers={"Authorization": f"Bearer {token}"}, raise_request_exception=False)


@contextmanager
def undone() -> Iterator[None]:
    """Take back what the block does to the database: the rows before it serve many cases."""
    before = transaction.savepoint()
    try:
        yield
    finally:
        transaction.savepoint_rollback(before)


def basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    text = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def assert_problem(response: Any, status: int, word: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    document = response.json()
    assert document["type"] == f"/async/problems/{word}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


def work_tasks() -> int:
    """Run what is queued for django-q2 until nothing is; return the number of tasks."""
    count = 0
    while row := OrmQ.objects.first():
        task = row.task
        row.delete()
        module, _, name = task["func"].rpartition(".")
        getattr(importlib.import_module(module), name)(*task["args"])
        count += 1
    return count


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield each object of a document."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):
            yield from objects_in(part)
