"""The caller's own tokens, and who the caller is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from flows.access.token_uses import TokenUses
from flows.errors import PasswordChanged
from flows.models import AuditEntry, Right, TokenUse
from tests.integration.api.helpers import assert_problem, basic, client_of, grant

PATH = "/async/api/auth/tokens"
WHO = "/async/api/auth/whoami"


def add(client: Client, body: Any = None) -> Any:
    return client.post(PATH, body or {}, content_type="application/json")


def by(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"}, raise_request_exception=False)


def test_token_with_a_name_is_made_used_listed_and_removed(client):
    response = add(client, {"name": "billing", "expiresIn": 3600})

    made = response.json()
    assert (response.status_code, response["Cache-Control"]) == (201, "no-store")
    text = made.pop("accessToken")
    assert made.pop("tokenType") == "Bearer"
    assert (made["name"], made["isCurrent"]) == ("billing", False)
    assert text.startswith(made["id"])
    new = by(text)
    listed = new.get(PATH).json()
    assert (listed["next"], listed["nextCursor"]) == (None, None)
    assert listed["results"][0] == made | {"isCurrent": True}
    assert len(listed["results"]) == 2
    assert AuditEntry.objects.filter(verb="add", name__startswith="billing (").exists()

    removed = client.delete(f"{PATH}/{made['id']}")
    assert (removed.status_code, "Content-Type" in removed.headers) == (204, False)

    assert new.get(PATH).status_code == 401
    assert_problem(client.delete(f"{PATH}/{made['id']}"), 404, "not-found")


def test_token_is_valid_for_as_long_as_the_caller_says(client, settings):
    most = settings.ASYNCENGINE_MAX_TOKEN_DAYS * 86_400

    for seconds in (60, most):
        before = timezone.now()
        add(client, {"expiresIn": seconds})
        expiry = AuthToken.objects.latest("created").expiry
        assert before <= expiry - timedelta(seconds=seconds) <= timezone.now()

    refused = assert_problem(add(client, {"expiresIn": most + 1}), 400, "payload-invalid")
    assert refused["errors"][0]["path"] == "$.expiresIn"


def test_token_without_a_time_lasts_as_long_as_one_for_a_password(client):
    add(client)

    token = AuthToken.objects.latest("created")
    assert timedelta(hours=9, minutes=55) < token.expiry - token.created <= timedelta(hours=10)


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": " \t"},
        {"name": "x" * 101},
        {"name": "a\0"},
        {"name": 5},
        {"expiresIn": 0},
        {"expiresIn": -5},
        {"expiresIn": 1.5},
        {"expiresIn": "60"},
        {"expiresIn": 10**30},
        {"lifetime": 60},
        [],
    ],
)
def test_wrong_request_is_refused(client, body):
    response = client.post(PATH, body, content_type="application/json")

    assert_problem(response, 400, "payload-invalid")
    assert AuthToken.objects.count() == 1


def test_at_the_limit_one_with_a_name_is_refused_and_the_oldest_without_one_goes(client, settings):
    settings.REST_KNOX = settings.REST_KNOX | {"TOKEN_LIMIT_PER_USER": 3}
    named = add(client, {"name": "kept"}).json()["id"]
    caller = add(client).json()

    refused = add(client, {"name": "one more"})
    assert_problem(refused, 409, "too-many-tokens")
    assert refused.json()["detail"] == (
        "The user has 3 tokens, the most that a user may have: revoke one for another with a name."
    )
    # The oldest one without a name is the one that `client` calls with.
    assert add(by(caller["accessToken"])).status_code == 201
    assert client.get(PATH).status_code == 401
    ids = {token["id"] for token in by(caller["accessToken"]).get(PATH).json()["results"]}
    assert {named, caller["id"]} < ids


def test_at_the_limit_with_names_alone_the_refusal_says_so(anonymous, client, settings):
    settings.REST_KNOX = settings.REST_KNOX | {"TOKEN_LIMIT_PER_USER": 3}
    made = [add(client, {"name": name}) for name in ("one", "two")]
    kept = by(made[0].json()["accessToken"])
    assert add(client).status_code == 201
    assert client.get(PATH).status_code == 401
    [unnamed] = [each for each in kept.get(PATH).json()["results"] if each["name"] is None]
    assert kept.delete(f"{PATH}/{unnamed['id']}").status_code == 204
    assert add(kept, {"name": "three"}).status_code == 201

    refused = add(kept)

    assert_problem(refused, 409, "too-many-tokens")
    assert refused.json()["detail"] == (
        "The user has 3 tokens, the most that a user may have, and each has a name or no end:"
        " revoke one."
    )


def test_a_value_that_is_long_leaves_room_for_what_is_wrong_with_it(client):
    refused = add(client, {"name": "x" * 300})

    assert_problem(refused, 400, "payload-invalid")
    [fault] = refused.json()["errors"]
    assert fault["detail"].endswith('x" is longer than 100 characters')


def test_a_token_is_replaced_by_another_of_its_name(client):
    old, new = (add(client, {"name": "billing"}).json() for _ in range(2))

    assert client.delete(f"{PATH}/{old['id']}").status_code == 204

    left = [token["id"] for token in client.get(PATH).json()["results"] if token["name"]]
    assert left == [new["id"]]
    assert by(new["accessToken"]).get(WHO).json()["token"]["name"] == "billing"
    assert by(old["accessToken"]).get(WHO).status_code == 401


def test_tokens_of_others_are_neither_listed_nor_removed(client, admin):
    theirs = add(client_of(admin), {"name": "theirs"}).json()["id"]

    assert [token["name"] for token in client.get(PATH).json()["results"]] == [None]
    assert_problem(client.delete(f"{PATH}/{theirs}"), 404, "not-found")


@pytest.mark.parametrize("id", ["%00", "%FF", "x", "..", "a/b"])
def test_token_that_is_not_there_is_not_found(client, id):
    assert_problem(client.delete(f"{PATH}/{id}"), 404, "not-found")
    assert AuthToken.objects.count() == 1


def test_last_use_is_written_once_a_minute_for_each_token(user, monkeypatch):
    keys = [AuthToken.objects.create(user)[0].pk for _ in range(2)]
    now = 1000.0
    monkeypatch.setattr("flows.access.token_uses.time.monotonic", lambda: now)
    uses = TokenUses()

    def times() -> dict[str, Any]:
        return dict(TokenUse.objects.values_list("token", "used_at"))

    uses.note(keys[:1])
    first = times()
    uses.note(keys)
    second = times()
    now += 59
    uses.note(keys)
    assert times() == second
    now += 1
    uses.note(keys)

    assert list(first) == keys[:1]
    assert second[keys[0]] == first[keys[0]]
    assert all(times()[key] > second[key] for key in keys)
    AuthToken.objects.all().delete()
    assert not TokenUse.objects.exists()


def test_calls_show_when_the_token_was_used_last(client, monkeypatch):
    monkeypatch.undo()
    before = timezone.now()

    [token] = client.get(PATH).json()["results"]

    assert token["lastUsedAt"] >= before.isoformat()[:19]
    assert token["isCurrent"]


def test_caller_is_shown_with_rights_and_the_expiry_of_the_token(client, user, flow):
    grant(user, Right.WATCH, None)
    grant(user, Right.START, flow)
    expiry = AuthToken.objects.get().expiry

    shown = client.get(WHO).json()

    assert shown["token"]["expiresAt"] == expiry.isoformat().replace("+00:00", "Z")
    shown.pop("token")
    assert shown == {
        "userName": "caller",
        "isSuperuser": False,
        "authentication": "bearer",
        "rights": {"everyFlow": ["watch"], "flows": [{"flowName": "loan", "rights": ["start"]}]},
    }


def test_caller_by_each_way_to_log_in(anonymous, admin):
    by_session = Client()
    by_session.force_login(admin)
    password = anonymous.get(WHO, headers=basic("root")).json()
    session = by_session.get(WHO).json()

    assert (password["authentication"], session["authentication"]) == ("basic", "session")
    assert password["token"] is session["token"] is None
    assert session["rights"]["everyFlow"] == ["configure", "operate", "start", "watch"]
    assert_problem(anonymous.get(WHO), 401, "not-authenticated")


def test_user_whose_password_has_changed_makes_no_token(client, user):
    User.objects.update(is_active=False)

    assert_problem(add(client), 401, "not-authenticated")


def test_password_that_is_changed_during_the_call_makes_no_token(client, user):
    with mock.patch("flows.api.own_tokens.make_token", side_effect=PasswordChanged):
        response = client.post("/async/api/auth/tokens", "{}", content_type="application/json")

    assert_problem(response, 401, "not-authenticated")
    assert response["WWW-Authenticate"] == 'Basic realm="Async Engine", Bearer'
