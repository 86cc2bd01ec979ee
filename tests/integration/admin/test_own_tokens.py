"""The page of the user's own API tokens, which needs no permission."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from knox.models import AuthToken

from flows.access.tokens import make_token
from flows.admin import token_made
from flows.admin.token_made import SHOWN_BEFORE
from flows.models import AuditEntry, ExternalIdentity
from tests.integration.admin.pages import messages_of


@pytest.fixture
def page():
    return reverse("admin:own_tokens")


@pytest.fixture
def staff(db):
    """Return the client of a user without any right, and the user."""
    user = User.objects.create_user("staff", password="secret", is_staff=True)
    client = Client()
    client.force_login(user)
    return client, user


def call(text: str) -> int:
    headers = {"Authorization": f"Bearer {text}"}
    return Client().get("/async/api/auth/whoami", headers=headers).status_code


def test_a_token_is_made_shown_once_listed_and_revoked(staff, page):
    client, user = staff

    made = client.post(page, {"name": "billing", "days": "30"}, follow=True)

    text, token = made.context["made_token"], made.context["token_name"]
    assert (token, made["Cache-Control"].split(",")[0]) == ("billing", "max-age=0")
    assert (made.context["expiry"] - user.last_login).days in (29, 30)
    assert call(text) == 200
    listed = client.get(page)
    (row,) = listed.context["tokens"]
    assert (row.name, row.used_at is None) == ("billing", False)
    assert text not in listed.content.decode()
    entry = AuditEntry.objects.get(verb="add", name__startswith="billing (")
    assert entry.actor == "staff"

    revoke = reverse("admin:own_tokens_revoke", args=[row.token_key])
    assert "billing" in client.get(revoke).content.decode()
    said = messages_of(client.post(revoke, follow=True))

    assert said[0].startswith("The token billing (")
    assert call(text) == 401
    assert client.post(revoke).status_code == 404
    assert AuditEntry.objects.filter(verb="delete", name__startswith="billing (").exists()


def test_loading_the_page_of_a_new_token_again_makes_no_other_and_shows_it_no_more(staff, page):
    client, _ = staff
    made = client.post(page, {"name": "ci", "days": "30"})
    kept = Session.objects.get(pk=client.session.session_key).get_decoded()["made_token"]

    text = client.get(made["Location"]).context["made_token"]
    again = client.get(made["Location"], follow=True)

    assert text not in str(kept)
    assert messages_of(again) == [SHOWN_BEFORE]
    assert [row.name for row in again.context["tokens"]] == ["ci"]
    assert text not in again.content.decode()
    assert "made_token" not in client.session


def test_a_token_whose_page_is_opened_late_is_shown_no_more(staff, page, monkeypatch):
    client, _ = staff
    made = client.post(page, {"name": "ci", "days": "30"})
    monkeypatch.setattr(token_made, "KEPT_SECONDS", 0.0)

    assert messages_of(client.get(made["Location"], follow=True)) == [SHOWN_BEFORE]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"name": " ", "days": "1"}, "name"),
        ({"name": "x" * 101, "days": "1"}, "name"),
        ({"name": "billing", "days": "0"}, "days"),
        ({"name": "billing", "days": "366"}, "days"),
        ({"name": "billing", "days": ""}, "days"),
    ],
)
def test_a_wrong_name_or_life_is_refused_at_its_field(staff, page, data, field):
    client, _ = staff

    response = client.post(page, data)

    assert list(response.context["form"].errors) == [field]
    assert not response.context["tokens"]


def test_no_token_beyond_the_most_is_made_and_none_is_lost(staff, page, settings):
    client, user = staff
    settings.REST_KNOX = {**settings.REST_KNOX, "TOKEN_LIMIT_PER_USER": 1}
    first = make_token(user, "first").text

    response = client.post(page, {"name": "second", "days": "1"})

    assert "the most that a user may have" in response.context["form"].non_field_errors()[0]
    assert call(first) == 200


def test_tokens_of_others_and_expired_ones_are_not_there(staff, page):
    client, user = staff
    other = make_token(User.objects.create_user("other", password="secret"), "theirs")
    make_token(user, "old", timedelta(seconds=-1))

    assert not client.get(page).context["tokens"]
    theirs = reverse("admin:own_tokens_revoke", args=[other.row.token_key])
    assert client.post(theirs).status_code == 404
    assert call(other.text) == 200


def test_a_user_of_an_issuer_makes_no_token_by_the_page_of_all_tokens(db):
    """As on the own page and by the API."""
    user = User.objects.create_superuser("root", password="secret")
    other = User.objects.create_user("other")
    ExternalIdentity.objects.create(
        key=ExternalIdentity.key_of("https://id.example.org", "7"),
        user=user,
        issuer="https://id.example.org",
        subject="7",
    )
    client = Client()
    client.force_login(user)
    page = reverse("admin:knox_authtoken_add")

    refused = client.post(page, {"name": "mine", "user": user.pk})
    client.post(page, {"name": "theirs", "user": other.pk})

    assert "identity provider" in str(refused.context["adminform"].form.errors["user"])
    assert list(AuthToken.objects.values_list("user", flat=True)) == [other.pk]
