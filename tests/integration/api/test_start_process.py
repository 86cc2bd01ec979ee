from __future__ import annotations

import json
from datetime import timedelta
from io import BytesIO
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from flows.api import start
from flows.models import Flow, Message, Queue, Right, Run
from flows.monitoring.times import rfc3339
from tests.integration.api.helpers import assert_problem, basic, client_of, grant, make_loan_flow

SCHEMA = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "integer", "minimum": 1}},
}


def test_start_is_answered_with_where_the_run_is_to_be_seen(post, user, flow):
    grant(user, flow=flow)

    response = post()

    assert response.status_code == 202
    document = response.json()
    run = Run.objects.get()
    assert document == {
        "correlationId": str(run.pk),
        "flowName": "loan",
        "status": "QUEUED",
        "statusUrl": f"http://testserver/async/api/runs/{run.pk}",
    }
    assert response["Location"] == document["statusUrl"]
    assert run.pk.version == 7
    assert run.started_by == user


def test_payload_travels_as_the_text_that_came(post, user, flow):
    grant(user, flow=flow)
    body = '{"n": 123456789012345678901234567890, "x": 1.10, "ä": "\\u00e4"}'

    post(body=body.encode())

    assert body in Message.objects.get().body


def test_key_that_stands_twice_is_refused_with_its_place(post, user, flow):
    grant(user, flow=flow)

    document = assert_problem(post(body=b'{"a": {"b": 1, "b": 2}}'), 400, "payload-invalid")

    assert document["errors"] == [
        {"path": "$.a.b", "detail": "is a key that stands twice in one object"}
    ]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("rule", "number", "status"),
    [
        ({"const": 2**80}, 2**80, 202),
        ({"const": 2**80}, 2**80 + 1, 400),
        ({"maximum": 2**64}, 2**64 + 1, 400),
        ({"multipleOf": 0.01}, "1234567890123456.78", 202),
        ({"multipleOf": 0.01}, "1234567890123456.785", 400),
        ({"type": "integer"}, "12345678901234567890.5", 400),
        # Patterns that look ahead are for another process.
        ({"pattern": "(?=a)", "const": 1.1}, "1.10", 202),
        ({"pattern": "(?=a)", "maximum": 2**80}, 2**80, 202),
        ({"pattern": "(?=a)", "maximum": 2**80}, 2**80 + 1, 400),
        ({"pattern": "(?=a)", "multipleOf": 0.01}, "1234567890123456.785", 400),
        ({"format": "email"}, '"ada@example.org"', 202),
        ({"format": "email"}, '"ada"', 400),
        ({"pattern": "(?=a)", "format": "email"}, '"ada"', 400),
        # What is stored from before formats were checked goes on.
        ({"format": "colour"}, '"red"', 202),
    ],
)
def test_values_are_checked_as_they_are_written(post, user, rule, number, status):
    grant(user, flow=make_loan_flow(schema={"properties": {"amount": rule}}))

    assert post(body=f'{{"amount": {number}}}'.encode()).status_code == status


@pytest.mark.django_db(transaction=True)
def test_start_is_committed_before_it_is_answered(post, user, monkeypatch):
    grant(user, flow=make_loan_flow())
    in_transaction = []

    def answer(*args: Any) -> Any:
        in_transaction.append(connection.in_atomic_block)
        return accepted(*args)

    accepted = start.accepted
    monkeypatch.setattr(start, "accepted", answer)

    assert post().status_code == 202
    assert in_transaction == [False]
    assert Run.objects.count() == 1


def test_superuser_needs_no_role(post, admin, flow):
    assert post(by=client_of(admin)).status_code == 202


def test_role_for_every_flow_counts_for_each(post, user, flow):
    grant(user, flow=None)

    assert post().status_code == 202


@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.loan+json", ""])
def test_json_under_any_of_its_names_is_taken(post, user, flow, content_type):
    grant(user, flow=flow)

    assert post(content_type=content_type).status_code == 202


