"""Logins to the Configuration Manager at an identity provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from flows.checks.identity import faults_of
from flows.identity.options import Options, options
from flows.identity.provider import provider
from flows.models import AuditEntry, ExternalIdentity
from tests.issuer import AUDIENCE, CLIENT_ID, CLIENT_SECRET, KEYS, TOKEN, Issuer, issuing

LOGIN, BEGIN = "/admin/login/", "/admin/login/oidc/"
NO_STAFF = "may not enter the Configuration Manager"


@pytest.fixture
def issuer(db: None, settings: Any) -> Iterator[Issuer]:
    provider.cache_clear()
    with issuing() as issuer:
        settings.ASYNCENGINE_OIDC_ISSUER = issuer.url
        settings.ASYNCENGINE_OIDC_CLIENT_ID = CLIENT_ID
        settings.ASYNCENGINE_OIDC_CLIENT_SECRET = CLIENT_SECRET
        settings.ASYNCENGINE_OIDC_NAME = "the office"
        settings.ASYNCENGINE_OIDC_ROLE_CLAIM = "roles"
        settings.ASYNCENGINE_OIDC_STAFF_ROLES = ["operators"]
        issuer.user = {"sub": "1", "preferred_username": "ada", "roles": ["operators", "clerks"]}
        yield issuer


def to_the_issuer(browser: Client, **query: str) -> str:
    """Press the button; return the address at the issuer."""
    response = browser.get(BEGIN, query)
    assert response.status_code == 302, response.content
    return str(response["Location"])


def back(url: str) -> str:
    """Log in at the issuer; return the way back to the Configuration Manager."""
    # To read the certificates of all authorities takes longer than the call, which needs none.
    parts = urlsplit(httpx.get(url, verify=False).headers["Location"])
    assert parts.path == f"{BEGIN}callback/"
    return f"{parts.path}?{parts.query}"


def logged_in(browser: Client) -> bool:
    return bool(browser.get("/admin/").status_code == 200)


def reason(response: Any, browser: Client) -> str:
    """Return the message on the login page where the browser is led."""
    assert response["Location"] == LOGIN
    assert not logged_in(browser)
    shown = browser.get(LOGIN)
    return " ".join(str(each) for each in shown.context["messages"])


def test_login_page_leads_to_the_issuer_and_keeps_its_own_form(issuer):
    page = Client().get(f"{LOGIN}?next=/admin/flows/flow/").content.decode()

    assert "Log in with the office" in page
    assert f'href="{BEGIN}?next=%2Fadmin%2Fflows%2Fflow%2F"' in page
    assert 'name="password"' in page


def test_login_page_has_no_such_button_where_no_issuer_is_configured(issuer, settings):
    settings.ASYNCENGINE_OIDC_CLIENT_ID = ""

    assert "Log in with" not in Client().get(LOGIN).content.decode()
    assert Client().get(BEGIN).status_code == 404


def test_user_of_the_issuer_logs_in_with_the_roles_that_it_names(issuer):
    Group.objects.create(name="clerks")
    browser = Client()

    response = browser.get(back(to_the_issuer(browser, next="/admin/flows/flow/")))

    assert response["Location"] == "/admin/flows/flow/"
    assert logged_in(browser)
    user = ExternalIdentity.objects.get().user
    assert (user.username, user.is_superuser) == ("ada", False)
    assert [each.name for each in user.groups.all()] == ["clerks"]
    assert AuditEntry.objects.filter(verb="log in", actor="ada").exists()
    assert browser.session.get_expiry_age() <= 10 * 3600
    browser.post("/admin/logout/")
    assert not logged_in(browser)


def test_request_is_that_of_the_code_flow_with_proofs(issuer):
    asked = parse_qs(urlsplit(to_the_issuer(Client())).query)

    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [f"http://testserver{BEGIN}callback/"]
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[name][0]) >= 43


def test_issuer_may_want_the_secret_in_the_body(issuer):
    issuer.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    browser = Client()

    browser.get(back(to_the_issuer(browser)))

    assert logged_in(browser)


def test_roles_may_be_in_the_access_token_alone(issuer, settings):
    settings.ASYNCENGINE_OIDC_AUDIENCE = AUDIENCE
    issuer.odd_claims = {"roles": None}
    browser = Client()

    browser.get(back(to_the_issuer(browser)))

    assert logged_in(browser)


def test_roles_of_another_application_do_not_hide_them(issuer, settings):
    settings.ASYNCENGINE_OIDC_AUDIENCE = AUDIENCE
    settings.ASYNCENGINE_OIDC_ROLE_CLAIM = "resource_access.engine.roles"
    issuer.user["resource_access"] = {"engine": {"roles": ["operators", "clerks"]}}
    issuer.odd_claims = {"resource_access": {"account": {"roles": ["view-profile"]}}}
    Group.objects.create(name="clerks")
    browser = Client()

    browser.get(back(to_the_issuer(browser)))

    assert logged_in(browser)
    user = ExternalIdentity.objects.get().user
    assert [each.name for each in user.groups.all()] == ["clerks"]


@pytest.mark.parametrize("place", ["https://example.org/", "//example.org", "javascript:alert(1)"])
def test_login_leads_to_no_other_site(issuer, place):
    browser = Client()

    response = browser.get(back(to_the_issuer(browser, next=place)))

    assert response["Location"] == "/admin/"


def test_local_user_of_the_same_name_is_not_taken_over(issuer):
    local = User.objects.create_superuser("ada")
    browser = Client()

    browser.get(back(to_the_issuer(browser)))

    assert ExternalIdentity.objects.get().user != local
    assert browser.get("/admin/auth/user/").status_code == 403


def test_user_without_a_role_for_the_pages_is_told_so(issuer):
    issuer.user["roles"] = []
    browser = Client()

    response = browser.get(back(to_the_issuer(browser)))

    assert NO_STAFF in reason(response, browser)
    # An administrator finds the user.
    User.objects.filter(username="ada").update(is_staff=True)
    browser.get(back(to_the_issuer(browser)))
    assert logged_in(browser)


def test_administrator_sees_who_a_user_is_at_the_issuer_and_can_delete_one(issuer, client):
    browser = Client()
    browser.get(back(to_the_issuer(browser)))
    user = ExternalIdentity.objects.get().user

    shown = client.get(f"/admin/auth/user/{user.pk}/change/").content.decode()
    client.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"})

    assert f"1 of {issuer.url}" in shown
    assert not User.objects.filter(pk=user.pk).exists()


def test_deactivated_user_is_told_so(issuer):
    browser = Client()
    browser.get(back(to_the_issuer(browser)))
    User.objects.filter(username="ada").update(is_active=False)

    response = browser.get(back(to_the_issuer(browser)))

    assert "deactivated" in reason(response, browser)


ODD: dict[str, Any] = {
    "another nonce": lambda issuer: issuer.odd_claims.update(nonce="x"),
    "no nonce": lambda issuer: issuer.odd_claims.update(nonce=None),
    "another audience": lambda issuer: issuer.odd_claims.update(aud=AUDIENCE),
    "another application": lambda issuer: issuer.odd_claims.update(azp="another"),
    "expired": lambda issuer: issuer.odd_claims.update(exp=1),
    "another issuer": lambda issuer: issuer.odd_claims.update(iss="https://example.org"),
    "refused": lambda issuer: setattr(issuer, "error", "access_denied"),
    "another key": lambda issuer: setattr(issuer, "number", 1),
    "no answer": lambda issuer: issuer.server.answers(f"/realm{TOKEN}", 503),
    "no JSON": lambda issuer: issuer.server.answers(f"/realm{TOKEN}", 200, b"<html>"),
    "no token": lambda issuer: issuer.server.answers(f"/realm{TOKEN}", 200, b"{}"),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_failed_login_tells_its_reason(issuer, make):
    browser = Client()
    url = to_the_issuer(browser)
    make(issuer)

    response = browser.get(back(url))

    assert reason(response, browser).startswith("The login with the office has failed.")
    assert not User.objects.exists()
    # The cookie is used up.
    assert "took too long" in reason(browser.get(back(url)), browser)


def test_code_is_redeemed_once(issuer):
    browser = Client()
    place = back(to_the_issuer(browser))
    issuer.codes.clear()

    assert "invalid_grant" in reason(browser.get(place), browser)


@pytest.mark.parametrize("change", [{"state": "x"}, {"iss": "https://example.org"}, {"state": "é"}])
def test_answer_to_another_question_is_refused(issuer, change):
    browser = Client()
    place = back(to_the_issuer(browser))
    query = {name: values[0] for name, values in parse_qs(urlsplit(place).query).items()}

    response = browser.get(urlsplit(place).path, {**query, **change})

    assert reason(response, browser)


def test_answer_in_another_browser_is_refused(issuer):
    place = back(to_the_issuer(Client()))
    another = Client()

    assert "took too long" in reason(another.get(place), another)


def test_issuer_that_is_down_is_told_on_the_login_page(issuer):
    issuer.is_down()
    browser = Client()

    response = browser.get(BEGIN)

    assert "does not answer now" in reason(response, browser)
    assert issuer.count(KEYS) == 0


# --- checks ------------------------------------------------------------------------------------

GOOD = {
    "ISSUER": "https://id.example.org",
    "AUDIENCE": "engine",
    "CLIENT_ID": "pages",
    "CLIENT_SECRET": "x",
    "ROLE_CLAIM": "roles",
    "STAFF_ROLES": ["operators"],
}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"CLIENT_ID": "", "CLIENT_SECRET": ""}, []),
        ({"AUDIENCE": ""}, []),
        (dict.fromkeys(GOOD, ""), []),
        ({"ISSUER": ""}, ["flows.E010"]),
        ({"CLIENT_SECRET": ""}, ["flows.E010"]),
        ({"CLIENT_ID": ""}, ["flows.E010"]),
        ({"ROLE_CLAIM": ""}, ["flows.E010"]),
        ({"AUDIENCE": "", "CLIENT_ID": "", "CLIENT_SECRET": ""}, ["flows.E010"]),
        ({"ISSUER": "http://id.example.org"}, ["flows.E011"]),
        ({"ISSUER": "https://[id.example.org", "NAME": ""}, ["flows.E011"]),
        ({"ISSUER": "https://id.example.org:port"}, ["flows.E011"]),
        ({"ISSUER": "http://127.0.0.1:8080/realms/x"}, []),
        ({"AUDIENCE": "pages"}, ["flows.W018"]),
    ],
    ids=str,
)
def test_check_names_half_of_a_configuration(settings, change, found):
    for name, value in {**GOOD, **change}.items():
        setattr(settings, f"ASYNCENGINE_OIDC_{name}", value)

    assert [each.id for each in faults_of(options())] == found
    assert isinstance(options(), Options)
