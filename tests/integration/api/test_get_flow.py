from __future__ import annotations

import pytest

from flows import engine
from flows.models import AuditEntry, Flow, Queue, Right
from tests.builders import make_flow
from tests.integration.api.helpers import assert_problem, grant, make_loan_flow

PATH = "/async/api/flows/loan"


def test_flow_is_shown_as_in_the_list(client, user, flow):
    grant(user, Right.START, flow)

    [listed] = client.get("/async/api/flows").json()["results"]

    assert client.get(PATH).json() == listed


def test_version_is_the_latest(client, user, flow):
    grant(user, Right.WATCH, flow)
    engine.start("loan", {})

    assert client.get(PATH).json()["version"] == 1


def test_name_may_have_any_character(client, user):
    grant(user, Right.START, make_loan_flow("a/b c%"))

    shown = client.get("/async/api/flows/a%2Fb%20c%25").json()

    assert shown["name"] == "a/b c%"
    assert shown["startUrl"] == "http://testserver/async/api/flows/a/b%20c%25/start"


@pytest.mark.parametrize("name", ["unknown", "%00"])
def test_unknown_flow_is_not_found(client, name):
    assert_problem(client.get(f"/async/api/flows/{name}"), 404, "unknown-flow")


def test_flow_that_the_caller_may_only_operate_is_shown(client, user, flow):
    grant(user, Right.OPERATE, flow)

    assert client.get(PATH).json()["rights"] == ["operate"]


def test_flow_is_paused_and_resumed_by_who_operates_it(client, user, flow):
    grant(user, Right.OPERATE, flow)
    reason = {"reason": "The prices are wrong."}

    for _ in range(2):
        paused = client.post(f"{PATH}/pause", reason, content_type="application/json")
        assert (paused.status_code, paused.json()["paused"]) == (200, True)
        assert paused.json() == client.get(PATH).json()
    queue = client.get("/async/api/queues/loan queue 1").json()
    assert (queue["paused"], queue["waitingBecause"]) == (False, None)
    engine.start("loan", {})
    assert "paused" in client.get("/async/api/queues/loan queue 1").json()["waitingBecause"]
    flow.refresh_from_db()
    assert (flow.paused_by, flow.pause_reason) == (user, "The prices are wrong.")
    for _ in range(2):
        assert client.post(f"{PATH}/resume").json()["paused"] is False

    entries = AuditEntry.objects.filter(verb__in=("pause", "resume"))
    assert {(each.verb, each.actor) for each in entries} == {
        ("pause", "caller"),
        ("resume", "caller"),
    }


@pytest.mark.parametrize("body", [{"reason": 5}, {"why": "x"}, []])
def test_wrong_body_pauses_nothing(client, user, flow, body):
    grant(user, Right.OPERATE, flow)

    response = client.post(f"{PATH}/pause", body, content_type="application/json")

    assert_problem(response, 400, "payload-invalid")
    assert client.get(PATH).json()["paused"] is False


def test_caller_without_credentials_is_asked_for_them(anonymous, flow):
    assert_problem(anonymous.get(PATH), 401, "not-authenticated")


ENDINGS = ("start", "pause", "resume", "schedules", "schedules/nightly")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_flow_whose_stored_name_ends_as_another_address_does_is_read(client, user, ending):
    flow = make_flow("reports")
    grant(user, Right.WATCH, flow)
    Flow.objects.filter(pk=flow.pk).update(name=f"reports/{ending}")

    answer = client.get(f"/async/api/flows/reports/{ending}")

    assert answer.status_code == 200, answer.content
    assert answer.json()["name"] == f"reports/{ending}"
    status = client.get(f"/async/api/flows/others/{ending}").status_code
    assert status == (404 if ending.startswith("schedules") else 405)


@pytest.mark.parametrize("ending", ["pause", "resume"])
def test_so_is_such_a_queue(client, user, ending):
    grant(user, Right.WATCH, make_flow("reports"))
    Queue.objects.filter(name="reports-0").update(name=f"reports/{ending}")

    assert client.get(f"/async/api/queues/reports/{ending}").json()["name"] == f"reports/{ending}"
    assert client.get(f"/async/api/queues/others/{ending}").status_code == 405
