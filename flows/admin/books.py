"""Is everything that was accepted still there? The books of the flows as tables."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from flows.models import Flow, FlowTotals
from flows.monitoring import conservation
from flows.monitoring.conservation import Conservation, FlowConservation, QueueConservation

HEADS = ("Accepted", "= Unfinished", "+ Completed", "+ Failed", "+ Cancelled")
CHECKED_HEADS = ("Accepted", "= Waiting", "+ Delayed", "+ Running", *HEADS[2:])
QUEUE_HEADS = ("Depth", "= Waiting", "+ Held", "Reserved", "= Coming")
MOST_FLOWS = 12


def books(flows: QuerySet[Flow] | None) -> dict[str, Any]:
    """Return the books of the busiest of these flows as they are kept: nothing is counted.

    None stands for every flow, those that are gone included.
    """
    totals = FlowTotals.objects.order_by("-accepted", "flow_name")
    if flows is not None:
        totals = totals.filter(flow_name__in=flows.values("name"))
    return {"heads": HEADS, "rows": [_kept(totals) for totals in totals[:MOST_FLOWS]]}


def checked_books() -> tuple[dict[str, Any], dict[str, Any]]:
    """Hold the books against every row and return those of the flows and of the queues."""
    checked = conservation.check()
    flows = [_flow_row(each) for each in checked if isinstance(each, FlowConservation)]
    queues = [_queue_row(each) for each in checked if isinstance(each, QueueConservation)]
    return {"heads": CHECKED_HEADS, "rows": flows}, {"heads": QUEUE_HEADS, "rows": queues}


def _kept(totals: FlowTotals) -> dict[str, Any]:
    ended = (totals.completed, totals.failed, totals.cancelled)
    return _row(totals.flow_name, totals.accepted, totals.accepted - sum(ended), *ended)


def _flow_row(flow: FlowConservation) -> dict[str, Any]:
    unfinished = (flow.waiting, flow.delayed, flow.running)
    ended = (flow.completed, flow.failed, flow.cancelled)
    return _row(flow.name, flow.accepted, *unfinished, *ended) | _verdict(flow)


def _queue_row(queue: QueueConservation) -> dict[str, Any]:
    figures = (queue.depth, queue.waiting, queue.held, queue.reserved, queue.coming)
    return _row(queue.name, *figures) | _verdict(queue)


def _row(name: str, *figures: int) -> dict[str, Any]:
    return {"name": name, "figures": [f"{figure:,}" for figure in figures]}


def _verdict(checked: Conservation) -> dict[str, Any]:
    faults = checked.faults()
    verdict, label = ("differs", "danger") if faults else ("agrees", "success")
    return {"faults": faults, "verdict": verdict, "label": label}
