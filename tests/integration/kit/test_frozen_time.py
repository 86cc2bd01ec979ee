"""Beside the kit a test may set the time with freezegun or time-machine: the engine goes by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
import time_machine
from django.test import TestCase
from django.utils import timezone
from freezegun import freeze_time

from flows.testing import FlowTestMixin
from tests.integration.kit.documents import ECHO, flow_of

PAST = datetime(2020, 5, 17, 12, tzinfo=UTC)
FUTURE = datetime(2040, 5, 17, 12, tzinfo=UTC)
RETRY = (
    "def run(message, context):\n"
    "    if context.attempt < 2:\n"
    "        raise Retry(after=3600)\n"
    "    return message\n"
)


def freezegun(at: datetime) -> Any:
    return freeze_time(at)


def standing(at: datetime) -> Any:
    return time_machine.travel(at, tick=False)


def ticking(at: datetime) -> Any:
    return time_machine.travel(at, tick=True)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("at", [PAST, FUTURE])
@pytest.mark.parametrize("tool", [freezegun, standing, ticking])
def test_a_flow_runs_in_the_time_that_the_test_has_set(kit, tool, at):
    limit = {"rateLimit": {"count": 1, "periodSeconds": 60}}
    kit.configure(flow_of(RETRY, "tests.integration.kit.steps.tell_time", queues={"one": limit}))

    with tool(at):
        run = kit.start("flow", {}, start_at=timezone.now() + timedelta(days=1))
        other = kit.run("flow", {}).finish()
        kit.work()

        run.assert_completed()
        other.assert_completed()
        assert run.trace["createdAt"].startswith(f"{at:%Y-%m-%dT%H}")
        assert run.trace["finishedAt"].startswith(f"{at + timedelta(days=1):%Y-%m-%dT}13:0")
        # The project's own clock is the test's; the kit has moved the engine's alone.
        assert run.payload["now"].startswith(f"{at:%Y-%m-%dT%H}")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("tool", [freezegun, standing, ticking])
def test_hosts_that_were_warm_before_the_time_was_set_go_on(kit, tool):
    kit.configure(flow_of(ECHO))
    kit.run("flow", {}).assert_completed()

    with tool(FUTURE):
        kit.run("flow", {}).assert_completed()
    with tool(PAST):
        kit.run("flow", {}).assert_completed()

    kit.run("flow", {}).assert_completed()


@pytest.mark.parametrize("tool", [freezegun, standing, ticking])
def test_a_script_over_its_time_limit_is_ended_in_a_set_time_too(flow_kit, tool):
    document = flow_of(
        "def run(message, context):\n    while True: pass\n",
        timeoutSeconds=1,
        queues={"one": {"maxDeliveries": 1}},
    )
    flow_kit.configure(document)

    with tool(PAST):
        flow_kit.run("flow", {}).assert_failed("time limit")


@pytest.mark.parametrize("tool", [freezegun, standing, ticking])
def test_a_secret_and_a_stub_answer_in_a_set_time(kit, tool):
    call = "def run(m, c):\n    return c.http.get('https://a.example.org/').text + c.secrets['k']\n"
    kit.configure(flow_of(call, network=True, secrets=["k"]))
    kit.outside.get("https://a.example.org/", text="a")
    kit.secrets["k"] = "b"

    with tool(FUTURE):
        kit.run("flow", {}).assert_completed("ab")


SCHEMA: Any = {"type": "object", "required": ["n"]}


@freeze_time(PAST)
class Frozen(FlowTestMixin, TestCase):
    flow_configuration: ClassVar = flow_of(RETRY, ECHO, inputSchema=SCHEMA)

    def test_a_whole_test_case_has_a_time_of_its_own(self) -> None:
        run = self.flow_kit.run("flow", {"n": 1})

        run.assert_attempts("one", "RETRY", "COMPLETED")
        assert run.trace["createdAt"].startswith("2020-05-17T12")
        assert run.trace["finishedAt"].startswith("2020-05-17T13")


@time_machine.travel(FUTURE)
class Travelling(FlowTestMixin, TestCase):
    flow_configuration: ClassVar = flow_of(RETRY, ECHO, inputSchema=SCHEMA)

    def test_a_whole_test_case_has_a_time_that_goes_on(self) -> None:
        run = self.flow_kit.run("flow", {"n": 1})

        run.assert_attempts("one", "RETRY", "COMPLETED")
        assert run.trace["finishedAt"].startswith("2040-05-17T13")
