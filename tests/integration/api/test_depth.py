"""How deep what callers send may be nested: 200 levels of the payload, at every door."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from flows import engine
from flows.errors import PayloadInvalid
from flows.models import DeadLetter, Message, Right, Run
from tests.integration.api.helpers import assert_problem, grant

pytestmark = pytest.mark.django_db

FITTING, TOO_DEEP = 200, [201, 254, 255, 256, 970, 1023, 1024, 1025, 100_000]


def nested(levels: int) -> str:
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


def make_dead_letter(user: Any, flow: Any, levels: int) -> DeadLetter:
    run_id = engine.start(flow.name, {}).correlation_id
    message = Message.objects.get(pk=run_id)
    Message.objects.filter(pk=message.pk)._raw_delete("default")
    Run.objects.filter(pk=run_id).update(status=Run.Status.FAILED)
    grant(user, Right.OPERATE, flow)
    return DeadLetter.objects.create(
        run_id=run_id,
        step=message.step,
        reason=DeadLetter.Reason.EXHAUSTED,
        error="no luck",
        body=f'{{"correlationId":"{run_id}","payload":{nested(levels)}}}',
        deliveries=5,
        dead_at=timezone.now(),
    )


def test_a_start_may_be_as_deep_as_the_limit(post, user, flow):
    grant(user, flow=flow)

    assert post(body=nested(FITTING).encode()).status_code == 202


@pytest.mark.parametrize("levels", TOO_DEEP)
def test_a_deeper_start_is_refused_with_the_place(post, user, flow, levels):
    grant(user, flow=flow)

    document = assert_problem(post(body=nested(levels).encode()), 400, "payload-invalid")

    [error] = document["errors"]
    assert error["path"].startswith("$.a[0][0]")
    assert "more than 200 deep" in error["detail"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("levels", TOO_DEEP)
def test_in_a_batch_the_deep_line_alone_is_refused(client, user, flow, levels):
    grant(user, flow=flow)
    lines = "\n".join(["{}", nested(levels), nested(FITTING)])

    response = client.post(
        f"/async/api/start/batch?flowName={flow.name}",
        lines,
        content_type="application/x-ndjson",
    )

    document = response.json()
    assert document["accepted"] == 2
    assert [each["line"] for each in document["rejected"]] == [2]
    assert "200 deep" in document["rejected"][0]["detail"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("levels", TOO_DEEP)
def test_another_payload_for_a_dead_letter_is_refused_when_it_is_deeper(client, user, flow, levels):
    path = f"/async/api/dead-letters/{make_dead_letter(user, flow, 1).pk}/reprocess"

    def reprocess(levels: int) -> Any:
        body = f'{{"payload":{nested(levels)}}}'
        return client.post(path, body, content_type="application/json")

    assert_problem(reprocess(levels), 400, "payload-invalid")
    assert reprocess(FITTING).status_code == 202


@pytest.mark.parametrize("levels", [201, 970, 1023, 5000])
def test_a_dead_letter_that_is_deeper_already_is_shown_and_can_be_requeued(
    client, user, flow, levels
):
    letter = make_dead_letter(user, flow, levels)

    assert client.get("/async/api/dead-letters").status_code == 200
    path = f"/async/api/dead-letters/{letter.pk}/reprocess"
    response = client.post(path, content_type="application/json")

    assert response.status_code == 202
    assert nested(levels) in Message.objects.get().body


@pytest.mark.parametrize("levels", [970, 1023, 5000])
def test_a_deep_dead_letter_can_be_repaired(client, user, flow, levels):
    letter = make_dead_letter(user, flow, levels)

    response = client.post(
        f"/async/api/dead-letters/{letter.pk}/reprocess",
        '{"payload":{"repaired":1}}',
        content_type="application/json",
    )

    assert response.status_code == 202
    assert json.loads(Message.objects.get().body)["payload"] == {"repaired": 1}


@pytest.mark.parametrize("levels", [201, 900, 1023, 5000])
def test_code_and_command_are_refused_what_is_deeper(flow, levels, tmp_path):
    deep: dict[str, Any] = {}
    for _ in range(levels - 1):
        deep = {"a": deep}
    file = tmp_path / "payloads.json"
    file.write_text(f"[{nested(levels)}]")

    with pytest.raises(PayloadInvalid):
        engine.start(flow.name, deep)
    for payload in (nested(levels), f"@{file}"):
        with pytest.raises(CommandError):
            call_command("start", flow.name, payload=payload)


@pytest.mark.parametrize("levels", [201, 970, 1023, 5000])
def test_a_run_with_a_deep_result_is_shown(client, user, flow, levels):
    run_id = engine.start(flow.name, {}).correlation_id
    Run.objects.filter(pk=run_id).update(status=Run.Status.COMPLETED, result=nested(levels))
    grant(user, Right.WATCH, flow)

    response = client.get(f"/async/api/runs/{run_id}")

    assert response.status_code == 200
    assert nested(levels) in response.content.decode().replace(" ", "")
