"""Tables of conservation: where the accepted runs of the flows are, and whether counters agree."""

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


def totals_table(flows: QuerySet[Flow] | None) -> dict[str, Any]:
    """Return the stored totals of the busiest of these flows, without counting rows.

    None stands for every flow, deleted ones included.
    """
    totals = FlowTotals.objects.order_by("-accepted", "flow_name")
    if flows is not None:
        totals = totals.filter(flow_name__in=flows.values("name"))
    return {"heads": HEADS, "rows": [_totals_row(each) for each in totals[:MOST_FLOWS]]}


def checked_tables() -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare all counters with the rows; return the table of the flows and that of the queues."""
    checked = conservation.check()
    flows = [_flow_row(each) for each in checked if isinstance(each, FlowConservation)]
    queues = [_queue_row(each) for each in checked if isinstance(each, QueueConservation)]
    return {"heads": CHECKED_HEADS, "rows": flows}, {"heads": QUEUE_HEADS, "rows": queues}


def _totals_row(totals: FlowTotals) -> dict[str, Any]:
    ended = (totals.completed, totals.failed, totals.cancelled)
    return _row(totals.flow_name, totals.accepted, totals.accepted - sum(ended), *ended)


def _flow_row(flow: FlowConservation) -> dict[str, Any]:
    unfinished = (flow.waiting, flow.delayed, flow.running)
    ended = (flow.completed, flow.failed, flow.cancelled)
    return _row(flow.name, flow.accepted, *unfinished, *ended) | _agreement(flow)


def _queue_row(queue: QueueConservation) -> dict[str, Any]:
    figures = (queue.depth, queue.waiting, queue.held, queue.reserved, queue.coming)
    return _row(queue.name, *figures) | _agreement(queue)


def _row(name: str, *figures: int) -> dict[str, Any]:
    return {"name": name, "figures": [f"{figure:,}" for figure in figures]}


def _agreement(checked: Conservation) -> dict[str, Any]:
    faults = checked.faults()
    return {"faults": faults, "agrees": not faults}
