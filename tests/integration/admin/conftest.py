"""A small configuration with runs in every state, inserted as the engine would leave them."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from flows.models import Flow, RoleMapping
from tests.integration.admin import refusals
from tests.integration.admin.world import World, make_world
from tests.made_rows import MadeRows

WORLD = MadeRows(make_world)


@pytest.fixture(autouse=True)
def static_root(settings, tmp_path):
    # whitenoise warns where there is no such directory.
    settings.STATIC_ROOT = tmp_path


@pytest.fixture(autouse=True)
def quick_passwords(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def refusals_once():
    with refusals.rendered_once():
        yield


@pytest.fixture
def superuser(db) -> User:
    return User.objects.create_superuser("root", "root@example.org", "secret")


@pytest.fixture
def client(superuser) -> Client:
    client = Client()
    client.force_login(superuser)
    return client


@pytest.fixture
def staff_client(db):
    """Return a client of a staff member who has these permissions only."""

    def log_in(*permissions: str) -> Client:
        user = User.objects.create_user("staff", password="secret", is_staff=True)
        for permission in permissions:
            app, codename = permission.split(".")
            user.user_permissions.add(
                Permission.objects.get(content_type__app_label=app, codename=codename)
            )
        client = Client()
        client.force_login(user)
        return client

    return log_in


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
