"""What the kit is given wrongly is refused at once, with the argument and what it may be."""

from __future__ import annotations

import re
import unittest
from datetime import timedelta
from typing import Any

import pytest
from django.test import SimpleTestCase, TestCase
from hypothesis import given
from hypothesis import strategies as st

from flows import public
from flows.testing import FlowKit, FlowTestMixin, OutsideCalls, Reply, Stub, configure
from flows.testing.arguments import check_number, check_text
from flows.testing.secret_values import SecretValues
from tests.integration.kit.documents import ECHO, flow_of

URL = "https://a.example.org/"
REJECT = "def run(message, context):\n    raise Reject('no')\n"
# Of every kind that some argument may have, and of those that none may have.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=[])),
    st.binary(),
    st.sampled_from([set(), object(), 1j, len, Reply, re.compile("a"), re.compile(b"a"), [], {}]),
    st.timedeltas(),
)


async def answer(call):
    return Reply()


# --- outside calls -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"error": "nix"}, "ValueError: error must be one of 'timeout', 'connect', 'dns', "),
        ({"error": 5}, "TypeError: error must be one of 'timeout', "),
        ({"error": "dns", "status": 503}, "TypeError: A reply with an error has no status"),
        ({"status": "200"}, "TypeError: status must be a whole number from 200 to 599, not '200'"),
        ({"status": 99}, "ValueError: status must be a whole number from 200 to 599, not 99"),
        ({"status": True}, "TypeError: status must be a whole number"),
        ({"json": set()}, "TypeError: json must be what JSON can write: "),
        ({"json": float("nan")}, "ValueError: json must be what JSON can write: "),
        ({"text": b"a"}, "TypeError: text must be a string, not b'a'"),
        ({"text": "\ud800"}, "ValueError: text must be text that UTF-8 can write"),
        ({"body": "a"}, "TypeError: body must be bytes, not 'a'"),
        ({"headers": [("A", "b")]}, "TypeError: headers must be a mapping of strings"),
        ({"headers": {"Retry-After": 90}}, "TypeError: headers['Retry-After'] must be a string"),
        ({"headers": {"A": "b\r\nC: d"}}, "ValueError: headers['A'] must be one line"),
        ({"headers": {"a b": "c"}}, "ValueError: No header can have the name 'a b'"),
        ({"times": 0}, "ValueError: times must be a whole number from 1 on, not 0"),
        ({"times": "2"}, "TypeError: times must be a whole number from 1 on, not '2'"),
        ({"after": 5}, "TypeError: There is no option 'after'; there are status, json, text, "),
        ({"reply": {"id": 7}}, "TypeError: reply must be a Reply or a function, not {'id': 7}"),
        ({"reply": {}}, "TypeError: reply must be a Reply or a function, not {}"),
        ({"reply": lambda: Reply()}, "TypeError: reply must be a function of the call"),
        ({"reply": answer}, "TypeError: reply must be a function of the call that is not async"),
    ],
)
def test_a_stub_that_no_server_could_answer_with_is_refused(options, refusal):
    outside = OutsideCalls()

    with pytest.raises((TypeError, ValueError)) as refused:
        outside.get(URL, **options)

    assert f"{type(refused.value).__name__}: {refused.value}".startswith(refusal)
    assert outside.stubs == []


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        (None, "url must be a string or a compiled pattern, not None"),
        (re.compile(b"a"), "The pattern of url must be a string"),
        ("https://", "url must have a host"),
        ("https://a.example.org:x/", "url is not valid"),
        ("https://me:secret@a.example.org/", "no user and password"),
        ("ftp://a.example.org/", "url must begin with https:// or http://"),
    ],
)
def test_an_address_that_no_script_can_call_is_refused(url, refusal):
    with pytest.raises((TypeError, ValueError), match=re.escape(refusal)):
        OutsideCalls().get(url)


@given(st.sampled_from(["status", "json", "text", "body", "headers", "error", "times"]), VALUES)
def test_every_stub_that_is_taken_can_be_answered_with(option, value):
    outside, refusal = OutsideCalls(), ""

    try:
        outside.get(URL, **{option: value})
    except (TypeError, ValueError) as refused:
        refusal = str(refused)

    if refusal:
        assert option in refusal
        return
    (stub,) = outside.stubs
    assert isinstance(stub.answer, Reply)
    content, _ = stub.answer.content()
    assert isinstance(content, bytes)
    assert 200 <= stub.answer.status <= 599


@given(st.sampled_from(["method", "url", "answer", "times"]), VALUES)
def test_every_stub_that_is_made_by_itself_is_checked_as_well(field, value):
    options: dict[str, Any] = {"method": "GET", "url": URL, "answer": Reply()}

    try:
        stub = Stub(**options | {field: value})
    except (TypeError, ValueError):
        return

    assert str(stub).startswith(stub.method)


