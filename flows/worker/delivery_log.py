"""A line in the log for each delivery that ends with a dead letter; others are for debugging.

It has no error text, which may have parts of the payload: the attempt has that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from flows.disposition import Disposition
from flows.plan import step_plan
from flows.store import DeliveryResult, HeldMessage

logger = logging.getLogger(__name__)

LEVELS = {Disposition.DEAD_LETTERED: logging.INFO}


def log_ends(stored: Iterable[DeliveryResult]) -> None:
    """Log what has become of deliveries in a commit that has been made, but accepted ones."""
    for result in stored:
        disposition = result.decision.disposition
        if disposition is not Disposition.ACCEPTED:
            level = LEVELS.get(disposition, logging.DEBUG)
            if logger.isEnabledFor(level):
                _log(level, result)


def _log(level: int, result: DeliveryResult) -> None:
    held, decision = result.held, result.decision
    site = step_plan(held.step_id).site
    outcome, reason = decision.disposition.name.lower(), str(decision.reason or "")
    logger.log(
        level,
        "delivery ended: %s",
        f"{outcome}, {reason}" if reason else outcome,
        extra={
            "correlation_id": held.correlation_id,
            "flow": site.flow,
            "step": site.step,
            "attempt": held.deliveries,
            "queue": site.queue,
            "outcome": outcome,
            "reason": reason,
            "code": decision.code or "",
            **_trace_of(held),
        },
    )


def _trace_of(held: HeldMessage) -> dict[str, str]:
    """Return the ids of its attempt in the trace of its run, where traces are on."""
    if held.trace is None:
        return {}
    from scripts.traces.context import ids_of

    return ids_of(held.trace.span)
