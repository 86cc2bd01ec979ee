"""`check` names admin sites of a project's own that cannot show their pages."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.auth.models import Group
from unfold.sites import UnfoldAdminSite

from flows.checks.sites import sites_are_those_of_unfold


class OwnSite(UnfoldAdminSite):
    """A project's."""


@pytest.fixture(autouse=True)
def no_sites_left() -> Iterator[None]:
    """Sites are known as long as there is a reference to them."""
    yield
    gc.collect()


def found() -> list[str | None]:
    return [each.id for each in sites_are_those_of_unfold()]


def test_the_sites_of_the_engine_are_as_they_should_be():
    assert found() == []


def test_a_plain_site_with_pages_is_named():
    site = AdminSite(name="office")
    assert found() == []

    site.register(Group)

    (said,) = sites_are_those_of_unfold()
    assert said.id == "flows.W015"
    assert "'office'" in said.msg


def test_a_site_of_unfold_beside_is_none_of_them():
    site = UnfoldAdminSite(name="office")

    site.register(Group)

    assert found() == []


def test_a_site_that_unfold_has_put_aside_is_named(monkeypatch):
    config = apps.get_app_config("admin")

    monkeypatch.setattr(config, "default_site", f"{__name__}.OwnSite")

    assert found() == ["flows.W016"]