# --- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("key", None, "secrets['key'] must be a string, not None"),
        ("key", "\ud800", "secrets['key'] must be text that UTF-8 can write"),
        (5, "value", "The name of a secret must be a string, not 5"),
        (
            "a key",
            "value",
            "No secret can have the name 'a key'. Letters, digits, and _ . - inside.",
        ),
        ("k" * 101, "value", "No secret can have the name"),
    ],
)
def test_a_secret_that_cannot_be_stored_is_refused_however_it_is_given(name, value, refusal):
    kit = FlowKit()

    def assign():
        kit.secrets = {name: value}

    def add():
        kit.secrets |= {name: value}

    for give in (
        lambda: kit.secrets.__setitem__(name, value),
        lambda: kit.secrets.update({name: value}),
        lambda: kit.secrets.setdefault(name, value),
        assign,
        add,
    ):
        with pytest.raises((TypeError, ValueError), match=re.escape(refusal)):
            give()
    assert dict(kit.secrets) == {}


@given(
    st.dictionaries(VALUES.filter(lambda value: not isinstance(value, list | dict | set)), VALUES)
)
def test_every_secret_that_is_taken_can_be_given_to_a_script(values):
    try:
        secrets = SecretValues(values)
    except (TypeError, ValueError):
        return

    for name, value in secrets.items():
        check_text("name", name)
        check_text("value", value)


# --- flows, steps and runs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda kit, flow: kit.run(flow, {}),
        lambda kit, flow: kit.start(flow, {}),
        lambda kit, flow: kit.start_many(flow, [{}]),
        lambda kit, flow: kit.runs(flow) if flow is not None else kit.run(flow, {}),
    ],
    ids=["run", "start", "start_many", "runs"],
)
def test_an_unknown_flow_is_refused_with_those_there_are(flow_kit, call):
    flow_kit.configure(flow_of(ECHO))

    for flow in ("nix", None, 5, "\0", "\ud800", ["flow"]):
        with pytest.raises(
            public.UnknownFlow, match=r"There is no flow .*; the flows are: 'flow'\."
        ):
            call(flow_kit, flow)


def test_runs_of_a_flow_that_has_not_started_and_of_one_that_is_gone_are_no_mistake(flow_kit):
    flow_kit.configure(flow_of(ECHO))
    assert flow_kit.runs("flow") == []

    flow_kit.run("flow", {})
    flow_kit.configure({"flows": [], "scripts": [], "queues": []}, prune=True)

    assert len(flow_kit.runs("flow")) == 1


NOT_DONE: list[Any] = [
    (lambda kit: kit.start("flow", {}, prio=5), "no option 'prio'; there are user, priority"),
    (lambda kit: kit.run("flow", {}, flow_kit=5), "no option 'flow_kit'"),
    (lambda kit: kit.start_many("flow", [{}], idempotency_key="k"), "no option 'idempot"),
    (lambda kit: kit.start_many("flow", {"a": 1}), "payloads must be a list of payloads"),
    (lambda kit: kit.start_many("flow", b"{}"), "payloads must be a list of payloads"),
    (lambda kit: kit.start_many("flow", 5), "payloads must be a list of payloads, not 5"),
    (lambda kit: kit.find(5), "run must be the id of a run, not 5"),
    (lambda kit: kit.advance("an hour"), "duration must be a timedelta or a number of sec"),
    (lambda kit: kit.advance(True), "duration must be a timedelta or a number of seconds"),
    (lambda kit: kit.advance(float("nan")), "duration must be a timedelta or a number of"),
    (lambda kit: kit.advance(1e300), "duration is longer than time goes on"),
    (lambda kit: kit.advance(timedelta.max), "duration is longer than time goes on"),
    (lambda kit: kit.work(deliveries=-1), "deliveries must be a whole number from 0 on"),
    (lambda kit: kit.work(deliveries=1.5), "deliveries must be a whole number from 0 on"),
    (lambda kit: kit.work(moves_time="no"), "moves_time must be True or False, not 'no'"),
    (lambda kit: kit.work_while(True), "is_wanted must be a function of nothing, not True"),
    (lambda kit: kit.work_while(lambda run: True), "is_wanted must be a function of nothing"),
    (lambda kit: FlowKit(in_process="no"), "in_process must be True or False, not 'no'"),
    (lambda kit: setattr(kit, "secrets", 5), "secrets must be a mapping of strings, not 5"),
]


def test_what_the_kit_cannot_do_is_refused(flow_kit):
    flow_kit.configure(flow_of(ECHO))

    for call, refusal in NOT_DONE:
        with pytest.raises((TypeError, ValueError), match=re.escape(refusal)):
            call(flow_kit)

        assert flow_kit.runs() == [], refusal


