"""Send webhooks: each cluster's broker looks once a second whether a delivery is due.

If the task is lost with its worker, the broker queues another; see also `flows/webhooks/sender.py`.
"""

from __future__ import annotations

import time

from django_q.tasks import async_task

from flows.webhooks.sender import Sender, due

# A task leaves what is due after this time to the next one.
BUDGET_SECONDS = 2.0
# While some are due, a cluster queues another task after this time.
AGAIN_SECONDS = 2.0

_sender = Sender()


class WebhookWatch:
    """Queues the task where a delivery is due. The broker of each cluster has one."""

    def __init__(self) -> None:
        self._queued_at = -AGAIN_SECONDS

    def look(self) -> bool:
        """Tell whether a task was queued."""
        clock = time.monotonic()
        if clock - self._queued_at < AGAIN_SECONDS or not due().exists():
            return False
        # The result is in the rows.
        async_task("flows.tasks.webhooks.send", task_name="webhooks", save=False, ack_failure=True)
        self._queued_at = clock
        return True


def send(budget_seconds: float = BUDGET_SECONDS) -> int:
    """Begin to send what is due; return how many. Slow receivers keep no task waiting: their
    threads go on without it.
    """
    ends_at = time.monotonic() + budget_seconds
    begun = 0
    while (left := ends_at - time.monotonic()) > 0:
        if _sender.send_next():
            begun += 1
        elif not due().exists() or not _sender.wait(left):
            break
    return begun
