"""Methods that an operation does not have, and OPTIONS, at every operation."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.integration.api.helpers import assert_problem, client_of, undone

OPERATIONS = [
    ("/async/api/runs", "GET"),
    ("/async/api/runs/counts", "GET"),
    ("/async/api/events?flowName=loan", "GET"),
    ("/async/api/runs/01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e/events", "GET"),
    ("/async/api/start?flowName=loan", "POST"),
    ("/async/api/start/batch?flowName=loan", "POST"),
    ("/async/api/auth/tokens", "POST"),
    ("/async/health/live", "GET"),
]
PATHS = [path for path, _ in OPERATIONS]


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=PATHS)
def test_options_are_answered_with_the_methods_alone(
    client: Client, path: str, method: str
) -> None:
    answer = client.options(path)

    assert (answer.status_code, answer.content) == (204, b"")
    assert {method, "OPTIONS"} <= set(answer["Allow"].split(", "))
    assert "Content-Type" not in answer


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("query", ["", "unknown=1"])
def test_a_method_that_is_not_there_is_refused_whatever_the_query(
    client: Client, path: str, query: str
) -> None:
    answer = client.put(f"{path}{'&' if '?' in path else '?'}{query}", {}, "application/json")

    assert_problem(answer, 405, "method-not-allowed")
    assert "PUT" not in answer["Allow"]


def test_options_need_a_login_where_the_operation_does(anonymous: Client) -> None:
    assert_problem(anonymous.options("/async/api/events"), 401, "not-authenticated")
    assert anonymous.options("/async/health/live").status_code == 204


@pytest.mark.parametrize("accept", ["*/*", "text/html"])
@pytest.mark.parametrize("logged_in", [False, True])
def test_every_operation_answers_as_the_document_says(
    admin: User, anonymous: Client, accept: str, logged_in: bool
) -> None:
    document = anonymous.get("/async/specifications/openapi.json").json()
    caller = client_of(admin) if logged_in else anonymous

    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            url = re.sub("{.*?}", "7", path)
            with undone():
                answer = getattr(caller, method)(url, headers={"Accept": accept})

            known = operation["responses"]
            assert str(answer.status_code) in known, (method, path, answer.status_code)


@pytest.mark.parametrize("body", [b"", b"null", b" null "])
def test_an_optional_body_may_be_left_out_as_generated_clients_do(admin: User, body: bytes) -> None:
    caller = client_of(admin)
    document = caller.get("/async/specifications/openapi.json").json()
    optional = [
        (method, re.sub("{.*?}", "7", path))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation and not operation["requestBody"].get("required")
    ]

    assert len(optional) > 5
    for method, url in optional:
        with undone():
            answer = getattr(caller, method)(url, body, "application/json")

        assert answer.status_code != 400, (method, url, answer.content)