NO_QUESTIONS: list[Any] = [
    (lambda run: run.logs("nix"), "The flow has no step 'nix'; it has one"),
    (lambda run: run.logs(""), "The flow has no step ''; it has one"),
    (lambda run: run.attempts(None), "The flow has no step None; it has one"),
    (lambda run: run.assert_logged("a", step="nix"), "no step 'nix'; it has one"),
    (lambda run: run.assert_logged(5), "text must be a string, not 5"),
    (lambda run: run.assert_failed(None), "error must be a string, not None"),
    (lambda run: run.assert_path(["one"]), "A step must be a string, not ['one']"),
    (lambda run: run.assert_attempts("one", "failed"), "An outcome must be one of 'COMPLETED'"),
    (lambda run: run.assert_attempts("nix"), "no step 'nix'; it has one"),
    (lambda run: run.assert_dead_letter("nix"), "no step 'nix'; it has one"),
    (lambda run: run.assert_dead_letter(reason="no"), "reason must be one of 'exhausted', "),
    (lambda run: run.assert_dead_letter(error=5), "error must be a string, not 5"),
    (lambda run: run.reprocess(run.dead_letters[0]), "Give the dead letter as `letter=`"),
    (lambda run: run.reprocess(letter=1), "letter must be one of the run's dead letters"),
    (lambda run: run.reprocess(newest_script="no"), "newest_script must be True or False"),
    (lambda run: run.discard("nix"), "letter must be one of the run's dead letters"),
]


def test_what_a_run_cannot_be_asked_is_refused(flow_kit):
    flow_kit.configure(flow_of(REJECT))
    run = flow_kit.run("flow", {})

    for call, refusal in NO_QUESTIONS:
        with pytest.raises((TypeError, ValueError, KeyError), match=re.escape(refusal)):
            call(run)

        assert len(run.dead_letters) == 1, refusal


def test_a_dead_letter_of_another_run_is_refused(flow_kit):
    flow_kit.configure(flow_of(REJECT))
    run, other = flow_kit.run("flow", {}), flow_kit.run("flow", {})
    letter = other.assert_dead_letter()

    for call in (run.discard, lambda letter: run.reprocess(letter=letter)):
        with pytest.raises(ValueError, match="is not one of this run"):
            call(letter)

    assert len(other.dead_letters) == 1


# --- the configuration -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kind", "refusal"),
    [
        ("missing/path", FileNotFoundError, "There is no configuration at 'missing/path', seen"),
        ("", FileNotFoundError, "There is no configuration at ''"),
        ("a\0b", FileNotFoundError, "There is no configuration at"),
        ('{"flows": []}' * 99, FileNotFoundError, "Give a document, the path of one"),
        (None, TypeError, "source must be a document, or the path of one, not None"),
        (b"{}", TypeError, "source must be a document, or the path of one, not b'{}'"),
        ({"flows": set()}, TypeError, "source must be what JSON can write: "),
        ({"flows": [float("inf")]}, ValueError, "source must be what JSON can write: "),
    ],
    ids=str,
)
def test_what_is_no_configuration_is_refused(flow_kit, source, kind, refusal):
    for importing in (configure, flow_kit.configure):
        with pytest.raises(kind) as refused:
            importing(source)

        assert refusal in str(refused.value)


def test_whether_to_prune_is_yes_or_no(flow_kit):
    with pytest.raises(TypeError, match="prune must be True or False, not 'no'"):
        flow_kit.configure({"flows": []}, prune="no")


# --- where the kit is used ---------------------------------------------------------------------


@pytest.mark.django_db
def test_a_kit_works_in_its_with_block_alone():
    configure(flow_of(ECHO))
    kit = FlowKit()
    with kit:
        run = kit.start("flow", {})
        with pytest.raises(RuntimeError, match="in use already"), kit:
            pass

    for call in (
        lambda: kit.run("flow", {}),
        lambda: kit.start_many("flow", []),
        kit.work,
        run.finish,
    ):
        with pytest.raises(RuntimeError, match="with FlowKit"):
            call()
    assert run.status == "QUEUED"


@pytest.mark.parametrize(
    ("bases", "refusal"),
    [
        ((TestCase, FlowTestMixin), "must stand before the test case"),
        ((FlowTestMixin, SimpleTestCase), "its base must be a TestCase of Django"),
        ((FlowTestMixin, unittest.TestCase), "its base must be a TestCase of Django"),
    ],
)
def test_a_test_case_that_would_have_no_kit_is_refused(bases, refusal):
    with pytest.raises(TypeError, match=refusal):
        type("Orders", bases, {})


@given(VALUES)
def test_a_number_is_a_whole_one_between_its_bounds(value):
    refusal = ""

    try:
        check_number("number", value, 1, 9)
    except (TypeError, ValueError) as refused:
        refusal = str(refused)

    is_fine = type(value) is int and 1 <= value <= 9
    expected = f"number must be a whole number from 1 to 9, not {value!r}."
    assert refusal == ("" if is_fine else expected)