@pytest.mark.parametrize("path", ["/async/api/start", "/async/api/flows/loan/start"])
def test_priority_and_time_of_a_start_are_taken(client, user, flow, path):
    grant(user, flow=flow)
    at = (timezone.now() + timedelta(hours=1)).replace(microsecond=0)
    query = {"priority": "9", "startAt": at.isoformat()}
    if path.endswith("api/start"):
        query["flowName"] = "loan"

    response = client.post(path, "{}", content_type="application/json", query_params=query)

    assert response.status_code == 202
    message = Message.objects.get()
    assert (message.priority, message.available_at) == (9, at)


def test_start_in_the_past_goes_before_no_other(client, user, flow):
    grant(user, flow=flow)
    begun = timezone.now()
    query = {"flowName": "loan", "startAt": "1999-12-31T23:59:59Z"}

    client.post("/async/api/start", "{}", content_type="application/json", query_params=query)

    assert Message.objects.get().available_at >= begun


WRONG_OPTIONS: list[Any] = [
    *("priority=10", "priority=-1", "priority=", "priority=high", "priority=4.0"),
    *("startAt=", "startAt=soon", "startAt=2026-11-02", "startAt=2026-11-02T09:30:00"),
    "startAt=9999-12-31T23:59:59-14:00",
    "startAt=9999-12-31T00:00:00Z",
]


@pytest.mark.parametrize(
    "path", ["/async/api/start?flowName=loan&", "/async/api/flows/loan/start?"]
)
def test_wrong_priority_or_time_is_refused(client, user, flow, path):
    grant(user, flow=flow)

    for query in WRONG_OPTIONS:
        response = client.post(path + query, "{}", content_type="application/json")

        document = assert_problem(response, 400, "query-invalid")
        assert document["errors"][0]["parameter"] == query.partition("=")[0], query
        assert not Run.objects.exists(), query


def test_caller_without_credentials_is_asked_for_them(post, anonymous, flow):
    response = post(by=anonymous)

    assert_problem(response, 401, "not-authenticated")
    assert response["WWW-Authenticate"] == 'Basic realm="Async Engine", Bearer'


@pytest.mark.parametrize(
    "query",
    [
        "",
        "flowName=",
        "flowName=%20",
        "flowName=loan&x=1",
        "flowName=loan&flowName=loan",
        "format=json",
    ],
)
def test_wrong_query_is_refused_and_the_parameter_named(client, flow, query):
    response = client.post(f"/async/api/start?{query}", "{}", content_type="application/json")

    document = assert_problem(response, 400, "query-invalid")
    assert document["errors"][0]["parameter"] in {"flowName", "x", "format"}


@pytest.mark.parametrize("name", ["unknown", "\0", "é", "loan/start"])
def test_unknown_flow_is_not_found(post, flow, name):
    assert_problem(post(name), 404, "unknown-flow")


def test_caller_without_a_role_is_refused(post, user, flow):
    grant(user, Right.WATCH, flow)
    grant(user, Right.START, make_loan_flow("other"))

    assert_problem(post(), 403, "no-role")


def test_taken_role_counts_at_once(post, user, flow):
    mapping = grant(user, flow=flow)
    assert post().status_code == 202

    mapping.delete()

    assert_problem(post(), 403, "no-role")


def test_flow_switched_off_is_not_runnable(post, user, flow):
    grant(user, flow=flow)
    flow.active = False
    flow.save()

    assert_problem(post(), 409, "flow-not-runnable")


def test_flow_without_steps_is_not_runnable(post, user):
    grant(user, flow=make_loan_flow(steps=0))

    assert_problem(post(), 409, "flow-not-runnable")


NO_JSON_OBJECTS: list[Any] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": "\\u0000"}',
    b'{"\\u0000": 1}',
    b'{"a": "\\ud800"}',
    b'{"a": "\xff"}',
    b'\xef\xbb\xbf{"a": 1}',
    b'{"a": 1} {"a": 2}',
    b'{"a": ' + b"[" * 100_000,
]


def test_bodies_that_are_no_json_object_are_refused(post, user, flow):
    grant(user, flow=flow)

    for body in NO_JSON_OBJECTS:
        assert_problem(post(body=body), 400, "payload-invalid")
        assert not Run.objects.exists(), body[:20]


def test_payload_is_held_to_the_input_parameters_of_the_first_script(post, user):
    grant(user, flow=make_loan_flow(schema=SCHEMA))

    document = assert_problem(post(body=b'{"amount": 0}'), 400, "payload-invalid")

    assert document["errors"] == [{"path": "$.amount", "detail": mock.ANY}]


