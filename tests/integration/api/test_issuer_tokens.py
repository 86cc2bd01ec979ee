"""Bearer tokens of an identity provider, with a real issuer on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Group, User
from django.test import Client
from knox.models import AuthToken

from flows.api.authentication import IssuerAuthentication, Login, users_logged_in
from flows.api.known_starts import NOTE, KnownStart, StartNote
from flows.api.openapi import document
from flows.api.start_groups import Call, start_all
from flows.identity import provider as providers
from flows.identity.provider import provider
from flows.models import AuditEntry, ExternalIdentity, Right, RoleMapping, Run
from tests.integration.api.helpers import PASSWORD, assert_problem, basic, make_loan_flow
from tests.issuer import AUDIENCE, DISCOVERY, KEYS, Issuer, issuing, public_jwk
from tests.waiting import wait_for

PATH = "/async/api/flows"
WHO = "/async/api/auth/whoami"
START = "/async/api/start?flowName=loan"


@pytest.fixture
def issuer(db: None, settings: Any) -> Iterator[Issuer]:
    provider.cache_clear()
    IssuerAuthentication.good._values.clear()
    with issuing("RS256", "ES256") as issuer:
        settings.ASYNCENGINE_OIDC_ISSUER = issuer.url
        settings.ASYNCENGINE_OIDC_AUDIENCE = AUDIENCE
        settings.ASYNCENGINE_OIDC_ROLE_CLAIM = "realm_access.roles"
        yield issuer


def get(token: str, path: str = PATH) -> Any:
    return Client(headers={"Authorization": f"Bearer {token}"}).get(path)


def post(token: str, path: str, body: bytes) -> Any:
    client = Client(headers={"Authorization": f"Bearer {token}"})
    return client.post(path, body, content_type="application/json")


def roles(*names: str) -> dict[str, Any]:
    return {"realm_access": {"roles": [*names]}}


def role(name: str, right: str = Right.START) -> Group:
    group = Group.objects.create(name=name)
    RoleMapping.objects.create(role=group, right=right)
    return group


# --- who calls ---------------------------------------------------------------------------------


def test_token_starts_a_run_by_the_roles_that_it_names(issuer):
    make_loan_flow()
    role("clerks")

    assert_problem(post(issuer.token(), START, b"{}"), 403, "no-role")
    response = post(issuer.token(iat=int(time.time()) + 1, **roles("clerks")), START, b"{}")

    assert response.status_code == 202
    assert get(issuer.token("ES256")).status_code == 200


def test_caller_sees_user_rights_and_end_of_the_token(issuer):
    role("clerks")
    end = int(time.time()) + 100

    found = get(issuer.token(exp=end, jti="x1", preferred_username="ada", **roles("clerks")), WHO)

    document = found.json()
    assert document["userName"] == "ada"
    assert document["authentication"] == "jwt"
    assert document["rights"]["everyFlow"] == ["start"]
    assert document["isSuperuser"] is False
    assert document["token"]["id"] == "x1"
    assert document["token"]["expiresAt"] == time.strftime(
        "%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(end)
    )


def test_token_takes_over_no_user_of_the_same_name(issuer, admin, user):
    names = {
        get(issuer.token(sub=sub, preferred_username=name, email=mail), WHO).json()["userName"]
        for sub, name, mail in [
            ("1", "root", "root@example.org"),
            ("2", "ROOT", None),
            ("3", "caller", user.email),
            ("root", None, None),
            ("root ", "\uff52\uff4f\uff4f\uff54", None),
        ]
    }

    assert len(names) == 5
    assert not names & {"root", "caller"}
    assert User.objects.count() == 7
    assert not User.objects.exclude(pk=admin.pk).filter(is_superuser=True).exists()


def test_user_is_the_same_whatever_name_a_token_has(issuer):
    first = get(issuer.token(preferred_username="ada"), WHO).json()["userName"]
    again = get(issuer.token("ES256", preferred_username="lovelace"), WHO).json()["userName"]

    assert first == again == "ada"
    made = ExternalIdentity.objects.get().user
    assert not made.has_usable_password()
    entry = AuditEntry.objects.get(verb="add", kind="user")
    assert entry.reason == f"a token of {issuer.url}"


@pytest.mark.parametrize("sub", ["auth0|5f7c8ec7", "üñ/é", "x" * 255, "me@[", "-"])
def test_any_subject_makes_a_user(issuer, sub):
    assert get(issuer.token(sub=sub), WHO).status_code == 200


def test_inactive_user_is_refused_at_once(issuer):
    token = issuer.token(preferred_username="ada")
    assert get(token).status_code == 200
    User.objects.filter(username="ada").update(is_active=False)

    for each in (token, issuer.token(jti="another")):
        assert_problem(get(each), 401, "not-authenticated")


def test_starts_like_an_accepted_one_need_no_view_until_the_login_ends(issuer):
    make_loan_flow()
    role("clerks")
    note = StartNote()
    client = Client(headers={"Authorization": f"Bearer {issuer.token(**roles('clerks'))}"})
    assert client.post(START, b"{}", "application/json", **{NOTE: note}).status_code == 202
    call: Any = Call(KnownStart(note.flow_name, note.login, [], b"", b""), b"{}", None, None, None)

    [started] = start_all([call], look_for_room=False)

    assert Run.objects.get(pk=started.correlation_id).started_by_id == note.login.user_id
    with time_machine.travel(note.login.until + 1):
        assert start_all([call], look_for_room=False) == [None]
    User.objects.update(is_active=False)
    assert start_all([call], look_for_room=False) == [None]


# --- roles -------------------------------------------------------------------------------------


def test_newer_token_takes_the_roles_back_that_tokens_gave(issuer):
    clerks, local = role("clerks"), role("local", Right.WATCH)
    now = int(time.time())
    old = issuer.token(iat=now - 20, **roles("clerks", "unknown"))
    assert get(old, WHO).json()["rights"]["everyFlow"] == ["start"]
    member = ExternalIdentity.objects.get().user
    member.groups.add(local)

    new = issuer.token(iat=now - 10)

    for token in (new, old):
        assert get(token, WHO).json()["rights"]["everyFlow"] == ["watch"]
    IssuerAuthentication.good._values.clear()
    assert get(old, WHO).json()["rights"]["everyFlow"] == ["watch"]
    assert get(issuer.token(iat=now, **roles("clerks")), WHO).status_code == 200
    assert {*member.groups.all()} == {clerks, local}


def test_role_that_was_given_here_stays(issuer):
    clerks = role("clerks")
    now = int(time.time())
    get(issuer.token(iat=now - 20))
    member = ExternalIdentity.objects.get().user
    member.groups.add(clerks)

    get(issuer.token(iat=now - 10, **roles("clerks")))
    get(issuer.token(iat=now))

    assert {*member.groups.all()} == {clerks}


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("realm_access.roles", roles("clerks")),
        ("roles", {"roles": ["other", "clerks"]}),
        ("role", {"role": "clerks"}),
        ("https://example.org/roles", {"https://example.org/roles": ["clerks"]}),
        ("resource_access.engine.roles", {"resource_access": {"engine": {"roles": ["clerks"]}}}),
    ],
)
def test_roles_are_found_where_the_setting_says(issuer, settings, path, claims):
    settings.ASYNCENGINE_OIDC_ROLE_CLAIM = path
    role("clerks")

    assert get(issuer.token(**claims), WHO).json()["rights"]["everyFlow"] == ["start"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "odd", [None, 5, "", {}, {"roles": 5}, {"roles": {"clerks": 1}}, {"roles": [["clerks"], "\0"]}]
)
def test_odd_claim_gives_no_role(issuer, odd):
    role("clerks")

    assert get(issuer.token(realm_access=odd), WHO).json()["rights"]["everyFlow"] == []


def test_staff_come_by_a_role_and_go_with_it(issuer, settings):
    settings.ASYNCENGINE_OIDC_STAFF_ROLES = ["operators"]
    now = int(time.time())

    get(issuer.token(iat=now - 20, **roles("operators")))
    member = ExternalIdentity.objects.get().user
    assert member.is_staff
    assert not member.is_superuser

    get(issuer.token(iat=now))
    member.refresh_from_db()
    assert not member.is_staff


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [{"aud": "another"}, {"exp": 1}, {"sub": None}, {"iss": "https://example.org"}],
    ids=str,
)
def test_refused_token_is_answered_with_its_challenge(issuer, claims):
    response = get(issuer.token(**claims))

    assert_problem(response, 401, "not-authenticated")
    challenge = response["WWW-Authenticate"]
    assert challenge.startswith('Bearer error="invalid_token", error_description="The token')
    assert not User.objects.exists()


def test_token_is_no_token_where_no_issuer_is_configured(issuer, settings):
    settings.ASYNCENGINE_OIDC_ISSUER = ""

    assert_problem(get(issuer.token()), 401, "not-authenticated")
    assert not issuer.server.received


def test_remembered_token_ends_at_its_end(issuer):
    now = time.time()
    token = issuer.token(exp=int(now) + 10)
    assert get(token).status_code == 200

    with time_machine.travel(now + 69):
        assert get(token).status_code == 200
    with time_machine.travel(now + 72):
        assert_problem(get(token), 401, "not-authenticated")


def test_connected_caller_is_let_go_at_the_end_of_the_token(issuer):
    get(issuer.token())
    identity = ExternalIdentity.objects.get()
    now = time.time()
    ended = Login(identity.user_id, identity=identity.key, until=now - 1)
    going_on = Login(identity.user_id, identity=identity.key, until=now + 60)

    assert users_logged_in([ended, going_on]) == {going_on: identity.user}


def test_user_of_the_issuer_makes_no_token_that_would_outlive_the_login(issuer):
    response = post(issuer.token(), "/async/api/auth/tokens", b"{}")

    assert_problem(response, 403, "token-not-allowed")
    assert get(issuer.token(), "/async/api/auth/tokens").json()["results"] == []


def test_user_of_the_issuer_makes_no_token_by_a_password_that_was_set_here(issuer, anonymous):
    get(issuer.token())
    user = ExternalIdentity.objects.get().user
    user.set_password(PASSWORD)
    user.save()

    response = anonymous.post(
        "/async/api/auth/token",
        content_type="application/json",
        headers=basic(user.username),
    )

    assert_problem(response, 403, "token-not-allowed")
    assert not AuthToken.objects.exists()


# --- keys --------------------------------------------------------------------------------------


def test_calls_with_one_token_ask_the_issuer_once(issuer):
    for _ in range(3):
        IssuerAuthentication.good._values.clear()
        assert get(issuer.token()).status_code == 200

    assert issuer.count(DISCOVERY) == issuer.count(KEYS) == 1


def test_new_key_is_fetched_and_the_old_one_refused(issuer, monkeypatch):
    monkeypatch.setattr(providers, "UNKNOWN_KEY_SECONDS", 0)
    old = issuer.token()
    assert get(old).status_code == 200
    issuer.keys = {"new": public_jwk("RS256", "new", number=1)}

    assert get(issuer.token(number=1, headers={"kid": "new"})).status_code == 200
    IssuerAuthentication.good._values.clear()
    assert_problem(get(old), 401, "not-authenticated")


def test_flood_of_unknown_keys_is_no_flood_at_the_issuer(issuer):
    get(issuer.token())

    for number in range(20):
        token = issuer.token(headers={"kid": f"k{number}"})
        assert_problem(get(token), 401, "not-authenticated")

    assert issuer.count(KEYS) == 1


def test_key_without_an_id_is_found_by_its_kind(issuer):
    del issuer.keys["RS256"]["kid"]

    assert get(issuer.token(headers={"kid": None})).status_code == 200


def test_callers_with_other_logins_go_on_while_the_issuer_is_down(issuer, user, client):
    issuer.is_down()

    for _ in range(3):
        response = get(issuer.token())
        assert_problem(response, 503, "issuer-unavailable")
        assert int(response["Retry-After"]) > 0
    assert client.get(PATH).status_code == 200
    assert Client().get(PATH, headers=basic("caller", PASSWORD)).status_code == 200
    # One attempt for all of them.
    assert issuer.count(DISCOVERY) == 1
    # Where no login is needed it is not missed.
    assert get(issuer.token(), "/async/specifications/openapi.json").status_code == 200


def test_last_keys_go_on_for_a_bounded_time_while_the_issuer_is_down(issuer, monkeypatch):
    now = [1000.0]
    known = providers.Provider(issuer.url, lambda: now[0])
    known.verified(issuer.token(), AUDIENCE)
    issuer.is_down()

    now[0] += providers.FRESH_SECONDS + 1
    assert known.verified(issuer.token(), AUDIENCE)
    wait_for(lambda: known._task.done(), 10, "the end of the fetch")
    assert issuer.count(DISCOVERY) == 2
    assert known.verified(issuer.token(), AUDIENCE)

    now[0] += providers.STALE_SECONDS
    with pytest.raises(providers.IssuerUnavailable):
        known.verified(issuer.token(), AUDIENCE)
    issuer.is_up()
    now[0] += providers.RETRY_SECONDS
    assert known.verified(issuer.token(), AUDIENCE)


ODD = {
    "another name": lambda issuer: issuer.metadata.update(issuer="https://example.org"),
    "keys without TLS": lambda issuer: issuer.metadata.update(jwks_uri="http://example.org/keys"),
    "keys in a file": lambda issuer: issuer.metadata.update(jwks_uri="file:///etc/passwd"),
    "no JSON": lambda issuer: issuer.server.answers(f"/realm{KEYS}", 200, b"<html>"),
    "a list": lambda issuer: issuer.server.answers(f"/realm{KEYS}", 200, b"[]"),
    "too much": lambda issuer: issuer.server.answers(f"/realm{KEYS}", 200, b"[" * 600_000),
    "led elsewhere": lambda issuer: issuer.server.answers(f"/realm{DISCOVERY}", 302, Location="/"),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_issuer_that_answers_oddly_is_as_one_that_is_down(issuer, make):
    make(issuer)

    assert_problem(get(issuer.token()), 503, "issuer-unavailable")


@pytest.mark.parametrize("key", [{"kty": "RSA"}, {"kty": "oct", "k": "AAAA"}, {}, {"kty": 5}])
def test_key_that_cannot_be_used_is_left_out(issuer, key):
    issuer.keys = {"odd": {"kid": "RS256", **key}}

    assert_problem(get(issuer.token()), 401, "not-authenticated")


# --- the document ------------------------------------------------------------------------------


def test_document_names_the_issuer(issuer, anonymous):
    document._public_part.cache_clear()
    document.documents.clear()
    try:
        found = anonymous.get("/async/specifications/openapi.json").json()
    finally:
        document._public_part.cache_clear()
        document.documents.clear()

    scheme = found["components"]["securitySchemes"]["openIdConnect"]
    assert scheme["openIdConnectUrl"] == f"{issuer.url}{DISCOVERY}"
    assert {"openIdConnect": []} in found["paths"]["/async/api/runs"]["get"]["security"]
