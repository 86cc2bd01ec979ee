"""A small configuration with runs in every state, inserted as the engine would leave them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.test import Client

from flows.models import Flow, RoleMapping
from tests.integration.admin import refusals
from tests.integration.admin.world import World, make_world
from tests.made_rows import MadeRows


@dataclass
class LoggedIn:
    """A superuser, and the session of its login."""

    user: User
    session: Session


def log_in_a_superuser() -> LoggedIn:
    user = User.objects.create_superuser("root", "root@example.org", "secret")
    client = Client()
    client.force_login(user)
    return LoggedIn(user, Session.objects.get(pk=client.session.session_key))


WORLD = MadeRows(make_world)
LOGGED_IN = MadeRows(log_in_a_superuser)


@pytest.fixture
def refusals_once():
    with refusals.rendered_once():
        yield


@pytest.fixture
def logged_in(db) -> LoggedIn:
    made: LoggedIn = LOGGED_IN.again()
    return made


@pytest.fixture
def superuser(logged_in) -> User:
    return logged_in.user


@pytest.fixture
def client(logged_in) -> Client:
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = logged_in.session.pk
    return client


@pytest.fixture
def staff_client(db):
    """Return a client of a staff member who has these permissions only."""

    def log_in(*permissions: str) -> Client:
        user = User.objects.create_user("staff", password="secret", is_staff=True)
        user.user_permissions.add(*keys_of(permissions))
        client = Client()
        client.force_login(user)
        return client

    return log_in


def keys_of(permissions: tuple[str, ...]) -> list[int]:
    codenames = {permission.partition(".")[2] for permission in permissions}
    found = Permission.objects.filter(codename__in=codenames).values_list(
        "content_type__app_label", "codename", "pk"
    )
    keys = {f"{app}.{codename}": pk for app, codename, pk in found}
    return [keys[permission] for permission in permissions]


@pytest.fixture
def give_right(db):
    """Give the staff member a role with a right to a flow; None stands for every flow."""

    def give(right: str, flow: Flow | None = None) -> None:
        role = Group.objects.create(name=f"{right} {flow or 'every flow'}")
        RoleMapping.objects.create(role=role, right=right, flow=flow)
        User.objects.get(username="staff").groups.add(role)

    return give


@pytest.fixture
def world(db) -> World:
    made: World = WORLD.again()
    return made
