from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from flows.access.token_uses import token_uses
from flows.api.authentication import BasicAuthentication, TokenAuthentication
from flows.api.openapi.document import documents
from flows.models import Flow
from tests.integration.api.helpers import PASSWORD, client_of, make_loan_flow
from tests.made_rows import MadeRows


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    TokenAuthentication.good._values.clear()
    BasicAuthentication.good._values.clear()
    documents.clear()


@pytest.fixture(autouse=True)
def _last_uses_are_not_written(monkeypatch: Any) -> None:
    """Tests count statements, and of each token the first call of a minute has one more."""
    monkeypatch.setattr(token_uses, "note", lambda keys: None)


@dataclass
class Loan:
    flow: Flow


LOAN = MadeRows(lambda: Loan(make_loan_flow()))


@pytest.fixture
def flow(db: None) -> Flow:
    made: Loan = LOAN.again()
    return made.flow


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
