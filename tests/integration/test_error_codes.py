"""Why a message became a dead letter: its run and the attempt that did it give the same code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from flows.models import DeadLetter, Queue, Step
from flows.testing import FlowKit


@dataclass(frozen=True)
class Case:
    """A script that leads to a dead letter with the reason."""

    reason: str
    python: str
    javascript: str
    queue: dict[str, Any] = field(default_factory=dict)
    flow: dict[str, Any] = field(default_factory=dict)
    # Its output goes to a second step, whose queue holds one message.
    goes_on: bool = False
    # The codes of the attempts before the last one.
    before: tuple[str, ...] = ()
    cause: str = "rejected"

    @property
    def codes(self) -> tuple[str, str]:
        """The code of the error, and that of its cause."""
        return self.reason, self.cause


CASES = {
    "rejected": Case("rejected", "raise Reject('no')", "reject('no');"),
    "rejected without a word": Case("rejected", "raise Reject('')", "reject('');"),
    "no message": Case("invalid-output", "return 7", "setData(7);", goes_on=True),
    "no output": Case("invalid-output", "return {1, 2}", "setData();"),
    "cannot work": Case("script-invalid", "__import__('socket')", "nowhere();", cause="failed"),
    "raised": Case(
        "exhausted",
        "raise ValueError('no')",
        "throw new Error('no');",
        queue={"maxDeliveries": 3},
        before=("failed", "failed"),
        cause="failed",
    ),
    "asked again": Case(
        "exhausted",
        "raise Retry(after=1, reason='no')",
        "retry({ after: 1, reason: 'no' });",
        queue={"maxDeliveries": 2},
        before=("retry",),
        cause="failed",
    ),
    "too old": Case(
        "expired",
        "raise Retry(after=3600)",
        "retry({ after: 3600 });",
        flow={"maxAgeSeconds": 60},
        cause="failed",
    ),
    "waits": Case(
        "waited-too-long",
        "raise Wait(after=3600, reason='no')",
        "wait({ after: 3600, reason: 'no' });",
        queue={"maxWaitSeconds": 60},
        cause="failed",
    ),
    "too large": Case("too-large", "return 'x' * 5_000", "setData('x'.repeat(5000));"),
    "too wide": Case(
        "too-many-branches",
        "return [message, message]",
        "setData([context.Data, context.Data]);",
        goes_on=True,
        cause="completed",
    ),
    "no queue": Case(
        "no-queue",
        "return message",
        "setData(context.Data);",
        goes_on=True,
        cause="completed",
    ),
}
ELSEWHERE = {"not-storable"}


def codes_of(document: dict[str, Any]) -> tuple[str, str]:
    return document["errorCode"], document["causeCode"]


def configured(kit: FlowKit, language: str) -> None:
    echo = "def run(message, context):\n    return message\n"
    document: dict[str, Any] = {"scripts": [{"name": "echo", "code": echo}]}
    document |= {"queues": [], "flows": []}
    for name, case in CASES.items():
        body = f"def run(message, context):\n    {case.python}\n"
        code = body if language == "python" else case.javascript
        document["scripts"].append({"name": name, "language": language, "code": code})
        document["queues"] += [{"name": name, **case.queue}, {"name": f"{name} next", "size": 1}]
        steps = [{"name": "first", "script": name, "queue": name}]
        if case.goes_on:
            steps.append({"name": "second", "script": "echo", "queue": f"{name} next"})
        document["flows"].append({"name": name, "steps": steps, **case.flow})
    kit.configure(document)


@pytest.mark.long
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_the_codes_of_a_dead_letter_are_those_of_its_run_step_and_last_attempt(
    flow_kit: FlowKit, settings: Any, language: str
) -> None:
    settings.ASYNCENGINE_MAX_RESULT_BYTES = 4_096
    configured(flow_kit, language)
    runs = {name: flow_kit.start(name, {}) for name in CASES}
    Step.objects.filter(queue__name="no queue next").delete()
    Queue.objects.get(name="no queue next").delete()

    flow_kit.work()

    found = {
        name: (
            [codes_of(each) for each in run.step("first")["attempts"]],
            codes_of(run.step("first")),
            codes_of(run.trace),
            DeadLetter.objects.values_list("reason", "cause").get(run=run.id),
        )
        for name, run in runs.items()
    }
    assert found == {
        name: (
            [*((code, code) for code in case.before), case.codes],
            *(case.codes, case.codes, case.codes),
        )
        for name, case in CASES.items()
    }
    assert {case.reason for case in CASES.values()} | ELSEWHERE == set(DeadLetter.Reason.values)


def test_the_codes_of_a_letter_stay_with_its_attempt_after_it_was_reprocessed(
    flow_kit: FlowKit,
) -> None:
    fail = "def run(message, context):\n    raise ValueError('no')\n"
    flow_kit.configure(
        {
            "scripts": [{"name": "fail", "code": fail}],
            "queues": [{"name": "queue", "maxDeliveries": 2}],
            "flows": [
                {
                    "name": "flow",
                    "steps": [{"name": "step", "script": "fail", "queue": "queue"}],
                }
            ],
        }
    )
    run = flow_kit.run("flow", {})
    Queue.objects.update(max_deliveries=1)
    run.reprocess()
    run.finish()

    codes = [each["errorCode"] for each in run.step("step")["attempts"]]

    assert codes == ["failed", "exhausted", "exhausted"]
