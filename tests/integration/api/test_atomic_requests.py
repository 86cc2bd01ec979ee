"""ATOMIC_REQUESTS is for the project's views: an operation of the engine commits for itself."""

from __future__ import annotations

from unittest import mock

import pytest
from django.core.handlers.base import BaseHandler
from django.db import connection, connections

from flows import engine
from flows.api.urls import urlpatterns
from flows.api.view import ApiView
from flows.models import Right, Run
from tests.integration.api.helpers import grant

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def atomic_requests(monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


def test_a_call_that_waits_for_a_run_holds_no_transaction(client, user, flow):
    grant(user, Right.WATCH, flow)
    run = engine.start("loan", {"amount": 5}, user=user).correlation_id
    in_transaction = []

    def finish(seconds):
        in_transaction.append(connection.in_atomic_block)
        Run.objects.filter(pk=run).update(status="COMPLETED", result="1")

    with mock.patch("flows.monitoring.trace.time.sleep", side_effect=finish):
        response = client.get(f"/async/api/runs/{run}?wait=30")

    assert response.json()["result"] == 1
    assert in_transaction == [False]


def test_no_operation_is_put_into_a_transaction():
    views = [
        pattern.callback for pattern in urlpatterns if issubclass(pattern.callback.cls, ApiView)
    ]

    handler = BaseHandler()

    assert len(views) > 15
    assert [view for view in views if handler.make_view_atomic(view) is not view] == []
