from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
import time_machine
from django.db import InterfaceError, OperationalError, connection
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from flows.api import authentication
from tests.integration.api.helpers import assert_problem, basic, client_of, grant
from tests.side_by_side import side_by_side

PATH = "/async/api/flows"


def later(seconds):
    now = authentication.time.monotonic()
    return mock.patch.object(authentication.time, "monotonic", return_value=now + seconds)


@pytest.mark.parametrize("header", ["Bearer", "Bearer x", "Bearer a b", "Bearer \xff", "Token x"])
def test_bad_token_is_refused_with_a_challenge(anonymous, user, header):
    response = anonymous.get(PATH, headers={"Authorization": header})

    assert_problem(response, 401, "not-authenticated")
    assert response["WWW-Authenticate"] == 'Basic realm="Async Engine", Bearer'


def test_browser_is_not_made_to_ask_for_a_password(anonymous):
    response = anonymous.get(PATH, headers={"Sec-Fetch-Mode": "cors"})

    assert_problem(response, 401, "not-authenticated")
    assert response["WWW-Authenticate"] == "Bearer"


def test_good_token_costs_one_query(client, user):
    client.get(PATH)

    # The token with its user, the flows and the rights.
    assert round_trips(lambda: client.get(PATH)) == 3


def round_trips(call):
    """Count the statements of a call, also those that do not pass through Django's cursor."""
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        before = connection.connection.uses
        call()
        return connection.connection.uses - before
    statements: list[str] = []
    connection.connection.set_trace_callback(statements.append)
    try:
        call()
    finally:
        connection.connection.set_trace_callback(None)
    return len(statements)


@side_by_side
@pytest.mark.parametrize(
    "change",
    ["DEALLOCATE ALL", "ALTER TABLE auth_user ALTER COLUMN username TYPE varchar(200)"],
    ids=["plan", "column"],
)
@pytest.mark.django_db(transaction=True)
def test_good_token_is_known_though_the_plan_of_its_query_is_gone(client, user, change):
    client.get(PATH)
    client.get(PATH)
    with connection.cursor() as cursor:
        cursor.execute(change)

    assert client.get(PATH).status_code == 200


def test_revoked_token_is_refused_at_once(client, user):
    assert client.get(PATH).status_code == 200
    AuthToken.objects.all().delete()

    assert_problem(client.get(PATH), 401, "not-authenticated")


def test_token_of_a_user_who_is_deactivated_or_deleted_is_refused_at_once(client, user):
    assert client.get(PATH).status_code == 200

    user.is_active = False
    user.save()
    assert_problem(client.get(PATH), 401, "not-authenticated")

    user.delete()
    assert_problem(client.get(PATH), 401, "not-authenticated")


def test_token_is_refused_as_soon_as_it_expires(client, user):
    assert client.get(PATH).status_code == 200

    AuthToken.objects.update(expiry=timezone.now() - timedelta(milliseconds=1))

    assert_problem(client.get(PATH), 401, "not-authenticated")


def test_token_itself_is_not_remembered(user):
    _, token = AuthToken.objects.create(user)
    Client(headers={"Authorization": f"Bearer {token}"}).get(PATH)

    [digest] = authentication.TokenAuthentication.good._values

    assert token.encode() not in digest


def test_memory_is_bounded():
    memory = authentication.Memory(size=10)

    for n in range(100):
        memory.put(str(n).encode(), n)

    assert memory.get(b"99") == 99
    assert len(memory._values) <= 10


def test_good_password_is_hashed_once_in_some_seconds(anonymous, user):
    with mock.patch("flows.models.users.authenticate", return_value=user) as hashed:
        anonymous.get(PATH, headers=basic("caller"))
        anonymous.get(PATH, headers=basic("caller"))
        assert hashed.call_count == 1
        with later(6):
            anonymous.get(PATH, headers=basic("caller"))

    assert hashed.call_count == 2


def test_wrong_password_is_refused_beside_a_remembered_one(anonymous, user):
    assert anonymous.get(PATH, headers=basic("caller")).status_code == 200

    response = anonymous.get(PATH, headers=basic("caller", "wrong"))

    assert_problem(response, 401, "not-authenticated")


def test_changed_password_is_noticed_at_once(anonymous, user):
    assert anonymous.get(PATH, headers=basic("caller")).status_code == 200
    user.set_password("another")
    user.save()

    assert anonymous.get(PATH, headers=basic("caller")).status_code == 401
    assert anonymous.get(PATH, headers=basic("caller", "another")).status_code == 200


@pytest.mark.parametrize("header", ["Basic", "Basic !!", "Basic a b", "Basic AGE6Yg=="])
def test_broken_basic_header_is_refused(anonymous, user, header):
    response = anonymous.get(PATH, headers={"Authorization": header})

    assert_problem(response, 401, "not-authenticated")


def test_inactive_user_is_refused_whatever_the_credentials(anonymous, user):
    with_token = client_of(user)
    anonymous.get(PATH, headers=basic("caller"))
    in_session = Client()
    in_session.force_login(user)
    user.is_active = False
    user.save()

    assert_problem(with_token.get(PATH), 401, "not-authenticated")
    assert_problem(anonymous.get(PATH, headers=basic("caller")), 401, "not-authenticated")
    assert_problem(in_session.get(PATH), 401, "not-authenticated")


def test_session_reads_without_and_writes_only_with_the_csrf_token(user, flow):
    grant(user, flow=flow)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    path = "/async/api/start?flowName=loan"

    def post(body: bytes, **headers: str) -> Any:
        return client.post(path, body, content_type="application/json", headers=headers)

    token = "x" * 32
    client.cookies["csrftoken"] = token

    assert client.get(PATH).status_code == 200
    assert_problem(post(b"{}"), 403, "csrf-failed")
    assert post(b'{"a": 1}', **{"X-CSRFToken": token}).status_code == 202


@pytest.mark.parametrize("backend", ["db", "cached_db", "signed_cookies"])
def test_login_by_a_session_holds_until_the_session_ends(user, settings, backend):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{backend}"
    browser = Client()
    browser.force_login(user)
    key = browser.cookies[settings.SESSION_COOKIE_NAME].value
    login = authentication.Login(user.pk, password=user.password, session=key)
    other = authentication.Login(user.pk + 1, password=user.password, session=key)

    assert authentication.users_logged_in([login, other]) == {login: user}
    with time_machine.travel(timezone.now() + timedelta(days=15)):
        assert authentication.users_logged_in([login]) == {}
    if backend != "signed_cookies":
        browser.logout()
        assert authentication.users_logged_in([login]) == {}


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_database_that_is_away_at_the_login_is_said_so(client, error):
    with mock.patch("knox.auth.get_token_model", side_effect=error("gone")):
        response = client.get(PATH)

    assert_problem(response, 503, "database-unavailable")
    assert response["Retry-After"]


def test_unknown_user_is_refused(anonymous, user):
    response = anonymous.get(PATH, headers=basic("unknown"))

    assert_problem(response, 401, "not-authenticated")
