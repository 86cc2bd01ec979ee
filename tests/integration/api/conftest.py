from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from knox.models import AuthToken

from flows.api.authentication import BasicAuthentication, TokenAuthentication
from flows.api.openapi.document import documents
from flows.models import Flow, Queue, Right, RoleMapping, Step
from scripts.models import Script

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def _api_settings(settings: Any, tmp_path: Any) -> None:
    # whitenoise warns where there is no such directory.
    settings.STATIC_ROOT = tmp_path
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    TokenAuthentication.good._values.clear()
    BasicAuthentication.good._values.clear()
    documents.clear()


def make_flow(name: str = "loan", *, steps: int = 2, schema: Any = None, **fields: Any) -> Flow:
    flow = Flow.objects.create(name=name, **fields)
    for position in range(1, steps + 1):
        script = Script.objects.create(
            name=f"{name} script {position}",
            code="def run(message, context): return message",
            input_schema=(schema or {}) if position == 1 else {},
        )
        queue = Queue.objects.create(name=f"{name} queue {position}")
        Step.objects.create(
            flow=flow, position=position, name=f"step {position}", script=script, queue=queue
        )
    return flow


def grant(user: User, right: str = Right.START, flow: Flow | None = None) -> RoleMapping:
    role, _ = Group.objects.get_or_create(name=f"role of {user.username}")
    user.groups.add(role)
    return RoleMapping.objects.create(role=role, right=right, flow=flow)


def client_of(user: User) -> Client:
    _, token = AuthToken.objects.create(user)
    return Client(headers={"Authorization": f"Bearer {token}"}, raise_request_exception=False)


def basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    text = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def assert_problem(response: Any, status: int, word: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    document = response.json()
    assert document["type"] == f"/async/problems/{word}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


@pytest.fixture
def flow(db: None) -> Flow:
    return make_flow()


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("caller", password=PASSWORD)


@pytest.fixture
def admin(db: None) -> User:
    return User.objects.create_superuser("root", password=PASSWORD)


@pytest.fixture
def client(user: User) -> Client:
    """A client with the bearer token of a user that has no rights yet."""
    return client_of(user)


@pytest.fixture
def anonymous(db: None) -> Client:
    return Client(raise_request_exception=False)


@pytest.fixture
def post(client: Client) -> Callable[..., Any]:
    """Start a flow by the API."""

    def start(
        name: str = "loan", body: Any = b'{"amount": 5}', by: Client = client, **more: Any
    ) -> Any:
        more.setdefault("content_type", "application/json")
        return by.post("/async/api/start", body, query_params={"flowName": name}, **more)

    return start
