"""Deliveries that tests make without a worker."""

import time
from uuid import UUID

from flows.store import DeliveryResult, HeldMessage, store
from flows.worker.redelivery import ACCEPTED, in_commit
from tests.builders import open_lease


def taken_in_turn(queue: str) -> list[UUID]:
    """Take and finish every message, one at a time."""
    lease, ids = open_lease(queue), []
    held = store().claim(lease, lambda plan, threads: 1)
    while held:
        ids.append(UUID(held[0].id))
        held = store().commit(
            lease, [passed(h) for h in held], in_commit, lambda plan, threads: 1, claim=True
        )
    return ids


def passed(held: HeldMessage) -> DeliveryResult:
    now = time.time()
    return DeliveryResult(held, ACCEPTED, now, now, output=held.body)
