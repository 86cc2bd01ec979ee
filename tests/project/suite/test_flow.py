"""The flow of the shop, run within the tests by the test kit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django.test import Client, TestCase
from django_q.models import OrmQ

from accounts.models import User
from flows.testing import FlowKit, FlowTestMixin
from orders.models import Invoice, Order
from suite.conftest import PASSWORD, PROJECT


def place(client: Client, **more: Any) -> Order:
    asked = {"amount": "100.00", "more": more}
    order = client.post("/shop/orders/", asked, "application/json").json()["order"]
    return Order.objects.get(pk=order)


def test_an_order_that_a_view_has_placed_is_priced_and_invoiced(
    clerk: User, client_of: Any, flow_kit: FlowKit
) -> None:
    order = place(client_of(clerk))

    flow_kit.work()

    run = flow_kit.find(order.run)
    run.assert_completed()
    run.assert_path("price", "invoice")
    run.assert_logged("priced", step="price")
    assert run.payload["customer"] == "Clerk@example.org"
    assert Invoice.objects.get(order=order).total == Decimal("119.00")
    assert OrmQ.objects.count() == 1


def test_an_invoice_that_is_refused_leaves_nothing_and_is_made_when_the_books_are_open(
    clerk: User, client_of: Any, flow_kit: FlowKit
) -> None:
    order = place(client_of(clerk), fails=True)
    run = flow_kit.find(order.run).finish()
    letter = run.assert_dead_letter("invoice", reason="rejected", error="the month is closed")
    assert (Invoice.objects.count(), OrmQ.objects.count()) == (0, 0)

    run.reprocess(letter.payload | {"fails": False}).finish()

    run.assert_completed()
    run.assert_path("price", "invoice", "invoice")
    assert (Invoice.objects.count(), OrmQ.objects.count()) == (1, 1)


class Orders(FlowTestMixin, TestCase):
    """As a test case of Django, with scripts in its own process."""

    flow_configuration: ClassVar = PROJECT / "order.json"
    flows_in_process = True

    def test_orders_of_a_customer_are_all_invoiced(self) -> None:
        user = User.objects.create_superuser("boss@example.org", "The Boss", PASSWORD)
        self.client.force_login(user)

        orders = [place(self.client) for _ in range(3)]
        delivered = self.flow_kit.work()

        assert delivered == 6
        assert Invoice.objects.filter(order__in=orders).count() == 3
        for run in self.flow_kit.runs("order"):
            run.assert_completed()

    def test_an_order_without_a_price_is_no_invoice(self) -> None:
        user = User.objects.create_superuser("boss@example.org", "The Boss", PASSWORD)
        self.client.force_login(user)

        order = place(self.client, unpriced=True)

        self.flow_kit.find(order.run).finish().assert_failed("no price")
        assert not Invoice.objects.exists()
