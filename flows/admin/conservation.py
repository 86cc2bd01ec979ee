"""Tables of conservation: where the accepted runs of the flows are, and whether counters agree."""

from __future__ import annotations

from typing import Any

from flows.monitoring import conservation
from flows.monitoring.conservation import Conservation, FlowConservation, QueueConservation
from flows.tasks.conservation import store_check

CHECKED_HEADS = (
    *("Accepted", "= Waiting", "+ Delayed", "+ Running"),
    *("+ Completed", "+ Failed", "+ Cancelled"),
)
QUEUE_HEADS = ("Depth", "= Waiting", "+ Held", "Reserved", "= Coming")


def checked_tables() -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare all counters with the rows and store the result, so that home has it too.

    Return the table of the flows and that of the queues.
    """
    checked = conservation.check()
    store_check(checked)
    flows = [_flow_row(each) for each in checked if isinstance(each, FlowConservation)]
    queues = [_queue_row(each) for each in checked if isinstance(each, QueueConservation)]
    return {"heads": CHECKED_HEADS, "rows": flows}, {"heads": QUEUE_HEADS, "rows": queues}


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
