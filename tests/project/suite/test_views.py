"""Views that start flows in the transaction of their request, and fail."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django_q.models import OrmQ

from accounts.models import User
from flows.models import Message, QueueState, Run
from orders.models import Order
from suite.conftest import as_json


def place(client: Any, **asked: Any) -> Any:
    return client.post("/shop/orders/", {"amount": "10.50", **asked}, "application/json")


def depth() -> int:
    return QueueState.objects.get(queue__name="price").depth


def test_a_view_stores_its_order_with_the_run(clerk: User, client_of: Any) -> None:
    answer = place(client_of(clerk))

    order = Order.objects.get()
    assert answer.status_code == 201
    assert Run.objects.get().pk == order.run == UUID(as_json(answer)["run"])
    assert depth() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("key", [None, "k"])
def test_a_view_that_fails_after_its_start_leaves_nothing(
    clerk: User, client_of: Any, key: str | None
) -> None:
    client = client_of(clerk)
    client.raise_request_exception = False

    answer = place(client, breaks=True, key=key)

    assert answer.status_code == 500
    assert not Order.objects.exists()
    assert not Run.objects.exists()
    assert not Message.objects.exists()
    assert not OrmQ.objects.exists()
    assert depth() == 0
    assert place(client, key=key).status_code == 201
    assert (Order.objects.count(), Run.objects.count(), depth()) == (1, 1, 1)
    assert connection.in_atomic_block is False


@pytest.mark.django_db(transaction=True)
def test_a_failing_view_between_two_good_ones_spoils_neither(clerk: User, client_of: Any) -> None:
    client = client_of(clerk)
    client.raise_request_exception = False

    codes = [place(client, breaks=number % 2 == 1).status_code for number in range(6)]

    assert codes == [201, 500] * 3
    assert {order.run for order in Order.objects.all()} == set(
        Run.objects.values_list("pk", flat=True)
    )
    assert depth() == 3


def test_a_view_asks_for_the_state_of_its_run(clerk: User, client_of: Any) -> None:
    run = as_json(place(client_of(clerk)))["run"]

    answer = client_of(clerk).get(f"/shop/orders/{run}/")

    assert as_json(answer)["status"] == "QUEUED"


@pytest.mark.parametrize("path", ["runs", "flows", "queues", "dead-letters", "start"])
def test_the_engine_s_api_needs_a_login_though_the_project_s_does_not(client, path):
    answer = (
        client.post(f"/async/api/{path}") if path == "start" else client.get(f"/async/api/{path}")
    )

    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
