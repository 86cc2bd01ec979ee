"""Start a run and wait for its end in one call; what answers say of the run and of repeats."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from django.db import DatabaseError
from knox.models import get_token_model

from flows import engine
from flows.models import Right, Run
from tests.integration.api.helpers import assert_problem, grant
from tests.integration.api.test_dead_letters import make_dead_letter
from tests.integration.api.test_start_groups import START, Server, caller, server

__all__ = ["caller", "server"]

WAITING = "flows.api.waiting.wait_until_finished"


def ending(*run_ids: UUID) -> None:
    for run in Run.objects.filter(pk__in=run_ids):
        engine.cancel(run)


class TestUnderTheFront:
    pytestmark = pytest.mark.django_db(transaction=True)

    @pytest.fixture(autouse=True)
    def runs_end_when_they_are_looked_for(self, server: Server, monkeypatch: Any) -> None:
        def look(run_ids: Collection[UUID]) -> set[UUID]:
            with server.lock:
                ending(*run_ids)
            return set(run_ids)

        monkeypatch.setattr(server.front._waiters, "_look", look)

    @pytest.mark.parametrize("path", [START, "/async/api/flows/loan/start?"])
    @pytest.mark.parametrize("query", ["wait=30", "w%61it=30"])
    def test_start_is_answered_with_its_run_at_the_end(self, server, path, query):
        [(status, headers, document)] = server.post({"amount": 1}, path=f"{path}&{query}")

        run = Run.objects.get()
        assert (status, document["status"], document["currentStep"]) == (200, "CANCELLED", "step 1")
        assert document["correlationId"] == headers["x-correlation-id"] == str(run.pk)

    def test_run_again_is_answered_with_its_run_at_the_end(self, server, caller):
        first = Run.objects.get(pk=engine.start("loan", {"amount": 1}, user=caller).correlation_id)
        engine.cancel(first)

        path = f"/async/api/runs/{first.pk}/again?wait=30"
        [(status, headers, document)] = server.post({"payload": {"amount": 2}}, path=path)

        run = Run.objects.get(repeats=first.pk)
        assert (status, document["status"], document["repeats"]) == (
            200,
            "CANCELLED",
            str(first.pk),
        )
        assert document["correlationId"] == headers["x-correlation-id"] == str(run.pk)
        assert Run.objects.count() == 2

    def test_start_is_accepted_where_the_login_ends_while_it_waits(self, server, monkeypatch):
        def look(run_ids: Collection[UUID]) -> set[UUID]:
            with server.lock:
                ending(*run_ids)
                get_token_model().objects.all().delete()
            return set(run_ids)

        monkeypatch.setattr(server.front._waiters, "_look", look)

        [(status, headers, document)] = server.post({"amount": 1}, path=f"{START}&wait=30")
        [(refused, _, _)] = server.post({"amount": 1}, path=f"{START}&wait=30")

        run = Run.objects.get()
        assert (status, document["correlationId"]) == (202, str(run.pk))
        assert headers["x-correlation-id"] == str(run.pk)
        assert "result" not in document
        assert refused == 401

    def test_starts_without_a_wait_do_not_wait(self, server):
        answers = [server.post({"amount": 1}, path=f"{START}{wait}")[0] for wait in ("", "&wait=0")]

        assert [(status, document["status"]) for status, _, document in answers] == [
            (202, "QUEUED"),
            (202, "QUEUED"),
        ]

    def test_start_that_finds_no_place_to_wait_is_answered_at_once(self, server, settings):
        settings.ASYNCENGINE_MAX_WAITERS = 0

        [(status, headers, document)] = server.post({"amount": 1}, path=f"{START}&wait=30")

        assert (status, document["status"]) == (202, "QUEUED")
        assert headers["location"].endswith(str(Run.objects.get().pk))


@pytest.fixture
def start(post, user, flow):
    grant(user, flow=flow)

    def start(**query: str) -> Any:
        return post(headers={"Idempotency-Key": "order 17"}, **query)

    return start


def with_wait(client: Any, seconds: str) -> Any:
    return client.post(
        f"/async/api/flows/loan/start?wait={seconds}",
        b'{"amount": 5}',
        "application/json",
        headers={"Idempotency-Key": "order 17"},
    )


@pytest.mark.django_db
def test_repeat_says_so_with_the_status_that_the_run_has(start, client):
    first = start()
    ending(Run.objects.get().pk)
    again, waited = start(), with_wait(client, "30")

    assert first.json()["status"] == "QUEUED"
    assert (again.status_code, again.json()["status"]) == (202, "CANCELLED")
    assert (waited.status_code, waited.json()["status"]) == (200, "CANCELLED")
    assert first.get("Idempotent-Replayed") is None
    assert again["Idempotent-Replayed"] == waited["Idempotent-Replayed"] == "true"
    assert len({each["X-Correlation-Id"] for each in (first, again, waited)}) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(("ends", "status"), [(True, 200), (False, 202)])
def test_wait_under_another_server_holds_a_thread_for_at_most_a_minute(start, client, ends, status):
    with mock.patch(WAITING) as waiting:
        if ends:
            waiting.side_effect = lambda run, _: ending(run)
        with_wait_done = with_wait(client, "1e9")
        response = start()

    assert (with_wait_done.status_code, response.status_code) == (status, 202)
    assert waiting.call_args.args == (Run.objects.get().pk, 60.0)


@pytest.mark.django_db
def test_start_is_accepted_where_its_run_cannot_be_read_after_the_wait(start, client):
    with mock.patch(WAITING, side_effect=DatabaseError("away")):
        response = with_wait(client, "30")

    assert (response.status_code, response.json()["status"]) == (202, "QUEUED")
    assert response["X-Correlation-Id"] == str(Run.objects.get().pk)


@pytest.mark.django_db
@pytest.mark.parametrize("wait", ["", "-1", "x", "nan", "1&wait=2"])
def test_wrong_wait_starts_nothing(start, client, wait):
    assert_problem(with_wait(client, wait), 400, "query-invalid")
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_every_answer_about_a_run_names_it(client, user, flow):
    letters = [make_dead_letter() for _ in range(2)]
    for right in (Right.START, Right.WATCH, Right.OPERATE):
        grant(user, right)
    discarded, requeued = letters
    run = discarded.run_id
    answers = {
        client.get(f"/async/api/runs/{run}"): 200,
        client.get(f"/async/api/runs/{run}/result"): 409,
        client.get(f"/async/api/runs/{run}/logs"): 200,
        client.post(f"/async/api/runs/{run}/cancel"): 200,
        client.delete(f"/async/api/dead-letters/{discarded.pk}"): 204,
    }
    other = client.post(f"/async/api/dead-letters/{requeued.pk}/reprocess")

    assert [answer.status_code for answer in answers] == list(answers.values())
    assert {answer["X-Correlation-Id"] for answer in answers} == {str(run)}
    assert other["X-Correlation-Id"] == str(requeued.run_id)
    assert client.get("/async/api/runs").get("X-Correlation-Id") is None
