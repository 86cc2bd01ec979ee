from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.test import Client, RequestFactory
from django.utils import timezone

from flows.access.addresses import caller_network
from flows.api import logins
from flows.api.authentication import BasicAuthentication
from flows.models import LoginCount
from flows.tasks.retention import purge
from tests.databases import is_postgresql
from tests.integration.api.helpers import PASSWORD, assert_problem, basic, client_of
from tests.integration.at_once import at_once

PATH = "/async/api/flows"
TOKEN = "/async/api/auth/token"
PAGE = "/admin/login/"


def in_header(client, name: str, password: str, **more):
    return client.get(PATH, headers=basic(name, password), **more)


def in_body(client, name: str, password: str, **more):
    body = json.dumps({"userName": name, "password": password})
    return client.post(TOKEN, body, content_type="application/json", **more)


def in_public(client, name: str, password: str, **more):
    """By a call that needs no login; a wrong one counts as none."""
    path = "/async/specifications/openapi.json"
    return client.get(path, headers=basic(name, password), **more)


def on_page(client, name: str, password: str, **more):
    return client.post(PAGE, {"username": name, "password": password}, **more)


DOORS = [in_header, in_body, on_page]


def fail(client, times: int = logins.MOST_FAILURES, log_in=in_header, name="caller", **more):
    return [log_in(client, name, f"guess {n}", **more).status_code for n in range(times)]


def later(seconds: float) -> Any:
    moment = timezone.now() + timedelta(seconds=seconds)
    return mock.patch.object(logins.timezone, "now", return_value=moment)


def forget_good_passwords() -> None:
    BasicAuthentication.good._values.clear()


@pytest.fixture
def staff(user):
    user.is_staff = True
    user.save()
    return user


@pytest.mark.parametrize("log_in", [in_header, in_body])
def test_guesses_are_refused_unseen_after_the_first_ones(anonymous, user, log_in):
    assert fail(anonymous, log_in=log_in) == [401] * logins.MOST_FAILURES

    response = log_in(anonymous, "caller", PASSWORD)

    assert_problem(response, 429, "too-many-logins")
    assert 0 < int(response["Retry-After"]) <= logins.WITHIN_SECONDS


def test_login_page_refuses_in_its_own_form(anonymous, staff):
    assert fail(anonymous, log_in=on_page) == [200] * logins.MOST_FAILURES

    response = on_page(anonymous, "caller", PASSWORD)

    assert response.status_code == 429
    assert 0 < int(response["Retry-After"]) <= logins.WITHIN_SECONDS
    assert b"Too many logins have failed. Try again in" in response.content
    assert "_auth_user_id" not in anonymous.session


def test_login_page_lets_in_who_has_not_failed_too_often(anonymous, staff):
    fail(anonymous, logins.MOST_FAILURES - 1, log_in=on_page)

    assert on_page(anonymous, "caller", PASSWORD).status_code == 302
    assert anonymous.get("/admin/").status_code == 200


def test_login_page_is_shown_and_incomplete_forms_are_not_counted(anonymous, staff):
    for _ in range(2 * logins.MOST_FAILURES):
        assert anonymous.get(PAGE).status_code == 200
        assert on_page(anonymous, "caller", "").status_code == 200
        assert on_page(anonymous, "", "guess").status_code == 200

    assert on_page(anonymous, "caller", PASSWORD).status_code == 302


@pytest.mark.sampled(4)
@pytest.mark.parametrize("first", [*DOORS, in_public])
@pytest.mark.parametrize("second", [*DOORS, in_public])
def test_all_doors_count_together(anonymous, user, first, second):
    fail(anonymous, 5, log_in=first, name="one")
    fail(anonymous, 5, log_in=second, name="other")

    for log_in in (*DOORS, in_public):
        assert log_in(anonymous, "caller", "guess").status_code == 429


@pytest.mark.parametrize("log_in", DOORS)
def test_guesses_at_one_account_from_many_addresses_count_together(anonymous, staff, log_in):
    for n in range(logins.MOST_FAILURES_OF_ACCOUNT):
        address = f"198.51.100.{n}"
        assert log_in(anonymous, "caller", "guess", REMOTE_ADDR=address).status_code != 429

    response = log_in(anonymous, "caller", PASSWORD, REMOTE_ADDR="198.51.100.200")

    assert response.status_code == 429
    assert 0 < int(response["Retry-After"]) <= logins.ACCOUNT_WITHIN_SECONDS
    other = log_in(anonymous, "another", "guess", REMOTE_ADDR="198.51.100.201")
    assert other.status_code != 429


def test_account_that_is_not_there_counts_as_one_that_is(anonymous, user):
    for n in range(logins.MOST_FAILURES_OF_ACCOUNT):
        in_header(anonymous, "unknown", "guess", REMOTE_ADDR=f"198.51.100.{n}")

    assert in_header(anonymous, "unknown", "x", REMOTE_ADDR="198.51.100.200").status_code == 429


