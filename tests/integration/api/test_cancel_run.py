from __future__ import annotations

import pytest

from flows import engine
from flows.models import Message, Right, Run
from tests.integration.api.helpers import assert_problem, client_of, grant


def start(user=None) -> Run:
    return Run.objects.get(pk=engine.start("loan", {}, user=user).correlation_id)


def cancel(client, run, query=""):
    return client.post(f"/async/api/runs/{getattr(run, 'pk', run)}/cancel{query}")


def test_cancelled_run_is_the_answer(client, user, flow):
    grant(user, Right.OPERATE, flow)
    run = start()

    response = cancel(client, run)

    assert response.status_code == 200
    assert response.json()["status"] == "CANCELLED"
    assert response.json() == client.get(f"/async/api/runs/{run.pk}").json()
    run.refresh_from_db()
    assert run.cancelled_by == user
    assert not Message.objects.exists()


def test_cancelling_again_changes_nothing(client, user, flow):
    grant(user, Right.OPERATE, flow)
    run = start()

    assert cancel(client, run).json() == cancel(client, run).json()


def test_run_that_has_ended_stays_as_it_is(client, user, flow):
    grant(user, Right.OPERATE, flow)
    run = start()
    Message.objects.all()._raw_delete("default")
    Run.objects.update(status="COMPLETED")

    response = cancel(client, run)

    assert response.status_code == 200
    assert response.json()["status"] == "COMPLETED"


def test_own_run_is_cancelled_by_who_may_only_start(client, user, flow):
    grant(user, Right.START, flow)

    assert cancel(client, start(user)).status_code == 200
    assert_problem(cancel(client, start()), 404, "not-found")


def test_caller_who_may_only_see_the_run_is_refused(client, user, flow):
    grant(user, Right.WATCH, flow)
    run = start(user)

    assert_problem(cancel(client, run), 403, "no-role")
    run.refresh_from_db()
    assert run.status == "QUEUED"


def test_superuser_needs_no_role(admin, flow):
    assert cancel(client_of(admin), start()).status_code == 200


@pytest.mark.parametrize("id", ["01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e", "nothing"])
def test_unknown_run_is_not_found(client, flow, id):
    assert_problem(cancel(client, id), 404, "not-found")


def test_caller_without_credentials_is_asked_for_them(anonymous, flow):
    assert_problem(cancel(anonymous, start()), 401, "not-authenticated")


def test_wrong_query_and_method_are_refused(client, flow):
    run = start()

    assert_problem(cancel(client, run, "?force=1"), 400, "query-invalid")
    assert_problem(client.get(f"/async/api/runs/{run.pk}/cancel"), 405, "method-not-allowed")
