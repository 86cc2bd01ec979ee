"""Tables of conservation: where the accepted runs of the flows are, and whether counters agree."""

from __future__ import annotations

from typing import Any

import orjson
from django.db.models import Sum

from flows.models import ConservationCheck, FlowTotals, QueueState
from flows.monitoring import conservation
from flows.monitoring.conservation import Conservation, FlowConservation, QueueConservation
from flows.tasks.conservation import store_check

CHECKED_HEADS = (
    *("Accepted", "= Waiting", "+ Delayed", "+ Running"),
    *("+ Completed", "+ Failed", "+ Cancelled"),
)
CHECKED_QUEUE_HEADS = ("Depth", "= Waiting", "+ Held", "Reserved", "= Coming")
COUNTED_HEADS = ("Accepted", "= Under way", "+ Completed", "+ Failed", "+ Cancelled")
COUNTED_QUEUE_HEADS = ("Depth", "Reserved", "Delayed")
# With more runs and messages than this the check takes longer than a page may.
MOST_AT_ONCE = 20_000


def tables() -> dict[str, Any]:
    """Return the context of the page: all rows compared where they are few, else the counters."""
    accepted = FlowTotals.objects.aggregate(sum=Sum("accepted"))["sum"] or 0
    depth = QueueState.objects.aggregate(sum=Sum("depth"))["sum"] or 0
    if accepted + depth <= MOST_AT_ONCE:
        flow_table, queue_table = checked_tables()
        checked = {"checked": True}
    else:
        flow_table, queue_table = counted_tables()
        checked = {"checked": False}
    return {"flow_table": flow_table, "queue_table": queue_table, **checked, **last_check()}


def last_check() -> dict[str, Any]:
    check = ConservationCheck.objects.first()
    faults = orjson.loads(check.faults) if check else []
    return {"last_check": check, "last_faults": faults}


def counted_tables() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the table of the flows and that of the queues, from counters alone."""
    flows = [
        _row(each.flow_name, COUNTED_HEADS, each.accepted, each.unfinished, *_ended(each))
        for each in FlowTotals.objects.order_by("flow_name")
    ]
    queues = [
        _row(each.queue.name, COUNTED_QUEUE_HEADS, each.depth, each.reserved, each.delayed)
        for each in QueueState.objects.select_related("queue").order_by("queue__name")
    ]
    return (
        {"heads": COUNTED_HEADS, "rows": flows},
        {"heads": COUNTED_QUEUE_HEADS, "rows": queues},
    )


def _ended(totals: FlowTotals) -> tuple[int, int, int]:
    return totals.completed, totals.failed, totals.cancelled


def checked_tables() -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare all counters with the rows and store the result, so that home has it too.

    Return the table of the flows and that of the queues.
    """
    checked = conservation.check()
    store_check(checked)
    flows = [_flow_row(each) for each in checked if isinstance(each, FlowConservation)]
    queues = [_queue_row(each) for each in checked if isinstance(each, QueueConservation)]
    return {"heads": CHECKED_HEADS, "rows": flows}, {"heads": CHECKED_QUEUE_HEADS, "rows": queues}


def _flow_row(flow: FlowConservation) -> dict[str, Any]:
    unfinished = (flow.waiting, flow.delayed, flow.running)
    ended = (flow.completed, flow.failed, flow.cancelled)
    return _row(flow.name, CHECKED_HEADS, flow.accepted, *unfinished, *ended) | _agreement(flow)


def _queue_row(queue: QueueConservation) -> dict[str, Any]:
    figures = (queue.depth, queue.waiting, queue.held, queue.reserved, queue.coming)
    return _row(queue.name, CHECKED_QUEUE_HEADS, *figures) | _agreement(queue)


def _row(name: str, heads: tuple[str, ...], *figures: int) -> dict[str, Any]:
    shown = (f"{figure:,}" for figure in figures)
    return {"name": name, "figures": list(zip(heads, shown, strict=True))}


def _agreement(checked: Conservation) -> dict[str, Any]:
    faults = checked.faults()
    return {"faults": faults, "agrees": not faults}
