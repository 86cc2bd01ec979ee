"""The flows that the scripts of a flow may start: a list of names, which follow a new name."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models.signals import post_delete

if TYPE_CHECKING:
    from flows.models.flow import Flow


def connect() -> None:
    from flows.models.flow import Flow

    post_delete.connect(forget_start, sender=Flow, dispatch_uid="flows.forget_start")


def starters_of(flow: Flow) -> list[Flow]:
    """Return the flows whose scripts may start the flow."""
    flows = type(flow).objects.exclude(may_start=[]).order_by("pk")
    return [each for each in flows if flow.name in each.may_start]


def rename_start(flow: Flow) -> None:
    """Before a flow with a new name is saved, let the scripts that may start it keep that right."""
    before = type(flow).objects.filter(pk=flow.pk).first() if flow.pk else None
    if before is None or before.name == flow.name:
        return
    flow.may_start = _renamed(flow.may_start, before.name, flow.name)
    for other in starters_of(before):
        if other != flow:
            other.may_start = _renamed(other.may_start, before.name, flow.name)
            other.save(update_fields=["may_start"])


def forget_start(instance: Flow, **_: Any) -> None:
    """After a flow is deleted, take it from the lists: another flow may get its name."""
    for other in starters_of(instance):
        other.may_start = [name for name in other.may_start if name != instance.name]
        other.save(update_fields=["may_start"])


def present_names(names: Iterable[str], at: datetime) -> dict[str, str | None]:
    """Return the present names of the flows that had these names at a time; None: it is gone."""
    return {name: _present_name(name, at) for name in names}


def _present_name(name: str, at: datetime) -> str | None:
    from flows.models.flow import Flow

    records = Flow.history.filter(name=name, history_date__lte=at)
    record = records.order_by("history_date", "history_id").last()
    found = Flow.objects.filter(pk=record.id) if record else Flow.objects.filter(name=name)
    return found.values_list("name", flat=True).first()


def _renamed(names: list[str], old: str, new: str) -> list[str]:
    return [new if name == old else name for name in names]
