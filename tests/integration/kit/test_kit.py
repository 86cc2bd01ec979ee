"""What a team tests in its first month: with scripts in hosts, and in the test's process."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from flows import public
from flows.configuration import ConfigurationInvalid
from flows.models import Consumer, Message, QueueState
from flows.monitoring.conservation import check
from flows.testing import FlowKit, NotStubbed, Reply, pool
from scripts.models import Secret
from tests.integration.kit import steps
from tests.integration.kit.documents import ECHO, flow_of

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
CHARGE = (
    "def run(message, context):\n"
    "    answer = context.http.post('https://pay.example.org/charges?of=us', json={'a': 1})\n"
    "    message['payload']['charge'] = answer.raise_for_status().json()['id']\n"
    "    return message\n"
)
CHARGES = "https://pay.example.org/charges"
STEPS = "tests.integration.kit.steps"


def faults() -> list[str]:
    return [fault for checked in check() for fault in checked.faults()]


def get(url: str) -> str:
    return f"def run(message, context):\n    return context.http.get('{url}').text\n"


def calling(kit: FlowKit, *lines: str) -> None:
    """Have a flow of one script with these lines, which may make calls."""
    body = "".join(f"    {line}\n" for line in lines)
    kit.configure(flow_of(f"def run(message, context):\n{body}", network=True))


# --- steps, branches, failures -----------------------------------------------------------------


def test_branches_come_together_at_a_join(kit):
    kit.configure(flow_of(SPLIT, DOUBLE, SUM, steps={"three": {"join": True}}))

    run = kit.run("flow", {"parts": [1, 2, 3]})

    run.assert_completed(12)
    run.assert_path("one", "two", "two", "two", "three")


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
    run.assert_attempts("one", "FAILED", "FAILED", "COMPLETED")
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
    run.assert_attempts("one", "FAILED", "FAILED")


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


# --- outside calls -------------------------------------------------------------------------------


def test_a_call_that_is_refused_twice_is_made_a_third_time(kit):
    kit.configure(flow_of(CHARGE, network=True))
    refused = kit.outside.post(CHARGES, status=503, headers={"Retry-After": "90"}, times=2)
    kit.outside.post(CHARGES, json={"id": 7})

    run = kit.run("flow", {})

    run.assert_completed()
    assert run.payload == {"charge": 7}
    run.assert_attempts("one", "FAILED", "FAILED", "COMPLETED")
    assert len(refused.calls) == 2
    assert [call.status for call in kit.outside.calls] == [503, 503, 200]
    call = kit.outside.calls[-1]
    assert (call.script, call.method, call.json(), call.params) == (
        "flow-one",
        "POST",
        {"a": 1},
        {"of": "us"},
    )
    assert call.headers["content-type"] == "application/json"


def test_a_call_without_a_stub_fails_the_test_whatever_the_script_makes_of_it(kit):
    calling(
        kit,
        "try:",
        "    context.http.get('https://nowhere.example.org/x')",
        "except context.http.Error as error:",
        "    context.log(error.kind)",
        "return message",
    )
    kit.outside.post("https://nowhere.example.org/x", json={})

    with pytest.raises(
        NotStubbed, match=r"'flow-one'.*GET https://nowhere.example.org/x\n.*\n.*POST"
    ):
        kit.run("flow", {})

    assert kit.runs()[0].logs() == ["not-stubbed"]


def test_a_test_that_expects_a_call_without_a_stub_can_go_on(kit):
    kit.configure(flow_of(CHARGE, ECHO, network=True, steps={"one": {"threads": 1}}))
    with pytest.raises(NotStubbed):
        kit.run("flow", {})

    kit.outside.post(CHARGES, json={"id": 7})
    kit.work()

    (run,) = kit.runs()
    run.assert_completed()
    run.assert_attempts("one", "FAILED", "COMPLETED")
    assert not Consumer.objects.exists()
    assert faults() == []


def test_what_a_stub_raises_fails_the_test(kit):
    kit.configure(flow_of(get("https://a.example.org/"), network=True))

    def judge(call):
        assert call.headers["user-agent"] == "another"

    kit.outside.get("https://a.example.org/", judge)

    with pytest.raises(AssertionError, match="another"):
        kit.run("flow", {})


def test_stubs_are_found_by_method_address_query_and_pattern(kit):
    calling(
        kit,
        "asked = message['payload']['ask']",
        "return [context.http.request(*each).text for each in asked]",
    )
    kit.outside.get("https://a.example.org/list?b=2&a=1", text="sorted")
    kit.outside.get("https://a.example.org/list", text="any")
    kit.outside.add("*", re.compile(r"/items/\d+$"), lambda call: Reply(text=call.method))

    run = kit.run(
        "flow",
        {
            "ask": [
                ["GET", "https://a.example.org/list?a=1&b=2"],
                ["GET", "https://A.example.org:443/list?a=3"],
                ["DELETE", "https://b.example.org/items/7"],
            ]
        },
    )

    run.assert_completed(["sorted", "any", "DELETE"])


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_stub_answers_with_an_error_of_the_network(kit, language):
    codes = {
        "python": "def run(message, context):\n"
        "    try:\n"
        "        context.http.get('https://a.example.org/')\n"
        "    except context.http.Error as error:\n"
        "        return error.kind\n",
        "javascript": "try { await http.get('https://a.example.org/') }"
        " catch (error) { setData(error.kind) }",
    }
    kit.configure(flow_of(codes[language], network=True))
    kit.outside.get("https://a.example.org/", error="timeout")

    run = kit.run("flow", {})

    run.assert_completed("timeout")


def test_the_rights_of_a_script_and_redirects_are_looked_at_as_in_a_worker(kit):
    kit.configure(
        flow_of(get("https://a.example.org/"), network=True, allowedHosts=["a.example.org"])
    )
    moved = {"Location": "https://b.example.org/"}
    kit.outside.get("https://a.example.org/", status=302, headers=moved)
    kit.outside.get("https://b.example.org/", text="never")

    run = kit.run("flow", {})

    run.assert_failed("not among its allowed hosts")
    assert {call.url for call in kit.outside.calls} == {"https://a.example.org/"}


def test_a_stub_that_cannot_be_meant_is_refused(kit):
    with pytest.raises(TypeError, match="one of json, text and body"):
        kit.outside.get("https://a.example.org/", json={}, text="")
    with pytest.raises(TypeError, match="Give a reply or status"):
        kit.outside.get("https://a.example.org/", Reply(), status=500)
    with pytest.raises(ValueError, match="method"):
        kit.outside.add("FETCH", "https://a.example.org/")
    with pytest.raises(ValueError, match="must begin with https"):
        kit.outside.get("a.example.org/")


def test_calls_that_a_script_makes_side_by_side_are_all_answered(kit):
    code = (
        "const urls = [1, 2, 3].map((n) => `https://a.example.org/${n}`);"
        "const answers = await Promise.all(urls.map((url) => http.get(url)));"
        "setData(answers.map((answer) => answer.data));"
    )
    kit.configure(flow_of(code, network=True))
    kit.outside.get(re.compile(r"/\d$"), lambda call: Reply(json=call.url[-1]))

    run = kit.run("flow", {})

    run.assert_completed(["1", "2", "3"])


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(json=None), [True, "null"]),
        (Reply(text="grüße"), [False, "grüße"]),
        (
            Reply(
                body="grüße".encode("latin-1"),
                headers={"Content-Type": "text/plain; charset=latin1"},
            ),
            [False, "grüße"],
        ),
        (Reply(204), [False, ""]),
    ],
)
def test_a_script_reads_a_reply_as_that_of_a_server(kit, reply, expected):
    calling(
        kit,
        "answer = context.http.get('https://a.example.org/')",
        "return [answer.headers.get('content-type') == 'application/json', answer.text]",
    )
    kit.outside.get("https://a.example.org/", reply)

    run = kit.run("flow", {})

    run.assert_completed(expected)


def test_a_stub_sees_the_bytes_that_a_script_sends(kit):
    calling(
        kit,
        "context.http.put('https://a.example.org/', data=b'\\x00\\xff')",
        "return message",
    )
    stub = kit.outside.put("https://a.example.org/", status=204)

    kit.run("flow", {}).assert_completed()

    assert [call.body for call in stub.calls] == [b"\x00\xff"]


# --- secrets -------------------------------------------------------------------------------------

TELL = (
    "def run(message, context):\n"
    "    context.log(f\"it is {context.secrets['key']}\")\n"
    "    return context.secrets['key'][::-1]\n"
)


def test_a_secret_of_the_test_goes_before_one_of_the_database(kit):
    secret = Secret(name="key")
    secret.set_value("of the database")
    secret.save()
    kit.configure(flow_of(TELL, secrets=["key"]))

    of_database = kit.run("flow", {})
    kit.secrets["key"] = "of the test"
    of_test = kit.run("flow", {})

    of_database.assert_completed("of the database"[::-1])
    of_test.assert_completed("of the test"[::-1])
    assert of_test.logs() == ["it is ***"]


def test_a_secret_that_is_nowhere_is_no_secret(kit):
    kit.configure(flow_of(TELL, secrets=["key"], queues={"one": {"maxDeliveries": 1}}))

    run = kit.run("flow", {})

    run.assert_failed("There is no secret 'key'.")


# --- callables -----------------------------------------------------------------------------------


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
