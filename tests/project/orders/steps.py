"""Steps of the flow `order`: they see and change the shop's rows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django_q.tasks import async_task

from flows.public import Reject
from orders.models import Invoice, Order


def invoice(message: dict[str, Any], context: Any) -> dict[str, Any]:
    """Make the invoice, in the transaction that stores the output."""
    payload = message["payload"]
    order = Order.objects.filter(pk=payload["order"]).select_related("customer").first()
    if order is None:
        raise Reject("there is no such order")
    made, _ = Invoice.objects.get_or_create(
        order=order,
        defaults={"number": f"R{order.pk:06}", "total": Decimal(str(payload["total"]))},
    )
    async_task("orders.tasks.mail", made.pk, group="mail")
    if payload.get("fails"):
        raise Reject("the month is closed")
    return message | {
        "payload": payload | {"invoice": made.number, "customer": order.customer.email}
    }
