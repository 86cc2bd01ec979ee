from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import User
from flows.testing import FlowKit
from tests import static_files
from tests.databases import copies_in_memory

PROJECT = Path(__file__).resolve().parent.parent
PASSWORD = "a password of the shop"


@pytest.fixture(autouse=True, scope="session")
def static_files_are_looked_for_once() -> Iterator[None]:
    with static_files.looked_for_once():
        yield


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> Iterator[None]:
    """Copy the tables that the test around this suite has migrated, where there is one."""
    migrated = os.environ.get("SHOP_MIGRATED")
    with copies_in_memory(lambda: Path(migrated)) if migrated else nullcontext():
        yield


@pytest.fixture(autouse=True)
def quick_passwords(settings: LazySettings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def configuration(flow_kit: FlowKit) -> None:
    """Have the flow of the shop."""
    flow_kit.configure(PROJECT / "order.json")


@pytest.fixture
def boss(db: None) -> User:
    return User.objects.create_superuser("boss@example.org", "The Boss", PASSWORD)


@pytest.fixture
def clerk(configuration: None) -> User:
    user = User.objects.create_user("Clerk@example.org", "A Clerk", PASSWORD)
    user.is_staff = True
    user.save()
    user.groups.add(Group.objects.get(name="clerks"))
    return user


@pytest.fixture
def client_of() -> Any:
    def make(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return make


def as_json(response: Any) -> Any:
    return json.loads(response.content)