def test_names_that_a_form_takes_for_the_same_count_together(anonymous, staff):
    for n in range(logins.MOST_FAILURES_OF_ACCOUNT):
        name = ["caller", "\N{FULLWIDTH LATIN SMALL LETTER C}aller", "CALLER"][n % 3]
        on_page(anonymous, name, "guess", REMOTE_ADDR=f"198.51.100.{n}")

    assert on_page(anonymous, "caller", "x", REMOTE_ADDR="198.51.100.200").status_code == 429


def test_where_an_account_is_known_it_is_not_locked_out_by_guesses_from_elsewhere(anonymous, user):
    assert in_header(anonymous, "caller", PASSWORD).status_code == 200
    for n in range(logins.MOST_FAILURES_OF_ACCOUNT):
        in_header(anonymous, "caller", "guess", REMOTE_ADDR=f"198.51.100.{n}")
    forget_good_passwords()

    assert in_header(anonymous, "caller", PASSWORD).status_code == 200


@pytest.mark.parametrize("log_in", [in_header, in_body])
def test_after_a_while_the_password_is_looked_at_again(anonymous, user, log_in):
    fail(anonymous)

    with later(logins.WITHIN_SECONDS + 1):
        assert log_in(anonymous, "caller", PASSWORD).status_code == 200


def test_failures_of_long_ago_do_not_add_up(anonymous, user):
    fail(anonymous, logins.MOST_FAILURES - 1)

    with later(logins.WITHIN_SECONDS + 1):
        assert fail(anonymous) == [401] * logins.MOST_FAILURES
        assert fail(anonymous, 1) == [429]


def test_clock_that_went_wrong_locks_no_caller_out(anonymous, user):
    with later(30 * 24 * 3600):
        fail(anonymous)

    assert in_header(anonymous, "caller", PASSWORD).status_code == 200
    assert fail(anonymous, 1, name="other") == [401]


def test_another_address_is_not_concerned(anonymous, user):
    fail(anonymous)

    response = in_header(anonymous, "caller", PASSWORD, REMOTE_ADDR="192.0.2.7")

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("not an address", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_networks_of_ipv6_are_one_address(one, other, same):
    found = [
        caller_network(RequestFactory().get("/", REMOTE_ADDR=address)) for address in (one, other)
    ]

    assert (found[0] == found[1]) is same


@pytest.mark.parametrize("log_in", DOORS)
def test_who_has_logged_in_from_there_is_not_locked_out_by_others(anonymous, staff, log_in):
    assert in_body(anonymous, "caller", PASSWORD).status_code == 200
    fail(anonymous, name="another")

    assert log_in(Client(), "caller", PASSWORD).status_code in {200, 302}
    assert fail(anonymous, log_in=log_in)[-1] in {200, 401}
    forget_good_passwords()
    assert log_in(Client(), "caller", PASSWORD).status_code == 429


def test_logins_that_succeed_are_never_counted(anonymous, user):
    for _ in range(2 * logins.MOST_FAILURES):
        assert in_body(anonymous, "caller", PASSWORD).status_code == 200


def test_login_that_succeeds_again_writes_nothing(anonymous, user, django_assert_num_queries):
    in_header(anonymous, "caller", PASSWORD)
    forget_good_passwords()

    with mock.patch.object(LoginCount.objects, "update_or_create") as write:
        assert in_header(anonymous, "caller", PASSWORD).status_code == 200

    assert not write.called


def test_token_is_good_whatever_failed_there(anonymous, user):
    fail(anonymous)

    assert client_of(user).get(PATH).status_code == 200


@pytest.mark.parametrize("log_in", DOORS)
def test_header_of_a_proxy_counts_only_where_there_is_one(anonymous, staff, settings, log_in):
    def forwarded(n: int) -> dict[str, str]:
        return {"HTTP_X_FORWARDED_FOR": f"203.0.113.{n}, 192.0.2.{n}"}

    for n in range(logins.MOST_FAILURES):
        log_in(anonymous, "other", "guess", **forwarded(n))
    faked = log_in(anonymous, "caller", "guess", **forwarded(99))
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    real = log_in(anonymous, "caller", "guess", **forwarded(99))

    assert faked.status_code == 429
    assert real.status_code != 429


def test_name_of_any_length_is_counted(anonymous, user):
    assert fail(anonymous, name="x" * 10_000)[-1] == 401
    assert fail(anonymous, 1)[-1] == 429


def test_counts_are_purged_once_they_no_longer_count(anonymous, user):
    in_body(anonymous, "caller", PASSWORD)
    fail(anonymous, name="other")
    known = LoginCount.objects.exclude(known_at=None).get()

    purge(timezone.now() + timedelta(minutes=9))
    assert LoginCount.objects.count() == 3

    purge(timezone.now() + timedelta(minutes=11))
    assert list(LoginCount.objects.all()) == [known]

    purge(timezone.now() + timedelta(hours=25))
    assert not LoginCount.objects.exists()


@pytest.mark.skipif(not is_postgresql(), reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_failures_at_once_are_all_counted():
    counter = logins.Counter("this address", "key")

    at_once([lambda: logins._count(counter, "192.0.2.1")] * 8)
    at_once([lambda: logins._count(counter, "192.0.2.1")] * 8)

    assert LoginCount.objects.get().failures == 16
