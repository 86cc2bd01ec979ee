from __future__ import annotations

import json
from unittest import mock

import pytest
from knox.models import AuthToken
from knox.settings import CONSTANTS

from flows.errors import PasswordChanged
from flows.models import AuditEntry
from tests.integration.api.helpers import PASSWORD, assert_problem, basic

PATH = "/async/api/auth/token"


def ask(client, document=None, **more):
    body = b"" if document is None else json.dumps(document).encode()
    return client.post(PATH, body, content_type="application/json", **more)


def test_token_is_made_for_credentials_in_the_body_and_works(anonymous, user):
    response = ask(anonymous, {"userName": "caller", "password": PASSWORD})

    assert response.status_code == 200
    document = response.json()
    assert document["tokenType"] == "Bearer"
    assert document["expiresIn"] == 10 * 60 * 60
    headers = {"Authorization": f"Bearer {document['accessToken']}"}
    assert anonymous.get("/async/api/flows", headers=headers).status_code == 200
    assert response["Cache-Control"] == "no-store"


def test_token_is_not_stored_as_it_is(anonymous, user):
    token = ask(anonymous, headers=basic("caller")).json()["accessToken"]

    assert token not in AuthToken.objects.get().digest


@pytest.mark.parametrize("document", [None, {}])
def test_token_is_made_for_basic_credentials(anonymous, user, document):
    assert ask(anonymous, document, headers=basic("caller")).status_code == 200


@pytest.mark.parametrize("header", ["Bearer broken", "Basic !!", "Unknown"])
def test_credentials_in_the_body_count_whatever_the_header_says(anonymous, user, header):
    response = ask(
        anonymous,
        {"userName": "caller", "password": PASSWORD},
        headers={"Authorization": header},
    )

    assert response.status_code == 200


def test_wrong_credentials_in_the_body_are_refused_beside_good_ones_in_the_header(anonymous, user):
    response = ask(anonymous, {"userName": "caller", "password": "wrong"}, headers=basic("caller"))

    assert_problem(response, 401, "not-authenticated")


@pytest.mark.parametrize("name", ["caller", "unknown", "\0"])
def test_bad_credentials_are_refused_with_a_challenge(anonymous, user, name):
    in_body = ask(anonymous, {"userName": name, "password": "wrong"})
    in_header = ask(anonymous, headers=basic(name, "wrong"))

    for response in (in_body, in_header):
        assert_problem(response, 401, "not-authenticated")
        assert response["WWW-Authenticate"].startswith("Basic")


def test_no_credentials_are_refused_with_a_challenge(anonymous, user):
    response = ask(anonymous)

    assert_problem(response, 401, "not-authenticated")
    assert response["WWW-Authenticate"].startswith("Basic")


def test_inactive_user_gets_no_token(anonymous, user):
    user.is_active = False
    user.save()

    response = ask(anonymous, {"userName": "caller", "password": PASSWORD})

    assert_problem(response, 401, "not-authenticated")


@pytest.mark.parametrize("document", [{"userName": "caller"}, {"userName": 1, "password": "x"}, []])
def test_body_that_lacks_something_is_refused(anonymous, user, document):
    assert_problem(ask(anonymous, document), 400, "payload-invalid")


@pytest.mark.parametrize(
    "body", [b"{", b'{"userName": "a", "userName": "caller", "password": "x"}', b"[" * 5000]
)
def test_body_that_is_no_json_is_refused(anonymous, body):
    response = anonymous.post(PATH, body, content_type="application/json")

    assert_problem(response, 400, "payload-invalid")


def test_form_is_refused(anonymous):
    response = anonymous.post(PATH, {"userName": "caller", "password": PASSWORD})

    assert_problem(response, 415, "unsupported-media-type")


def test_token_is_revoked_by_its_own_call_and_good_for_nothing_then(anonymous, user):
    _, token = AuthToken.objects.create(user)
    headers = {"HTTP_AUTHORIZATION": f"Bearer {token}"}

    assert anonymous.delete("/async/api/auth/token", **headers).status_code == 204

    assert_problem(anonymous.delete("/async/api/auth/token", **headers), 401, "not-authenticated")
    assert not AuthToken.objects.exists()


def test_token_that_was_used_just_now_is_in_the_audit_log_when_it_is_revoked(anonymous, user):
    _, token = AuthToken.objects.create(user)
    headers = {"Authorization": f"Bearer {token}"}
    assert anonymous.get("/async/api/flows", headers=headers).status_code == 200

    assert anonymous.delete("/async/api/auth/token", headers=headers).status_code == 204

    entry = AuditEntry.objects.latest("pk")
    assert (entry.verb, entry.name) == ("delete", f"{token[:8]}… of caller")
    assert entry.before
    assert entry.before["token_key"] == token[: CONSTANTS.TOKEN_KEY_LENGTH]


def test_revoking_without_a_token_is_refused(anonymous, user):
    for login in ({}, basic("caller")):
        refused = anonymous.delete("/async/api/auth/token", headers=login)

        assert_problem(refused, 401, "not-authenticated")
        assert "revokes the Bearer token that it is made with" in refused.json()["detail"]


def test_token_is_refused_after_the_password_was_changed(anonymous, user):
    token = ask(anonymous, headers=basic("caller")).json()["accessToken"]
    headers = {"Authorization": f"Bearer {token}"}
    assert anonymous.get("/async/api/flows", headers=headers).status_code == 200

    user.set_password("battery staple")
    user.save()

    assert_problem(anonymous.get("/async/api/flows", headers=headers), 401, "not-authenticated")


def test_user_whose_tokens_are_all_without_an_end_is_told_to_revoke_some(anonymous, user, settings):
    settings.REST_KNOX = settings.REST_KNOX | {"TOKEN_LIMIT_PER_USER": 1}
    AuthToken.objects.create(user, expiry=None)

    assert_problem(ask(anonymous, headers=basic("caller")), 409, "too-many-tokens")
    assert AuthToken.objects.count() == 1


def test_password_that_is_changed_during_the_call_makes_no_token(anonymous, user):
    with mock.patch("flows.api.tokens.make_token", side_effect=PasswordChanged):
        response = ask(anonymous, headers=basic("caller"))

    assert_problem(response, 401, "not-authenticated")
    assert response["WWW-Authenticate"].startswith("Basic")
