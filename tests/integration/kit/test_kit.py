"""What a team tests in its first month: with scripts in hosts, and in the test's process."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from flows import public
from flows.configuration import ConfigurationInvalid
from flows.models import Consumer, Message, QueueState
from flows.testing import Reply, pool
from tests.integration.kit.documents import ECHO, faults, flow_of, get

SPLIT = (
    "def run(message, context):\n"
    "    parts = message['payload']['parts']\n"
    "    return [{**message, 'payload': {'part': part}} for part in parts]\n"
)
DOUBLE = "def run(message, context):\n    message['payload']['part'] *= 2\n    return message\n"
SUM = "def run(message, context):\n    return sum(each['part'] for each in message['payload'])\n"
RETRY_TWICE = (
    "def run(message, context):\n"
    "    context.log(f'attempt {context.attempt}')\n"
    "    if context.attempt < 3:\n"
    "        raise Retry(after=3600, reason='the desk is closed')\n"
    "    return message\n"
)
RAISE = "def run(message, context):\n    raise ValueError('no luck')\n"
REJECT = (
    "def run(message, context):\n"
    "    if message['payload']['amount'] < 0:\n"
    "        raise Reject('a negative amount')\n"
    "    return message\n"
)
JAVASCRIPT = "const m = context.Data; m.payload.n += 1; log('in JavaScript'); setData(m);"


# --- steps, branches, failures -----------------------------------------------------------------


def test_branches_come_together_at_a_join(kit):
    kit.configure(flow_of(SPLIT, DOUBLE, SUM, steps={"three": {"join": True}}))

    run = kit.run("flow", {"parts": [1, 2, 3]})

    run.assert_completed(12)
    run.assert_path("one", "two", "two", "two", "three")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "code",
    [
        "def run(message, context):\n    return context.finish([message['payload']['n']])\n",
        "setData(1); context.finish([context.Data.payload.n]);",
    ],
)
def test_a_script_finishes_the_run_before_its_last_step(kit, code):
    kit.configure(flow_of(ECHO, code, RAISE))

    run = kit.run("flow", {"n": 7})

    run.assert_completed([7])
    run.assert_path("one", "two")
    assert run.step("three")["status"] == "SKIPPED"


@pytest.mark.parametrize(
    "code",
    [
        "def run(message, context):\n    return context.go('three', message)\n",
        "setData(context.Data); context.go('three');",
    ],
)
def test_a_script_goes_past_a_step(kit, code):
    kit.configure(flow_of(code, RAISE, ECHO, steps={"one": {"goesTo": ["three"]}}))

    run = kit.run("flow", {"n": 7})

    run.assert_completed()
    run.assert_path("one", "three")
    assert run.step("two")["status"] == "SKIPPED"


@pytest.mark.parametrize(
    "code",
    [
        "def run(m, context):\n    return m | {'payload': context.start('other', {})}\n",
        "setData({ ...context.Data, payload: await context.start('other', {}) });",
    ],
)
def test_a_script_starts_a_run_of_another_flow(kit, code):
    document = flow_of(code)
    document["flows"][0]["starts"] = ["other"]
    kit.configure(flow_of(ECHO, name="other"))
    kit.configure(document)

    run = kit.run("flow", {})

    run.assert_completed()
    assert public.status(run.payload) in ("QUEUED", "COMPLETED")


def test_steps_of_both_languages_pass_a_message_on(kit):
    kit.configure(flow_of(ECHO, JAVASCRIPT, JAVASCRIPT))

    run = kit.run("flow", {"n": 1})

    run.assert_completed()
    assert run.payload == {"n": 3}
    run.assert_logged("JavaScript", step="two")
    assert run.logs() == ["in JavaScript"] * 2


def test_a_step_that_asks_for_time_gets_it_without_a_wait(kit):
    kit.configure(flow_of(RETRY_TWICE))
    begun_at = kit.now()

    run = kit.run("flow", {})

    run.assert_completed()
    run.assert_attempts("one", "RETRY", "RETRY", "COMPLETED")
    assert run.logs("one") == ["attempt 1", "attempt 2", "attempt 3"]
    assert timedelta(hours=2) <= kit.now() - begun_at < timedelta(hours=3)


def test_what_always_fails_is_delivered_as_often_as_its_queue_says_with_back_off_between(kit):
    queue = {
        "maxDeliveries": 4,
        "backoff": {"initialSeconds": 100, "multiplier": 2, "maxSeconds": 1000, "jitter": 0},
    }
    kit.configure(flow_of(ECHO, RAISE, queues={"two": queue}))
    begun_at = kit.now()

    run = kit.run("flow", {})

    run.assert_failed("no luck")
    letter = run.assert_dead_letter("two", reason="exhausted", error="ValueError: no luck")
    assert letter.deliveries == 4
    assert kit.now() - begun_at >= timedelta(seconds=700)


def test_attempts_are_dated_by_the_clock_that_moved_on(kit):
    kit.configure(flow_of(RETRY_TWICE))

    run = kit.run("flow", {})

    times = [attempt["startedAt"] for attempt in run.step("one")["attempts"]]
    hours = {time[11:13] for time in times}
    assert len(hours) == 3
    assert times == sorted(times)
    assert run.trace["createdAt"] <= times[0] <= times[-1] <= run.trace["finishedAt"]


def test_a_dead_letter_goes_on_with_a_repaired_payload(kit):
    kit.configure(flow_of(ECHO, REJECT, ECHO))
    run = kit.run("flow", {"amount": -1})
    letter = run.assert_dead_letter("two", reason="rejected", error="a negative amount")

    run.reprocess(letter.payload | {"amount": 1}).finish()

    run.assert_completed()
    assert run.payload == {"amount": 1}
    run.assert_path("one", "two", "two", "three")
    assert run.dead_letters == []


def test_a_dead_letter_is_discarded(kit):
    kit.configure(flow_of(REJECT))
    run = kit.run("flow", {"amount": -1})

    run.discard()

    run.assert_failed()
    assert run.dead_letters == []


def test_a_dead_letter_goes_on_with_a_mended_script(kit):
    kit.configure(flow_of(RAISE, queues={"one": {"maxDeliveries": 1}}))
    run = kit.run("flow", {})
    run.assert_failed()

    kit.configure(flow_of(ECHO, queues={"one": {"maxDeliveries": 1}}))
    run.reprocess(newest_script=True).finish()

    run.assert_completed()


def test_what_does_not_match_its_schema_is_refused_or_a_dead_letter(kit):
    amount = {"type": "object", "properties": {"amount": {"type": "integer"}}}
    document = flow_of(ECHO, ECHO)
    document["scripts"][0]["inputSchema"] = amount
    document["scripts"][1]["inputSchema"] = amount | {"required": ["amount"]}
    kit.configure(document)

    with pytest.raises(public.PayloadInvalid) as refused:
        kit.start("flow", {"amount": "12"})
    run = kit.run("flow", {})

    assert refused.value.errors[0]["path"] == "$.amount"
    run.assert_dead_letter("two", reason="invalid-output", error="amount")


def test_a_message_too_old_is_dead_lettered_by_the_clock_that_moved_on(kit):
    document = flow_of(RETRY_TWICE)
    document["flows"][0]["maxAgeSeconds"] = 4000
    kit.configure(document)
    kit.advance(timedelta(days=40))

    run = kit.run("flow", {})

    run.assert_dead_letter(reason="expired")
    run.assert_attempts("one", "RETRY", "FAILED")


# --- time ----------------------------------------------------------------------------------------


def test_a_delayed_start_waits_for_its_time_and_no_longer(kit):
    kit.configure(flow_of(ECHO))
    at = kit.now() + timedelta(days=3)
    run = kit.start("flow", {}, start_at=at)

    kit.advance(timedelta(days=2))
    assert kit.work(moves_time=False) == 0
    assert run.status == "QUEUED"

    kit.advance(timedelta(days=1))
    assert kit.work(moves_time=False) == 1
    run.assert_completed()


def test_a_run_that_misses_its_deadline_is_cancelled_when_time_has_passed_it(kit):
    kit.configure(flow_of(ECHO))
    at = kit.now() + timedelta(hours=1)
    late = kit.start("flow", {}, start_at=at, deadline=timedelta(hours=2))
    in_time = kit.start("flow", {}, start_at=at, deadline=timedelta(hours=4))

    kit.advance(timedelta(hours=3))
    kit.work()

    assert late.status == "CANCELLED"
    in_time.assert_completed()


def test_a_rate_limit_takes_the_time_that_it_takes_and_the_test_none(kit):
    limit = {"rateLimit": {"count": 2, "periodSeconds": 3600}}
    kit.configure(flow_of(ECHO, steps={"one": {"threads": 3}}, queues={"one": limit}))
    begun_at = kit.now()

    runs = kit.start_many("flow", [{}] * 6)
    assert kit.work() == 6

    for run in runs:
        run.assert_completed()
    ends = [datetime.fromisoformat(run.trace["finishedAt"]) for run in runs]
    assert sorted(round((end - begun_at) / timedelta(hours=1)) for end in ends) == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]
    assert timedelta(hours=2) <= kit.now() - begun_at < timedelta(hours=3)


def test_a_limit_of_a_second_is_a_limit_too(kit):
    limit = {"rateLimit": {"count": 1, "periodSeconds": 0.05}}
    kit.configure(flow_of(ECHO, queues={"one": limit}))

    kit.start_many("flow", [{}] * 5)
    kit.work()

    assert {run.status for run in kit.runs()} == {"COMPLETED"}


def test_time_does_not_move_back(kit):
    with pytest.raises(ValueError, match="not back"):
        kit.advance(-1)


def test_a_run_does_not_wait_for_what_others_wait_for(kit):
    kit.configure(flow_of(ECHO))
    later = kit.start("flow", {}, start_at=kit.now() + timedelta(days=100))
    begun_at = kit.now()

    kit.run("flow", {}).assert_completed()

    assert kit.now() - begun_at < timedelta(days=1)
    assert later.status == "QUEUED"


# --- stopping midway -----------------------------------------------------------------------------


def test_a_run_is_cancelled_between_two_steps(kit):
    kit.configure(flow_of(ECHO, ECHO))
    run = kit.start("flow", {})

    assert kit.work(deliveries=1) == 1
    assert (run.status, run.path) == ("RUNNING", ["one"])
    run.cancel()

    run.assert_cancelled()
    assert kit.work() == 0
    assert not Message.objects.exists()


def test_a_run_is_cancelled_while_its_script_waits_for_an_answer(kit):
    kit.configure(flow_of(get("https://slow.example.org/"), ECHO, network=True))
    run = kit.start("flow", {})

    def cancel(call):
        run.cancel()
        return Reply(text="too late")

    kit.outside.get("https://slow.example.org/", cancel)
    kit.work()

    run.assert_cancelled()
    assert run.path in (["one"], [])


def test_a_paused_flow_does_not_come_to_its_end_and_says_so(kit):
    kit.configure(flow_of(ECHO))
    public.pause(flow="flow")

    with pytest.raises(AssertionError, match=r"its end.*\n.*\n.*'flow' is paused"):
        kit.run("flow", {})
    public.resume(flow="flow")
    kit.work()

    assert [run.status for run in kit.runs("flow")] == ["COMPLETED"]


def test_a_batch_is_worked_through_and_the_totals_are_right(kit):
    kit.configure(flow_of(ECHO, JAVASCRIPT))

    runs = kit.start_many("flow", [{"n": n} for n in range(50)])
    assert kit.work() == 100

    assert [run.payload["n"] for run in runs] == [n + 1 for n in range(50)]
    assert QueueState.objects.filter(depth=0, reserved=0, delayed=0).count() == 2
    assert not Consumer.objects.exists()
    assert faults() == []


# --- runs that others start ----------------------------------------------------------------------


def test_a_run_is_started_worked_through_and_read_by_the_api(kit, admin_client):
    kit.configure(flow_of(ECHO))
    started = admin_client.post(
        "/async/api/start?flowName=flow", b'{"n": 1.50}', content_type="application/json"
    )
    assert started.status_code == 202, started.content

    kit.work()

    answer = admin_client.get(started.json()["statusUrl"])
    assert answer.json()["status"] == "COMPLETED"
    assert b'"payload":{"n":1.50}' in answer.content


def test_scripts_that_cannot_be_sandboxed_are_told_what_to_do(flow_kit, monkeypatch):
    monkeypatch.setattr(pool, "scripts_may_run", lambda: False)
    flow_kit.configure(flow_of(ECHO))

    with pytest.raises(RuntimeError, match="flow_kit_in_process"):
        flow_kit.run("flow", {})


# --- assertions ----------------------------------------------------------------------------------


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (lambda run: run.assert_completed(), "The run is FAILED, not COMPLETED."),
        (lambda run: run.assert_cancelled(), "The run is FAILED, not CANCELLED."),
        (lambda run: run.assert_failed("else"), "'else' is not in the error of the run."),
        (lambda run: run.assert_path("two"), r"The path is \['one', 'two'\], not \['two'\]."),
        (
            lambda run: run.assert_attempts("two", "COMPLETED"),
            r"The attempts of 'two' are \['REJECTED'\], not \['COMPLETED'\].",
        ),
        (lambda run: run.assert_logged("x"), "'x' was not logged."),
        (lambda run: run.assert_dead_letter("one"), "The dead letter is at 'two', not at 'one'."),
        (
            lambda run: run.assert_dead_letter(reason="expired"),
            "The reason is 'rejected', not 'expired'.",
        ),
    ],
)
def test_an_assertion_that_fails_tells_what_became_of_the_run(kit, claim, message):
    kit.configure(flow_of(RETRY_TWICE.replace("3:", "1:"), REJECT))
    run = kit.run("flow", {"amount": -1})

    with pytest.raises(AssertionError, match=message) as failed:
        claim(run)

    told = str(failed.value)
    for part in ("'flow': FAILED", "one: COMPLETED", "info: attempt 1", "a negative amount"):
        assert part in told


def test_an_unknown_step_is_told_with_those_there_are(kit):
    kit.configure(flow_of(ECHO))
    run = kit.run("flow", {})

    with pytest.raises(KeyError, match="no step 'two'; it has one"):
        run.logs("two")
    with pytest.raises(AssertionError, match="The result is not 1"):
        run.assert_completed(1)
    with pytest.raises(AssertionError, match="0 dead letters, not one"):
        run.reprocess()
    with pytest.raises(public.NotFound):
        kit.find("nothing")


# --- the configuration ---------------------------------------------------------------------------


def test_a_flow_is_read_from_a_directory_and_from_a_file(kit, tmp_path):
    document = flow_of(ECHO)
    (tmp_path / "flow.json").write_text(json.dumps(document))
    (tmp_path / "directory" / "scripts").mkdir(parents=True)
    (tmp_path / "directory" / "scripts" / "one.py").write_text("def run(m, c):\n    return 2\n")
    del document["scripts"][0]["code"]
    document["scripts"][0]["codeFile"] = "scripts/one.py"
    (tmp_path / "directory" / "configuration.json").write_text(json.dumps(document))

    kit.configure(tmp_path / "flow.json")
    of_file = kit.run("flow", {})
    kit.configure(str(tmp_path / "directory"))
    of_directory = kit.run("flow", {})

    assert of_file.result["payload"] == {}
    of_directory.assert_completed(2)


def test_a_document_is_left_as_it_was(kit):
    document = flow_of(ECHO)
    before = json.dumps(document)

    kit.configure(document)

    assert json.dumps(document) == before


def test_a_configuration_that_is_not_valid_is_refused(kit):
    with pytest.raises(ConfigurationInvalid, match="script"):
        kit.configure({"flows": [{"name": "flow", "steps": [{"name": "one"}]}]})


LOOK_UP = (
    "def run(message, context):\n"
    "    message['payload']['town'] = context.table('zip')[message['payload']['zip']]['town']\n"
    "    return message\n"
)


def test_scripts_look_things_up_in_the_tables_of_a_test(kit):
    kit.table("zip", "zip,town\n10115,Berlin\n")
    document = flow_of(LOOK_UP)
    document["scripts"][0]["tables"] = ["zip"]
    kit.configure(document)

    first = kit.run("flow", {"zip": "10115"})
    kit.table("zip", {"10115": {"town": "Mitte"}})
    second = kit.run("flow", {"zip": "10115"})

    assert (first.payload["town"], second.payload["town"]) == ("Berlin", "Mitte")


def test_what_is_no_table_is_refused_with_its_line(kit):
    with pytest.raises(ValueError, match="line 3: the key '1' stands there again"):
        kit.table("zip", "a,b\n1,x\n1,y\n")
    with pytest.raises(TypeError, match="content"):
        kit.table("zip", 5)