def twice_at_each_level():
    part = {"properties": {"a": {"$ref": "#"}}}
    return {"anyOf": [{"allOf": [part, part], "required": ["a"]}, part | {"required": ["none"]}]}


def test_start_whose_payload_takes_too_long_to_check_is_refused(post, user):
    grant(user, flow=make_loan_flow(schema=twice_at_each_level()))

    response = post(body=b'{"a":' * 190 + b"{}" + b"}" * 190)

    document = assert_problem(response, 400, "payload-invalid")

    assert "It takes more than 2 s or 256 MB to look at it." in document["errors"][0]["detail"]
    assert not Run.objects.exists()


def test_start_that_would_wait_for_other_checks_is_asked_to_come_again(post, user, monkeypatch):
    grant(user, flow=make_loan_flow(schema=twice_at_each_level()))
    monkeypatch.setattr("scripts.examination.examiner.MAX_WAITING", 0)

    response = post(body=b'{"a": {}}')

    assert_problem(response, 503, "busy")
    assert response["Retry-After"] == "5"
    assert not Run.objects.exists()


def test_refusal_stays_small_however_much_is_wrong(post, user):
    many = {"type": "object", "additionalProperties": {"type": "integer"}}
    grant(user, flow=make_loan_flow(schema=many))

    response = post(body=json.dumps({str(n): "x" * 2000 for n in range(200)}).encode())

    assert_problem(response, 400, "payload-invalid")
    assert len(response.content) < 50_000


def test_body_as_large_as_allowed_is_taken_and_a_larger_one_not(post, user, flow, settings):
    grant(user, flow=flow)
    settings.ASYNCENGINE_MAX_PAYLOAD_BYTES = 100

    assert post(body=b"{}" + b" " * 98).status_code == 202
    assert_problem(post(body=b"{}" + b" " * 99), 413, "payload-too-large")


def test_body_that_says_it_is_too_large_is_not_read(post, user, flow):
    grant(user, flow=flow)

    assert_problem(post(body=b"{}", CONTENT_LENGTH="99999999999"), 413, "payload-too-large")


def test_body_in_chunks_is_read_no_further_than_allowed(post, user, flow, settings):
    grant(user, flow=flow)
    settings.ASYNCENGINE_MAX_PAYLOAD_BYTES = 100_000

    def post_in_chunks(body: bytes) -> Any:
        return post(
            CONTENT_LENGTH="",
            HTTP_TRANSFER_ENCODING="chunked",
            **{"wsgi.input_terminated": True, "wsgi.input": BytesIO(body)},
        )

    assert post_in_chunks(b"{}" + b" " * 99_998).status_code == 202
    assert_problem(post_in_chunks(b"{}" + b" " * 99_999), 413, "payload-too-large")


