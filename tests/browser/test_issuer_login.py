"""A user logs in at an identity provider, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from flows.identity.provider import provider
from tests.browser.looks import LOOKS
from tests.browser.test_accessibility import assert_accessible
from tests.issuer import CLIENT_ID, CLIENT_SECRET, Issuer, issuing

pytestmark = [pytest.mark.long, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def issuer(settings: Any) -> Iterator[Issuer]:
    provider.cache_clear()
    with issuing() as issuer:
        settings.ASYNCENGINE_OIDC_ISSUER = issuer.url
        settings.ASYNCENGINE_OIDC_CLIENT_ID = CLIENT_ID
        settings.ASYNCENGINE_OIDC_CLIENT_SECRET = CLIENT_SECRET
        settings.ASYNCENGINE_OIDC_NAME = "the office"
        settings.ASYNCENGINE_OIDC_ROLE_CLAIM = "roles"
        settings.ASYNCENGINE_OIDC_STAFF_ROLES = ["operators"]
        issuer.user = {"sub": "1", "preferred_username": "ada", "roles": ["operators"]}
        yield issuer


def test_user_logs_in_at_the_issuer_and_out_again(
    issuer: Issuer, live: str, open_page: Any
) -> None:
    page = open_page(None)
    page.watched.expected.append(f"another host: {issuer.url}")
    page.goto("/admin/")

    page.get_by_role("link", name="Log in with the office").click()

    page.wait_for_url("**/admin/")
    assert get_user_model().objects.get().get_username() == "ada"
    page.locator("#logout-form").evaluate("form => form.requestSubmit()")
    page.get_by_text("Logged out").wait_for()
    page.goto("/admin/")
    page.get_by_role("link", name="Log in with the office").wait_for()


def test_user_who_may_not_enter_reads_why(issuer: Issuer, live: str, open_page: Any) -> None:
    issuer.user["roles"] = []
    page = open_page(None)
    page.watched.expected.append(f"another host: {issuer.url}")
    page.goto("/admin/login/")

    page.get_by_role("link", name="Log in with the office").click()

    page.get_by_text("An administrator can allow it.").wait_for()
    assert_accessible(page, LOOKS)
