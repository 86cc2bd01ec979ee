"""The flows that the scripts of a flow may start: a list of names, which follow a new name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.models.flow import Flow


def starters_of(flow: Flow) -> list[Flow]:
    """Return the flows whose scripts may start the flow."""
    flows = type(flow).objects.order_by("pk")
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


def _renamed(names: list[str], old: str, new: str) -> list[str]:
    return [new if name == old else name for name in names]
