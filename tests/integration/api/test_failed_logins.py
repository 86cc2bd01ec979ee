from __future__ import annotations

import json
from unittest import mock

import pytest
from django.contrib.auth.models import User

from flows.api import logins

from .conftest import PASSWORD, assert_problem, basic, client_of

PATH = "/async/api/flows"
TOKEN = "/async/api/auth/token"


def in_header(client, name: str, password: str, **more):
    return client.get(PATH, headers=basic(name, password), **more)


def in_body(client, name: str, password: str, **more):
    body = json.dumps({"userName": name, "password": password})
    return client.post(TOKEN, body, content_type="application/json", **more)


def fail(client, times: int = logins.MOST_FAILURES, log_in=in_header, name="caller", **more):
    return [log_in(client, name, f"guess {n}", **more).status_code for n in range(times)]


@pytest.mark.parametrize("log_in", [in_header, in_body])
def test_guesses_are_refused_unseen_after_the_first_ones(anonymous, user, log_in):
    assert fail(anonymous, log_in=log_in) == [401] * logins.MOST_FAILURES

    response = log_in(anonymous, "caller", PASSWORD)

    assert_problem(response, 429, "too-many-logins")
    assert 0 < int(response["Retry-After"]) <= logins.WITHIN_SECONDS


def test_guesses_at_all_names_and_both_doors_count_together(anonymous, user):
    fail(anonymous, 5, name="one")
    fail(anonymous, 5, log_in=in_body, name="other")

    assert in_header(anonymous, "caller", "guess").status_code == 429


def test_after_a_while_the_password_is_looked_at_again(anonymous, user):
    fail(anonymous)
    now = logins.time.monotonic()

    with mock.patch.object(logins.time, "monotonic", return_value=now + logins.WITHIN_SECONDS + 1):
        assert in_header(anonymous, "caller", PASSWORD).status_code == 200


def test_another_address_is_not_concerned(anonymous, user):
    fail(anonymous)

    response = in_header(anonymous, "caller", PASSWORD, REMOTE_ADDR="192.0.2.7")

    assert response.status_code == 200


def test_who_has_logged_in_from_there_is_not_locked_out_by_others(anonymous, user):
    assert in_body(anonymous, "caller", PASSWORD).status_code == 200
    fail(anonymous, name="somebody else")

    assert in_body(anonymous, "caller", PASSWORD).status_code == 200
    assert fail(anonymous, log_in=in_body)[-1] == 401
    assert in_body(anonymous, "caller", PASSWORD).status_code == 429


def test_logins_that_succeed_are_never_counted(anonymous, user):
    for _ in range(2 * logins.MOST_FAILURES):
        assert in_body(anonymous, "caller", PASSWORD).status_code == 200


def test_token_is_good_whatever_failed_there(anonymous, user):
    fail(anonymous)

    assert client_of(user).get(PATH).status_code == 200


def test_header_of_a_proxy_counts_only_where_there_is_one(anonymous, user, settings):
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    fail(anonymous)
    faked = anonymous.get(PATH, headers=basic("caller") | forwarded)
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    real = anonymous.get(PATH, headers=basic("caller") | forwarded)

    assert (faked.status_code, real.status_code) == (429, 200)


def test_what_is_remembered_is_bounded():
    memory = logins.FailedLogins(size=10)
    for n in range(100):
        memory._count((str(n), ""))
        with memory.watch(str(n), User(username="caller").username):
            pass

    assert len(memory.failures) <= 10
    assert len(memory.known) <= 10
