from __future__ import annotations

from urllib.parse import quote

import pytest

from flows.models import Run
from tests.integration.api.helpers import assert_problem, grant, make_loan_flow


def start(client, name, query="", body=b"{}"):
    path = f"/async/api/flows/{quote(name, safe='')}/start{query}"
    return client.post(path, body, content_type="application/json")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["loan", "Loan application", "a/b", "é", "50%", "a?b", "{x}"])
def test_flow_is_started_at_its_own_address(client, user, name):
    grant(user, flow=make_loan_flow(name))

    response = start(client, name)

    assert response.status_code == 202
    assert response.json()["flowName"] == name
    assert Run.objects.get().flow_version.flow_name == name


def test_caller_without_credentials_is_asked_for_them(anonymous, flow):
    assert_problem(start(anonymous, "loan"), 401, "not-authenticated")


def test_caller_without_a_role_is_refused(client, flow):
    assert_problem(start(client, "loan"), 403, "no-role")


def test_unknown_flow_is_not_found(client, flow):
    assert_problem(start(client, "unknown"), 404, "unknown-flow")


def test_query_parameters_are_refused(client, flow):
    assert_problem(start(client, "loan", "?flowName=loan"), 400, "query-invalid")


def test_bad_payload_is_refused(client, user, flow):
    grant(user, flow=flow)

    assert_problem(start(client, "loan", body=b"[]"), 400, "payload-invalid")
