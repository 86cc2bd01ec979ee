from __future__ import annotations

import logging
from collections.abc import Iterator
from unittest import mock

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404

from flows import errors
from flows.api.errors import PROBLEM_TYPES, TYPE_BASE, TYPE_BY_FLOW_ERROR, Problem, as_problem
from flows.configuration import ConfigurationInvalid
from tests.integration.api.helpers import assert_problem

PATH = "/async/api/flows"


@pytest.mark.parametrize("path", ["/async/", "/async/nothing", "/async/api/flows/", "/async/api"])
def test_unknown_path_is_not_found(anonymous, path):
    assert_problem(anonymous.get(path), 404, "not-found")


def test_paths_outside_are_left_alone(anonymous):
    assert anonymous.get("/nothing")["Content-Type"].startswith("text/html")


def test_forbidden_host_is_a_bad_request(anonymous):
    assert_problem(anonymous.get(PATH, headers={"Host": "evil.example"}), 400, "bad-request")


def test_answer_that_the_caller_does_not_accept_is_refused(client):
    response = client.get(PATH, headers={"Accept": "text/html"})

    problem = assert_problem(response, 406, "not-acceptable")
    assert problem["detail"] == "What can be given is application/json."


def test_what_is_wrong_is_named_behind_a_long_place():
    problem = Problem("payload-invalid", f"$.{'a' * 900} is nested too deep.")

    detail = problem.document()["detail"]

    assert len(detail) == 500
    assert detail.startswith("$.aa")
    assert detail.endswith("aa is nested too deep.")


def test_type_of_each_problem_leads_to_what_it_means(anonymous):
    for name, problem_type in PROBLEM_TYPES.items():
        document = anonymous.get(f"{TYPE_BASE}{name}").json()

        assert document["type"] == f"{TYPE_BASE}{name}"
        assert document["title"] == problem_type.title
        assert document["advice"]
    assert_problem(anonymous.get(f"{TYPE_BASE}nothing"), 404, "not-found")


def test_caller_that_accepts_problems_alone_gets_what_there_is(client):
    response = client.get("/async/api/runs", headers={"Accept": "application/problem+json"})

    assert response.status_code == 200


def test_too_many_parameters_are_a_bad_request(client):
    query = "&".join(f"a{n}=1" for n in range(2000))

    assert_problem(client.get(f"{PATH}?{query}"), 400, "bad-request")


@pytest.mark.parametrize("debug", [False, True])
def test_surprise_shows_nothing_and_is_logged_once(client, settings, caplog, debug):
    settings.DEBUG = debug

    with (
        caplog.at_level(logging.ERROR),
        mock.patch("flows.api.flows.rights_by_flow", side_effect=KeyError("hidden")),
    ):
        response = client.get(PATH)

    assert_problem(response, 500, "internal-error")
    assert b"hidden" not in response.content
    assert [record.exc_info is not None for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("error", "type_"),
    [
        (Http404(), "not-found"),
        (PermissionDenied(), "no-role"),
        (SuspiciousOperation(), "bad-request"),
        (errors.AlreadyReprocessed(), "already-reprocessed"),
    ],
)
def test_errors_of_django_and_of_the_engine_have_their_types(error, type_):
    problem = as_problem(error)

    assert problem is not None
    assert problem.type == type_


@pytest.mark.parametrize("host", ["engine.internal:8500", "x y", "ä"])
def test_a_host_that_is_not_allowed_is_told(anonymous, host):
    document = assert_problem(
        anonymous.get("/async/api/runs", headers={"Host": host}), 400, "bad-request"
    )

    assert document["detail"].startswith(f"The host {host!r} is not allowed: ")
    assert "ASYNCENGINE_ALLOWED_HOSTS" in document["detail"]


def test_another_bad_request_says_nothing_of_hosts(anonymous):
    answer = anonymous.post("/async/api/auth/token", b"{", "application/json")

    assert "host" not in answer.json()["detail"]


def test_every_error_that_a_caller_can_meet_has_a_word():
    inner = {errors.LeaseLost, errors.DeadlinePassed, ConfigurationInvalid}
    of_python_callers = {
        errors.NotFound,
        errors.OptionInvalid,
        errors.RunFailed,
    }

    known = {*subclasses(errors.FlowError)}

    assert known - inner - of_python_callers == set(TYPE_BY_FLOW_ERROR)


def subclasses(base: type) -> Iterator[type]:
    each: type
    for each in base.__subclasses__():
        yield each
        yield from subclasses(each)
