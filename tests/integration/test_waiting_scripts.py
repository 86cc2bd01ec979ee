"""A script waits for something: it runs again later, and no delivery is used up."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from flows.models import Message, Queue, Run, StepRun
from flows.monitoring import conservation
from flows.monitoring.run_logs import run_logs
from flows.store.sql import KEPT_WAITS
from flows.store.waiting import reason_of
from flows.testing import FlowKit

PYTHON = """
def run(message, context):
    state = context.wait_state or {"seen": [], "rate": message["payload"]["rate"]}
    state["seen"].append([context.waits, context.attempt, context.waited_seconds >= 0])
    if len(state["seen"]) < 4:
        raise Wait(after=60, reason="no answer yet", state=state)
    message["payload"] = state
    return message
"""
JAVASCRIPT = """
const state = context.waitState ?? { seen: [], rate: context.Data.payload.rate };
state.seen.push([context.waits, context.attempt, context.waitedSeconds >= 0]);
if (state.seen.length < 4) wait({ after: 60, reason: "no answer yet", state });
context.Data.payload = state;
setData(context.Data);
"""
LAST = """
def run(message, context):
    message["payload"]["then"] = context.waits
    return message
"""
FOR_EVER = "def run(message, context):\n    raise Wait(3600, 'no answer yet')\n"


def configured(kit: FlowKit, code: str, language: str = "python", **queue: Any) -> None:
    scripts = [
        {"name": "poll", "language": language, "code": code},
        {"name": "last", "code": LAST},
    ]
    kit.configure(
        {
            "scripts": scripts,
            "queues": [{"name": "polled", "maxDeliveries": 1, **queue}, {"name": "ended"}],
            "flows": [
                {
                    "name": "polling",
                    "steps": [
                        {"name": "poll", "script": "poll", "queue": "polled"},
                        {"name": "last", "script": "last", "queue": "ended"},
                    ],
                }
            ],
        }
    )


def imbalances() -> list[str]:
    return [fault for checked in conservation.check() for fault in checked.faults()]


@pytest.mark.parametrize(
    ("language", "code"), [("python", PYTHON), ("javascript", JAVASCRIPT)], ids=["py", "js"]
)
def test_a_script_waits_as_often_as_it_must_with_one_delivery(
    flow_kit: FlowKit, language: str, code: str
):
    configured(flow_kit, code, language)
    before = flow_kit.now()

    run = flow_kit.run("polling", {"rate": 1.5})

    run.assert_completed()
    assert run.payload == {
        "seen": [[0, 1, True], [1, 1, True], [2, 1, True], [3, 1, True]],
        "rate": 1.5,
        "then": 0,
    }
    assert flow_kit.now() - before >= timedelta(seconds=180)
    assert imbalances() == []


def test_the_history_has_the_last_wait_alone(flow_kit: FlowKit):
    configured(flow_kit, PYTHON)

    run = flow_kit.run("polling", {"rate": 1})

    run.assert_attempts("poll", "WAITING", "COMPLETED")
    waiting = StepRun.objects.get(outcome="WAITING")
    assert waiting.error == "no answer yet"


@pytest.mark.parametrize(
    ("language", "code"),
    [
        (
            "python",
            "def run(message, context):\n"
            "    if context.waits % 2 == 0: context.log('asked', context.waits)\n"
            "    if context.waits < message['payload']['waits']: raise Wait(1, 'no answer yet')\n"
            "    return message",
        ),
        (
            "javascript",
            "if (context.waits % 2 === 0) log('asked', context.waits);\n"
            "if (context.waits < context.Data.payload.waits) wait(1, 'no answer yet');\n"
            "setData(context.Data);",
        ),
    ],
)
@pytest.mark.parametrize("waits", [5, 120])
def test_the_waits_that_have_said_something_are_kept_up_to_a_number(
    flow_kit: FlowKit, language: str, code: str, waits: int
):
    configured(flow_kit, code, language)

    run = flow_kit.start("polling", {"waits": waits})
    flow_kit.work()

    [step, _] = run.trace["steps"]
    said = [[line["text"] for line in each["logs"]] for each in step["attempts"]]
    numbers = [int(text.split()[1]) for texts in said for text in texts]
    # The last ones are the last wait, which says nothing here, and the end.
    if waits == 5:
        assert said == [["asked 0"], ["asked 2"], ["asked 4"], []]
    else:
        assert numbers == [*range(0, 2 * (KEPT_WAITS - 1), 2), 120]
        assert len(said) == KEPT_WAITS + 1
    lines = run_logs(Run.objects.get(pk=run.id), 0)["entries"]
    assert [int(line["text"].split()[1]) for line in lines] == numbers


def test_a_state_keeps_its_numbers_as_they_were_written(flow_kit: FlowKit):
    configured(flow_kit, PYTHON)

    run = flow_kit.start("polling", b'{"rate": 1234567890123456.780}')
    flow_kit.work()

    result = Run.objects.values_list("result", flat=True).get(pk=run.id)
    assert "1234567890123456.780" in result


def test_one_that_waits_longer_than_its_queue_allows_is_a_dead_letter(flow_kit: FlowKit):
    configured(flow_kit, FOR_EVER, maxWaitSeconds=7200)

    run = flow_kit.run("polling", {})

    letter = run.assert_dead_letter("poll", reason="waited-too-long")
    assert "longer than 7200 s" in letter.error
    assert "no answer yet" in letter.error
    assert run.attempts("poll")[-1] == "FAILED"
    assert imbalances() == []


def test_a_reprocessed_letter_begins_to_wait_anew(flow_kit: FlowKit):
    configured(flow_kit, FOR_EVER, maxWaitSeconds=7200)
    run = flow_kit.run("polling", {})

    run.reprocess()
    flow_kit.work(deliveries=1)

    assert reason_of(Message.objects.get().waiting) == (1, "no answer yet")
    run.cancel()


def test_a_waiting_run_says_for_what_and_can_be_cancelled(flow_kit: FlowKit):
    configured(flow_kit, FOR_EVER)
    run = flow_kit.start("polling", {})
    flow_kit.work(moves_time=False)

    assert run.trace["status"] == "RUNNING"
    assert "no answer yet" in run.trace["waitingBecause"]
    assert run.trace["steps"][0]["deliveries"] in (0, 1)
    run.cancel()

    assert run.status == "CANCELLED"
    assert imbalances() == []


def test_without_a_time_it_waits_by_the_back_off(flow_kit: FlowKit):
    configured(
        flow_kit,
        "def run(message, context):\n    if context.waits < 3: raise Wait()\n    return message",
        backoff={"initialSeconds": 10, "multiplier": 2, "jitter": 0},
    )
    # The kit's clock goes on from a time that stands still.
    with time_machine.travel(datetime.now(UTC), tick=False):
        before = flow_kit.now()

        flow_kit.run("polling", {}).assert_completed()

        assert timedelta(seconds=70) <= flow_kit.now() - before < timedelta(seconds=100)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("'x' * 70_000", "at most 65536"),
        ("{1, 2}", "state of Wait"),
        ("float('nan')", "NaN"),
        ("10 ** 5_000", "state of Wait"),
    ],
)
def test_a_state_that_cannot_be_kept_is_the_fault_of_the_script(
    flow_kit: FlowKit, state: str, said: str
):
    configured(flow_kit, f"def run(message, context):\n    raise Wait(1, 'x', state={state})\n")

    run = flow_kit.run("polling", {})

    assert said in run.assert_dead_letter("poll", reason="invalid-output").error


def test_the_longest_wait_is_a_setting_of_the_queue(flow_kit: FlowKit):
    configured(flow_kit, PYTHON, maxWaitSeconds=90)

    run = flow_kit.run("polling", {"rate": json.loads("1")})

    run.assert_dead_letter("poll", reason="waited-too-long")
    assert Queue.objects.get(name="polled").max_wait == timedelta(seconds=90)
