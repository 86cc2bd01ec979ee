"""django-q2's own tasks, which run beside the flows."""

from __future__ import annotations

from django.utils import timezone

from orders.models import Invoice


def mail(pk: int) -> str:
    """Note when the invoice went out."""
    invoice = Invoice.objects.get(pk=pk)
    invoice.mailed_at = timezone.now()
    invoice.save(update_fields=["mailed_at"])
    return invoice.number
