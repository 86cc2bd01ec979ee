"""Views in the transaction of their request."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST

from flows import public
from orders.models import Invoice, Order


@require_POST
@login_required
def place(request: HttpRequest) -> HttpResponse:
    """Place an order and start its flow: both are stored, or neither."""
    asked: dict[str, Any] = json.loads(request.body)
    order = Order.objects.create(customer=request.user, amount=Decimal(asked["amount"]))
    payload = {"order": order.pk, "amount": order.amount, "customer": request.user.pk}
    order.run = public.start(
        "order",
        payload | asked.get("more", {}),
        user=request.user,
        idempotency_key=asked.get("key"),
    )
    order.save(update_fields=["run"])
    if asked.get("breaks"):
        raise RuntimeError("the view breaks after its start")
    return JsonResponse({"order": order.pk, "run": order.run}, status=201)


@login_required
def look(request: HttpRequest, run: UUID) -> HttpResponse:
    order = get_object_or_404(Order, run=run, customer=request.user)
    return JsonResponse({"order": order.pk, "status": public.status(run)})


@login_required
def invoice(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Invoice, order=pk, order__customer=request.user)
    return JsonResponse({"number": found.number, "total": found.total})
