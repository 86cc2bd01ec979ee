from __future__ import annotations

from unittest import mock

from flows.models import Flow, Right
from tests.integration.api.helpers import assert_problem, client_of, grant, make_loan_flow

PATH = "/async/api/flows"


def names(client, path=PATH):
    return [flow["name"] for flow in client.get(path).json()["results"]]


def test_flows_that_the_caller_may_start_watch_or_operate_are_listed_by_name(client, user):
    grant(user, Right.START, make_loan_flow("zebra"))
    grant(user, Right.WATCH, make_loan_flow("ape"))
    grant(user, Right.OPERATE, make_loan_flow("operated"))
    make_loan_flow("foreign")

    assert names(client) == ["ape", "operated", "zebra"]


def test_caller_without_rights_gets_an_empty_list(client, flow):
    assert client.get(PATH).json() == {"results": [], "next": None, "nextCursor": None}


def test_superuser_sees_every_flow_and_has_every_right(admin, flow):
    [shown] = client_of(admin).get(PATH).json()["results"]

    assert shown["rights"] == ["configure", "operate", "start", "watch"]


def test_schema_with_numbers_of_any_length_is_shown_as_it_is(client, user):
    schema = {"properties": {"n": {"maximum": 2**64, "minimum": -(10**30), "multipleOf": 0.01}}}
    grant(user, Right.WATCH, make_loan_flow(schema=schema))

    response = client.get(PATH)

    assert response.status_code == 200
    assert response.json()["results"][0]["inputSchema"] == schema
    assert client.get(f"{PATH}/loan").json()["inputSchema"] == schema


def test_flow_is_shown_with_steps_schema_and_rights(client, user):
    schema = {"type": "object", "required": ["amount"]}
    flow = make_loan_flow(schema=schema, description="Lends money.")
    grant(user, Right.START, flow)
    grant(user, Right.WATCH, None)

    [shown] = client.get(PATH).json()["results"]

    assert shown == {
        "name": "loan",
        "description": "Lends money.",
        "active": True,
        "paused": False,
        "version": None,
        "steps": [
            {
                "name": f"step {n}",
                "scriptName": f"loan script {n}",
                "queueName": f"loan queue {n}",
                "threads": 4,
            }
            for n in (1, 2)
        ],
        "inputSchema": schema,
        "startUrl": "http://testserver/async/api/flows/loan/start",
        "rights": ["start", "watch"],
    }


def test_pages_follow_each_other_by_next(admin):
    client = client_of(admin)
    for name in ("a", "b", "c d", "e"):
        Flow.objects.create(name=name)

    with mock.patch("flows.api.pages.PAGE_SIZE", 2):
        first = client.get(PATH).json()
        second = client.get(first["next"]).json()

    assert [flow["name"] for flow in first["results"]] == ["a", "b"]
    assert [flow["name"] for flow in second["results"]] == ["c d", "e"]
    assert second["next"] is None


def test_number_of_queries_does_not_grow_with_the_flows(
    client, user, django_assert_max_num_queries
):
    for n in range(5):
        grant(user, Right.START, make_loan_flow(f"flow {n}"))
    client.get(PATH)

    with django_assert_max_num_queries(6):
        client.get(PATH)


def test_caller_without_credentials_is_asked_for_them(anonymous):
    assert_problem(anonymous.get(PATH), 401, "not-authenticated")


def test_unknown_parameters_are_refused(client):
    assert_problem(client.get(f"{PATH}?page=2"), 400, "query-invalid")
    assert_problem(client.get(f"{PATH}?cursor=%00"), 400, "query-invalid")