def test_body_in_chunks_needs_a_server_that_ends_it(post, user, flow):
    grant(user, flow=flow)

    response = post(CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked")

    assert_problem(response, 411, "length-required")


@pytest.mark.parametrize(
    ("content_type", "headers", "told"),
    [
        ("text/plain", {}, {"Accept": "application/json"}),
        ("application/x-www-form-urlencoded", {}, {"Accept": "application/json"}),
        ("multipart/form-data; boundary=x", {}, {"Accept": "application/json"}),
        (
            "application/json; charset=latin-1",
            {},
            {"Accept": "application/json; charset=utf-8"},
        ),
        ("application/json", {"Content-Encoding": "gzip"}, {"Accept-Encoding": "identity"}),
    ],
)
def test_body_that_is_not_json_in_utf_8_is_refused_and_told_what_it_may_be(
    post, user, flow, content_type, headers, told
):
    grant(user, flow=flow)

    response = post(content_type=content_type, headers=headers)

    assert_problem(response, 415, "unsupported-media-type")
    assert {k: v for k, v in response.headers.items() if k.startswith("Accept")} == told


def test_full_first_queue_refuses_and_says_when_to_come_again(post, user, flow):
    grant(user, flow=flow)
    Queue.objects.filter(name="loan queue 1").update(size=1)
    assert post().status_code == 202

    response = post()

    assert_problem(response, 429, "queue-full")
    assert int(response["Retry-After"]) >= 1
    assert Run.objects.count() == 1


def test_same_idempotency_key_answers_with_the_same_run(post, user, flow):
    grant(user, flow=flow)
    key = {"Idempotency-Key": "order 17"}

    first, second = post(headers=key), post(headers=key)

    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert "Idempotent-Replayed" not in first
    assert second["Idempotent-Replayed"] == "true"
    assert Run.objects.count() == 1


def refuse_the_payload(flow: Flow) -> None:
    script = flow.steps.earliest("position").script
    script.input_schema = {"required": ["name"]}
    script.save()


@pytest.mark.parametrize(
    "change",
    [
        lambda flow: Flow.objects.update(active=False),
        lambda flow: flow.steps.all().delete(),
        refuse_the_payload,
    ],
    ids=["the flow is not active", "it has no steps", "its script takes another payload"],
)
def test_a_repeat_gives_its_run_whatever_the_flow_takes_by_now(post, user, flow, change):
    grant(user, Right.START, flow)
    key = {"Idempotency-Key": "order 17"}
    first = post(headers=key)
    change(flow)

    again = post(headers=key)

    assert again.status_code == 202, again.content
    assert again.json()["correlationId"] == first.json()["correlationId"]
    assert again["Idempotent-Replayed"] == "true"
    others = [(b'{"amount": 6}', "order 17"), (b'{"amount": 5}', "order 18"), (b"{", "order 17")]
    for body, name in others:
        assert post(body=body, headers={"Idempotency-Key": name}).status_code in (400, 409)
    assert Run.objects.count() == 1


def test_same_idempotency_key_of_another_user_starts_a_run_of_that_user(post, user, admin, flow):
    grant(user, flow=flow)
    key = {"Idempotency-Key": "order 17"}

    mine = post(headers=key).json()
    response = post(body=b'{"amount": 6}', headers=key, by=client_of(admin))

    assert response.status_code == 202
    assert response.json()["correlationId"] != mine["correlationId"]
    assert Run.objects.get(pk=response.json()["correlationId"]).started_by == admin


SOON, LATER = (rfc3339(timezone.now() + timedelta(hours=hours)) for hours in (1, 2))
# The value of an option, others, and what is told of the first.
DIFFERENT = {
    "priority": ("7", ["5", "4"], "was 7"),
    "startAt": (SOON, [LATER, "2001-01-01T00:00:00Z"], f"was {SOON.replace('Z', '+00:00')}"),
    "label": ("order:17", ["order:18", "a:17"], "was order:17"),
    "deadline": ("3600", ["60", LATER], "was 3600 seconds from the start"),
    "callbackUrl": ("https://a.example/1", ["https://a.example/2"], "was another one"),
}


@pytest.fixture
def start_keyed(client, user, flow):
    grant(user, flow=flow)

    def start(body: bytes = b'{"n": 1}', **more: str) -> Any:
        query, headers = {"flowName": "loan"} | more, {"Idempotency-Key": "order 17"}
        kind = "application/json"
        return client.post("/async/api/start", body, kind, headers=headers, query_params=query)

    return start


@pytest.mark.parametrize("query", [{}, {"priority": "4"}])
def test_the_same_request_is_a_repeat(start_keyed, query):
    assert start_keyed().status_code == 202

    assert start_keyed(**query)["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("is_given_first", [False, True])
def test_a_conflict_names_the_option_that_differs_and_the_run(start_keyed, name, is_given_first):
    option = {name: DIFFERENT[name][0]}
    first, second = (option, {}) if is_given_first else ({}, option)
    run = start_keyed(**first).json()["correlationId"]

    document = assert_problem(start_keyed(**second), 409, "idempotency-conflict")

    assert [error["parameter"] for error in document["errors"]] == [name]
    assert document["correlationId"] == run
    assert run in document["detail"]
    assert f" {name} differs. Send the same request again" in document["detail"]


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_conflict_says_what_the_option_was(start_keyed, name):
    first, others, was = DIFFERENT[name]
    start_keyed(**{name: first})

    for other in others:
        document = assert_problem(start_keyed(**{name: other}), 409, "idempotency-conflict")

        assert document["errors"] == [{"parameter": name, "detail": was}]


@pytest.mark.parametrize("body", [b'{"n": 1.0}', b'{"n": "1"}', b"{}"])
def test_a_conflict_names_the_payload_that_differs(start_keyed, body):
    start_keyed(priority="7", deadline="7200", label="a:1", startAt=SOON)

    document = assert_problem(
        start_keyed(body, priority="7", deadline="7200", label="a:1", startAt=SOON),
        409,
        "idempotency-conflict",
    )

    [error] = document["errors"]
    assert error["path"] == "$"
    assert "1 and 1.0 differ" in error["detail"]


def test_a_conflict_names_each_that_differs(start_keyed):
    start_keyed(label="a:1")

    of_options = start_keyed(priority="9", deadline="60").json()
    of_all = start_keyed(b"{}", deadline="60").json()

    names = [error["parameter"] for error in of_options["errors"]]
    assert names == ["priority", "label", "deadline"]
    assert [error.get("parameter") for error in of_all["errors"]] == [None, "label", "deadline"]
    assert " the payload and label and deadline differ. " in of_all["detail"]


def test_a_time_that_has_come_may_be_what_differs(start_keyed):
    start_keyed(startAt=SOON)
    Message.objects.update(delayed=False, available_at=timezone.now())

    document = start_keyed(startAt=LATER).json()

    assert " the payload or startAt differs. " in document["detail"]


def test_both_addresses_of_a_start_share_their_keys(post, client, user, flow):
    grant(user, flow=flow)
    key = {"Idempotency-Key": "order 17"}

    first = post(headers=key)
    second = client.post(
        "/async/api/flows/loan/start", b'{"amount":5}', "application/json", headers=key
    )

    assert second.json() == first.json()


@pytest.mark.parametrize("depth", [190, 254, 300, 600, 980, 1100])
def test_deep_payload_with_a_key_is_taken_or_refused(post, user, flow, depth):
    grant(user, flow=flow)
    body = b'{"a":' + b"[" * depth + b"]" * depth + b"}"

    answers = [post(body=body, headers={"Idempotency-Key": "deep"}) for _ in range(2)]

    assert answers[0].status_code == answers[1].status_code
    if answers[0].status_code != 202:
        assert_problem(answers[0], 400, "payload-invalid")


def test_same_idempotency_key_with_another_body_is_a_conflict(post, user, flow):
    grant(user, flow=flow)
    key = {"Idempotency-Key": "order 17"}
    post(headers=key)

    assert_problem(post(body=b'{"amount": 6}', headers=key), 409, "idempotency-conflict")


@pytest.mark.parametrize("key", ["", "x" * 256, "ä", "a\tb", "a,b"])
def test_idempotency_key_that_cannot_be_one_is_refused(post, user, flow, key):
    grant(user, flow=flow)

    assert_problem(post(headers={"Idempotency-Key": key}), 400, "header-invalid")


def test_database_that_is_away_is_said_so_and_nothing_of_it_shown(post, user, flow):
    grant(user, flow=flow)

    with mock.patch("flows.engine.start", side_effect=OperationalError("server at 10.0.0.5")):
        response = post()

    assert_problem(response, 503, "database-unavailable")
    assert int(response["Retry-After"]) >= 1
    assert b"10.0.0.5" not in response.content


def test_checks_come_in_their_order(anonymous, client, user, flow, settings):
    settings.ASYNCENGINE_MAX_PAYLOAD_BYTES = 1

    def ask(by: Client, query: str) -> int:
        path = f"/async/api/start?{query}"
        return by.post(path, b"not json", content_type="text/plain").status_code

    assert ask(anonymous, "x=1") == 401
    assert ask(client, "x=1") == 400
    assert ask(client, "flowName=unknown") == 404
    flow.active = False
    flow.save()
    assert ask(client, "flowName=loan") == 403
    grant(user, flow=flow)
    assert ask(client, "flowName=loan") == 409
    flow.active = True
    flow.save()
    assert ask(client, "flowName=loan") == 415


def test_wrong_method_is_refused_with_those_allowed(client):
    response = client.get("/async/api/start")

    assert_problem(response, 405, "method-not-allowed")
    assert "POST" in response["Allow"]


def test_basic_credentials_start_as_well(post, anonymous, user, flow):
    grant(user, flow=flow)

    assert post(by=anonymous, headers=basic("caller")).status_code == 202
