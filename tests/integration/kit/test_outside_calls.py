"""Outside calls and secrets of a test: stubs in place of servers."""

from __future__ import annotations

import re

import pytest

from flows.models import Consumer
from flows.testing import FlowKit, NotStubbed, Reply
from scripts.models import Secret
from tests.integration.kit.documents import ECHO, faults, flow_of, get

CHARGE = (
    "def run(message, context):\n"
    "    answer = context.http.post('https://pay.example.org/charges?of=us', json={'a': 1})\n"
    "    message['payload']['charge'] = answer.raise_for_status().json()['id']\n"
    "    return message\n"
)
CHARGES = "https://pay.example.org/charges"


def calling(kit: FlowKit, *lines: str) -> None:
    """Have a flow of one script with these lines, which may make calls."""
    body = "".join(f"    {line}\n" for line in lines)
    kit.configure(flow_of(f"def run(message, context):\n{body}", network=True))


def test_a_call_that_is_refused_twice_is_made_a_third_time(kit):
    kit.configure(flow_of(CHARGE, network=True))
    refused = kit.outside.post(CHARGES, status=503, headers={"Retry-After": "90"}, times=2)
    kit.outside.post(CHARGES, json={"id": 7})

    run = kit.run("flow", {})

    run.assert_completed()
    assert run.payload == {"charge": 7}
    run.assert_attempts("one", "RETRY", "RETRY", "COMPLETED")
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

    def approve(call):
        assert call.headers["user-agent"] == "another"

    kit.outside.get("https://a.example.org/", approve)

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


@pytest.mark.sampled(3)
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
