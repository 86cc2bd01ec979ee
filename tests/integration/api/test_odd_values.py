"""Values at the edge of what JSON and Python have: taken or refused, at every door."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from flows import engine
from flows.models import Run
from tests.integration.api.helpers import client_of, grant, make_loan_flow

TINY = ["1e-99999999999999999999", "0e99999999999999999999", "-1E-99999999999999999999"]
HALF = r"\udc00"


@pytest.fixture
def client(user):
    flow = make_loan_flow("loan")
    grant(user, flow=flow)
    grant(user, right="operate", flow=flow)
    return client_of(user)


def post(client, path: str, body: str, content_type: str = "application/json"):
    return client.post(f"/async/api/{path}", data=body, content_type=content_type)


@pytest.mark.parametrize("number", TINY)
@pytest.mark.parametrize("headers", [{}, {"HTTP_IDEMPOTENCY_KEY": "key"}])
def test_a_number_of_any_exponent_below_a_double_travels_as_it_is_written(client, number, headers):
    answer = client.post(
        "/async/api/start?flowName=loan",
        data=f'{{"a":{number}}}',
        content_type="application/json",
        **headers,
    )

    assert answer.status_code == 202, answer.content
    assert f'"payload":{{"a":{number}}}' in Run.objects.get().messages.get().body


def test_a_number_beyond_a_double_is_refused_with_its_place(client):
    answer = post(client, "start?flowName=loan", '{"a":[1e99999999999999999999]}')

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"] == "$.a[0]"


def test_half_a_character_in_a_key_is_refused_with_its_place(client):
    answer = post(client, "start?flowName=loan", f'{{"a":{{"{HALF}":1}}}}')

    assert answer.status_code == 400
    assert "udc00" in json.dumps(answer.json())


@pytest.mark.parametrize(
    "body",
    [
        f'{{"filter":{{"{HALF}":"a"}}}}',
        f'{{"{HALF}":1}}',
        '{"ratePerSecond":1e-99999999999999999999}',
    ],
)
def test_a_bulk_reprocess_refuses_odd_values(client, body):
    assert post(client, "dead-letters/reprocess", body).status_code == 400


@pytest.mark.parametrize("bad", [f'{{"{HALF}":1}}', '{"a":1e999}'])
def test_a_bad_line_is_told_and_all_others_are_started(client, bad):
    good = [json.dumps({"n": n}) for n in range(1200)]
    body = "\n".join([*good, bad, *good[:3]])

    answer = post(client, "start/batch?flowName=loan", body, "application/x-ndjson")

    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1203
    assert [refusal["line"] for refusal in answer.json()["rejected"]] == [1201]
    assert Run.objects.count() == 1203


def test_a_surprise_in_a_batch_stops_it_and_tells_what_was_started(client, monkeypatch, caplog):
    start_many, calls = engine.start_many, []

    def surprising(plan, payloads, **options):
        calls.append(len(payloads))
        if len(calls) == 2:
            raise ZeroDivisionError
        return start_many(plan, payloads, **options)

    monkeypatch.setattr(engine, "start_many", surprising)
    body = "\n".join(json.dumps({"n": n}) for n in range(1200))

    answer = post(client, "start/batch?flowName=loan", body, "application/x-ndjson")

    told = answer.json()
    assert answer.status_code == 202
    assert (told["accepted"], told["nextLine"]) == (500, 501)
    assert len(told["correlationIds"]) == Run.objects.count() == 500
    assert told["rejected"][-1]["type"].endswith("internal-error")
    assert "ZeroDivisionError" in caplog.text


def test_commands_take_or_refuse_odd_values_without_a_traceback(client, tmp_path):
    call_command("start", "loan", payload=f'{{"a":{TINY[0]}}}')
    document = tmp_path / "document.json"
    document.write_text(f'{{"queues":[{{"name":"q","size":{TINY[0]}}}]}}')

    with pytest.raises(CommandError):
        call_command("config", "import", str(document))

    assert Run.objects.count() == 1
