"""A small configuration with runs in every state, inserted as the engine would leave them."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.utils import timezone

from flows.models import (
    Consumer,
    DeadLetter,
    Flow,
    Queue,
    QueueState,
    RoleMapping,
    Run,
    Step,
)
from scripts.models import Script
from tests.integration.admin.world import INPUT_SCHEMA, TRACEBACK, World, add_attempt, make_run


@pytest.fixture(autouse=True)
def static_root(settings, tmp_path):
    # whitenoise warns where there is no such directory.
    settings.STATIC_ROOT = tmp_path


@pytest.fixture(autouse=True)
def quick_passwords(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def superuser(db) -> User:
    return User.objects.create_superuser("root", "root@example.org", "secret")


@pytest.fixture
def client(superuser) -> Client:
    client = Client()
    client.force_login(superuser)
    return client


@pytest.fixture
def staff_client(db):
    """Return a client of a staff member who has these permissions only."""

    def log_in(*permissions: str) -> Client:
        user = User.objects.create_user("staff", password="secret", is_staff=True)
        for permission in permissions:
            app, codename = permission.split(".")
            user.user_permissions.add(
                Permission.objects.get(content_type__app_label=app, codename=codename)
            )
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def give_right(db):
    """Give the staff member a role with a right to a flow; None stands for every flow."""

    def give(right: str, flow: Flow | None = None) -> None:
        role = Group.objects.create(name=f"{right} {flow or 'every flow'}")
        RoleMapping.objects.create(role=role, right=right, flow=flow)
        User.objects.get(username="staff").groups.add(role)

    return give


@pytest.fixture
def world(db) -> World:
    script = Script.objects.create(
        name="reserve-goods",
        code="def run(message, context): return message",
        input_schema=INPUT_SCHEMA,
    )
    orders, billing, spare = (
        Queue.objects.create(name=name) for name in ("orders", "billing", "spare")
    )
    flow = Flow.objects.create(name="order-processing")
    for position, (name, queue) in enumerate([("reserve", orders), ("charge", billing)]):
        Step.objects.create(flow=flow, position=position, name=name, script=script, queue=queue)
    role = Group.objects.create(name="shop")
    RoleMapping.objects.create(role=role, right="start", flow=flow)
    QueueState.objects.filter(queue=billing).update(depth=12)
    version = flow.make_version()
    reserve, charge = version.steps.order_by("position")
    completed = make_run(version, Run.Status.COMPLETED, result='{"mail": "sent"}')
    add_attempt(completed, reserve, logs='[{"at": 0.5, "level": "info", "text": "reserved"}]')
    add_attempt(completed, charge)
    failed = make_run(version, Run.Status.FAILED, error=TRACEBACK)
    add_attempt(failed, reserve)
    add_attempt(failed, charge, outcome="FAILED", error=TRACEBACK)
    for status in (Run.Status.QUEUED, Run.Status.RUNNING, Run.Status.CANCELLED):
        make_run(version, status)
    letter = DeadLetter.objects.create(
        run=failed,
        step=charge,
        reason="exhausted",
        error=TRACEBACK,
        error_class="TimeoutError: no answer",
        deliveries=5,
        body=json.dumps({"correlationId": str(failed.pk), "payload": {"orderId": "A-1"}}),
        dead_at=timezone.now(),
    )
    now = timezone.now()
    Consumer.objects.create(
        queue=orders,
        threads=4,
        cluster="asyncengine",
        machine="worker-1",
        pid=7,
        created_at=now,
        heartbeat_at=now,
    )
    return World(flow, orders, billing, spare, script, role, completed, failed, letter)
