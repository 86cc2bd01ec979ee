"""What comes out of a script is checked before the commit: it harms its own message at most."""

import json

import pytest

from flows import engine
from flows.models import DeadLetter, Message, Run, Step
from tests.builders import ECHO, make_flow, run_of, work_until_idle

pytestmark = pytest.mark.django_db

# Writes an answer of its own into the pipe of its host, past all that the host checks.
FORGE = """
import json, struct
def run(message, context):
    forged = message["payload"].get("forged")
    if forged is None:
        return message
    frame = json.codecs.sys._getframe()
    while "self" not in frame.f_locals or not hasattr(frame.f_locals["self"], "_numbers"):
        frame = frame.f_back
    host = frame.f_locals["self"]
    host._flush()
    output = eval(forged).replace("ID", context.correlation_id).encode()
    host._channel.write(
        struct.pack("<QBIIdd", host._number, 1, len(output), 0, 0.0, 0.0) + output
    )
    host._channel = None
"""
ENVELOPE = '\'{"correlationId":"ID","payload":%s}\' % '


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        ("'[ {}]'", "payload"),
        ("'[5,6]'", "payload"),
        ("'{}'", "payload"),
        ("'7'", "payload"),
        ("'{\"payload\":1}'", "correlationId"),
        (f"'[' + {ENVELOPE}('9' * 5000) + ']'", "digits"),
        (f"{ENVELOPE}('9' * 5000)", "digits"),
        (f"'[' + {ENVELOPE}('[' * 900 + ']' * 900) + ']'", "200 deep"),
        (f"{ENVELOPE}('[' * 1020 + ']' * 1020)", "200 deep"),
        (f"{ENVELOPE}('[' * 50_000 + ']' * 50_000)", "200 deep"),
    ],
)
@pytest.mark.parametrize("joins", [False, True])
def test_an_output_that_a_host_forges_dead_letters_its_message_alone(
    forged: str, reason: str, joins: bool
) -> None:
    flow = make_flow(codes=[FORGE, ECHO])
    Step.objects.filter(name="flow-1").update(join=joins)
    bad = engine.start("flow", {"forged": forged}).correlation_id
    good = [engine.start("flow", {"n": n}).correlation_id for n in range(5)]

    work_until_idle(flow)

    dead = DeadLetter.objects.get()
    assert (dead.run_id, dead.reason) == (bad, DeadLetter.Reason.INVALID)
    assert reason in dead.error
    assert {run_of(pk).status for pk in good} == {Run.Status.COMPLETED}
    assert not Message.objects.exists()


@pytest.mark.parametrize("levels", [201, 254, 900, 2000])
@pytest.mark.parametrize("shape", ["{'payload': deep}", "[{'payload': deep}]"])
def test_an_output_nested_too_deep_is_a_dead_letter_that_says_where(
    levels: int, shape: str
) -> None:
    deep = (
        "def run(message, context):\n"
        "    deep = []\n"
        f"    for _ in range({levels} - 1): deep = [deep]\n"
        f"    return {shape}\n"
    )
    flow = make_flow(codes=[deep, ECHO])
    engine.start("flow", {})

    work_until_idle(flow)

    dead = DeadLetter.objects.get()
    assert dead.reason == DeadLetter.Reason.INVALID
    assert "payload[0]" in dead.error
    assert "deep" in dead.error


def test_a_payload_as_deep_as_allowed_goes_through_branches_a_join_and_the_result() -> None:
    fan = "def run(message, context):\n    return [message, message]\n"
    script = "setData(context.Data)"
    flow = make_flow(codes=[ECHO, script, fan, ECHO, ECHO, script, ECHO])
    for step in Step.objects.filter(script__code=script):
        step.script.language = "javascript"
        step.script.save()
    Step.objects.filter(name="flow-4").update(join=True)
    deep: dict[str, object] = {}
    for _ in range(199):
        deep = {"deep": deep}
    run = engine.start("flow", deep).correlation_id

    work_until_idle(flow)

    result = json.loads(run_of(run).result or "")
    assert result["payload"] == [deep, deep]
