"""Callables in the transaction of a test."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from flows.models import Consumer
from flows.testing import Reply
from tests.integration.kit import steps
from tests.integration.kit.documents import ECHO, faults, flow_of

STEPS = "tests.integration.kit.steps"


def groups() -> list[str]:
    return sorted(Group.objects.values_list("name", flat=True))


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_callable_writes_in_the_transaction_of_the_test(kit, in_transaction):
    kit.configure(flow_of(f"{STEPS}.write", inTransaction=in_transaction))
    Group.objects.create(name="of the test")

    run = kit.run("flow", {"name": "a"})

    run.assert_completed()
    assert groups() == ["a 1", "of the test"]


def test_a_callable_that_raises_has_written_what_it_wrote_before(kit):
    once = {"one": {"maxDeliveries": 2}}
    kit.configure(flow_of(f"{STEPS}.write", queues=once))

    run = kit.run("flow", {"name": "a", "do": "raise"})

    run.assert_failed("ValueError: no luck")
    assert groups() == ["a 1", "a 2"]


def test_a_callable_in_the_transaction_that_raises_has_written_nothing(kit):
    once = {"one": {"maxDeliveries": 2}}
    kit.configure(flow_of(f"{STEPS}.write", queues=once, inTransaction=True))

    run = kit.run("flow", {"name": "a", "do": "raise"})

    run.assert_failed("ValueError: no luck")
    assert groups() == []


@pytest.mark.sampled(4)
@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize(
    ("do", "error"),
    [
        ("break", "IntegrityError"),
        ("swallow", "rollback|taken back"),
        ("leave open", "an atomic block has no end"),
        ("commit", "COMMIT would end"),
    ],
)
def test_a_callable_that_harms_its_transaction_harms_its_message_alone(
    kit, in_transaction, do, error
):
    once = {"one": {"maxDeliveries": 1}}
    kit.configure(flow_of(f"{STEPS}.write", queues=once, inTransaction=in_transaction))

    run = kit.run("flow", {"name": "a", "do": do})
    other = kit.run("flow", {"name": "b"})

    run.assert_failed()
    assert re.search(error, run.error)
    other.assert_completed()
    assert "b 1" in groups()
    assert not connection.needs_rollback


@pytest.mark.parametrize("do", ["recover", "durable"])
def test_a_callable_may_have_transactions_of_its_own(kit, do):
    kit.configure(flow_of(f"{STEPS}.write"))

    run = kit.run("flow", {"name": "a", "do": do})

    run.assert_completed()
    assert "a 1" in groups()


@pytest.mark.parametrize("in_transaction", [False, True])
def test_the_hooks_of_a_callable_run_after_its_commit(kit, in_transaction):
    kit.configure(flow_of(f"{STEPS}.write", inTransaction=in_transaction))
    steps.heard.clear()

    kit.run("flow", {"name": "a", "do": "hook"}).assert_completed()

    assert steps.heard == ["hook"]


def test_a_hook_that_raises_fails_the_callable_that_asked_for_it(kit):
    once = {"one": {"maxDeliveries": 1}}
    kit.configure(flow_of(f"{STEPS}.write", queues=once))

    run = kit.run("flow", {"name": "a", "do": "hook that raises"})

    run.assert_failed("raised by the hook")


def test_a_callable_can_end_the_test(kit):
    kit.configure(flow_of(f"{STEPS}.write"))

    with pytest.raises(pytest.fail.Exception, match="as the callable wants"):
        kit.run("flow", {"name": "a", "do": "fail the test"})

    assert [run.status for run in kit.runs()] == ["RUNNING"]
    assert not Consumer.objects.exists()
    assert faults() == []


def test_a_callable_calls_stubs_and_reads_secrets_of_the_test(kit):
    kit.configure(flow_of(f"{STEPS}.call", network=True, secrets=["key"]))
    kit.secrets["key"] = "swordfish"
    kit.outside.get("https://a.example.org/", lambda call: Reply(json=call.headers["x-key"]))

    run = kit.run("flow", {"url": "https://a.example.org/"})

    run.assert_completed()
    assert run.payload["answer"] == "swordfish"
    assert run.logs() == ["the key is ***"]


def test_a_callable_may_cancel_its_run(kit):
    kit.configure(flow_of(f"{STEPS}.cancel", ECHO))

    run = kit.run("flow", {})

    run.assert_cancelled()
    assert faults() == []


def test_a_run_that_a_callable_starts_is_found_and_worked_through(kit):
    kit.configure(flow_of(f"{STEPS}.start_other"))
    kit.configure(flow_of(ECHO, name="other"))

    run = kit.run("flow", {})
    kit.work()

    kit.find(run.payload["started"]).assert_completed()
    assert [other.id for other in kit.runs("other")] == [kit.runs()[-1].id]
