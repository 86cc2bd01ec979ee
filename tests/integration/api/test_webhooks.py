"""The API of webhooks: the callback of a start, what was sent, and sending it again."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from flows import engine
from flows.models import AuditEntry, Right, Run, RunCallback, WebhookDelivery
from tests.integration.api.helpers import assert_problem, grant

BATCH = "/async/api/start/batch?flowName=loan"
PATHS = ["/async/api/start?flowName=loan", "/async/api/flows/loan/start?", BATCH]
CALLBACK = "https://caller.example/hook?token=1"


@pytest.fixture
def start(client, user, flow):
    grant(user, flow=flow)

    def post(path: str, url: str, key: str | None = None) -> Any:
        kind = "application/x-ndjson" if path == BATCH else "application/json"
        headers = {} if key is None else {"Idempotency-Key": key}
        query = f"callbackUrl={quote(url, safe='')}"
        return client.post(f"{path}&{query}", b"{}", kind, headers=headers)

    return post


@pytest.fixture
def delivery(user, flow) -> WebhookDelivery:
    grant(user, Right.OPERATE, flow)
    engine.start("loan", {}, callback_url=CALLBACK)
    engine.cancel(Run.objects.get())
    return WebhookDelivery.objects.get()


@pytest.mark.parametrize("path", PATHS)
def test_callback_is_kept_with_the_run(start, path):
    assert start(path, CALLBACK).status_code == 202

    assert RunCallback.objects.get().url == CALLBACK
    assert RunCallback.objects.get().run == Run.objects.get()


REFUSED_ADDRESSES: list[Any] = [
    ("http://127.1:8000/hook", "callback-refused"),
    ("https://169.254.169.254/latest", "callback-refused"),
    ("https://[::ffff:10.0.0.1]/", "callback-refused"),
    *((url, "query-invalid") for url in ("", "ftp://a.example/", "https://u:p@a.example/")),
]


@pytest.mark.parametrize("path", PATHS)
def test_address_that_is_refused_starts_nothing(start, path):
    for url, word in REFUSED_ADDRESSES:
        document = assert_problem(start(path, url), 400, word)

        assert document["errors"][0]["parameter"] == "callbackUrl", url
        assert not Run.objects.exists(), url


def test_private_address_is_taken_where_the_flow_grants_it(start, flow):
    flow.private_webhooks = True
    flow.save()

    assert start(PATHS[0], "http://127.1:8000/hook").status_code == 202


def test_start_with_another_callback_is_another_one(start):
    first, second = (start(PATHS[0], CALLBACK, "k") for _ in range(2))

    assert second["Idempotent-Replayed"] == "true"
    assert second.json()["correlationId"] == first.json()["correlationId"]
    assert_problem(start(PATHS[0], "https://other.example/", "k"), 409, "idempotency-conflict")


def test_deliveries_of_a_run_are_listed_without_the_query_of_their_address(client, delivery):
    response = client.get(f"/async/api/runs/{delivery.run_id}/webhooks")

    [found] = response.json()["results"]
    assert response["X-Correlation-Id"] == str(delivery.run_id)
    assert found.pop("createdAt") == found.pop("nextAttemptAt")
    assert found == {
        "id": str(delivery.pk),
        "correlationId": str(delivery.run_id),
        "kind": "callback",
        "type": "run.cancelled",
        "url": "https://caller.example/hook?…",
        "status": "pending",
        "attempts": 0,
        "lastAttemptAt": None,
        "answerStatus": None,
        "error": None,
    }


def test_delivery_is_sent_again_and_the_audit_log_has_it(client, delivery):
    WebhookDelivery.objects.update(status="failed", attempts=12, next_attempt_at=None)
    path = f"/async/api/webhooks/{delivery.pk}/replay"

    response = client.post(path, {"reason": "it is back"}, "application/json")

    assert response.status_code == 202
    document = response.json()
    assert (document["status"], document["attempts"]) == ("pending", 0)
    delivery.refresh_from_db()
    assert delivery.next_attempt_at is not None
    entry = AuditEntry.objects.get(verb="send again")
    assert (entry.actor, entry.reason, entry.target_id) == (
        "caller",
        "it is back",
        str(delivery.run_id),
    )


@pytest.mark.parametrize("id", ["1", "x", "01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e"])
def test_unknown_delivery_is_not_found(client, delivery, id):
    assert_problem(client.post(f"/async/api/webhooks/{id}/replay"), 404, "not-found")
