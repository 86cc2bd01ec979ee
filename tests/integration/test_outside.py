"""Scripts that call others: what that does to their queue, and secrets from the database."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.db import OperationalError
from django.utils import timezone

from flows import engine
from flows.models import Message, QueueState, StepRun
from flows.worker.this_worker import this_worker
from scripts.models import Script, Secret
from scripts.models.secret_values import forget_secrets
from scripts.protocol.calls import Program
from scripts.protocol.services import RequestFailed
from scripts.services import engine as services
from tests.builders import make_flow, run_of, work_until_idle
from tests.loopback import Loopback, serving
from tests.waiting import PATIENCE


@pytest.fixture
def server():
    with serving() as server:
        yield server


def make_calling_flow(code: str, **script: object):
    flow = make_flow(codes=[code], threads=1)
    saved = Script.objects.get(name="flow-0")
    for name, value in ({"network": True, "private_addresses": True} | script).items():
        setattr(saved, name, value)
    saved.save()
    return flow


@pytest.mark.django_db
def test_a_server_that_asks_for_time_slows_the_queue_of_the_script_that_calls_it(server: Loopback):
    server.answers("/", 429, b"busy", Retry_After="40")
    flow = make_calling_flow(
        f'def run(message, context):\n    context.http.get("{server.url()}").raise_for_status()\n'
    )
    engine.start("flow", {})
    begun_at = timezone.now()

    work_until_idle(flow)

    soon, late = begun_at + timedelta(seconds=38), timezone.now() + timedelta(seconds=42)
    assert soon < QueueState.objects.get().slow_until < late
    assert soon < Message.objects.get().available_at < late
    assert "429" in StepRun.objects.get().error
    assert len(server.received) == 1


@pytest.mark.django_db
def test_a_script_reaches_no_host_unless_its_network_is_on(server: Loopback):
    flow = make_calling_flow(
        f'def run(message, context):\n    context.http.get("{server.url()}")\n', network=False
    )
    engine.start("flow", {})

    work_until_idle(flow)

    assert "network access is off" in StepRun.objects.get().error
    assert server.received == []


def test_a_database_that_is_away_for_a_moment_is_waited_for(monkeypatch):
    tries = []

    def value(name: str) -> str:
        tries.append(name)
        if len(tries) < 3:
            raise OperationalError("gone")
        return "swordfish"

    monkeypatch.setattr(services, "readable_value", value)
    program = Program(1, "pricing", "python", "", 20, 128, secrets=("shop.key",))

    given = secret_in_a_thread(program, "shop.key", seconds=5)
    tries.clear()
    failed = secret_in_a_thread(program, "shop.key", seconds=0.3)

    assert given == {"value": "swordfish"}
    assert isinstance(failed, RequestFailed)
    assert failed.kind == "unavailable"


def secret_in_a_thread(program: Program, name: str, seconds: float) -> object:
    """Ask for a secret as the pool does: in a thread that has a connection of its own."""
    given: list[object] = []

    def ask() -> None:
        try:
            given.append(
                services.SecretService()(program, {"name": name}, time.monotonic() + seconds)
            )
        except RequestFailed as failed:
            given.append(failed)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(PATIENCE)
    return given[0]


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_script_is_given_its_secrets_and_no_others(settings):
    settings.ASYNCENGINE_SECRETS_KEYS = [Fernet.generate_key().decode()]
    forget_secrets()
    for name in ("shop.key", "other.key"):
        secret = Secret(name=name)
        secret.set_value("swordfish")
        secret.save()
    flow = make_calling_flow(
        "def run(message, context):\n"
        "    print(context.secrets['shop.key'])\n"
        "    message['payload'] = [name in context.secrets for name in ('shop.key', 'other.key')]\n"
        "    return message\n",
        secrets=["shop.key"],
    )
    started = engine.start("flow", {})

    work_until_idle(flow)
    this_worker.close_hosts()  # whose threads may be at the database

    assert json.loads(run_of(started.correlation_id).result)["payload"] == [True, False]
    assert "***" in str(StepRun.objects.get().logs)
    assert "swordfish" not in str(StepRun.objects.values().get())
