"""Apply the rules of health once a minute, and tell the targets of alerts.

Each cluster's broker looks now and then, and queues a task where the rules are due. One process
applies them, whatever number of clusters look; without a target nothing is done.
"""

from __future__ import annotations

import time
from datetime import timedelta

from django_q.tasks import async_task

from flows.alerts.delivering import BUDGET_SECONDS, send_pending
from flows.alerts.following import INTERVAL, follow, is_due, take_turn
from flows.models import Alert, AlertTarget
from flows.monitoring.health import alarms
from flows.store import store
from flows.tasks import installation

LOOK_SECONDS = 10.0


class AlertWatch:
    """Queues the task where the rules are due. The broker of each cluster has one."""

    def __init__(self) -> None:
        self._looked_at = time.monotonic()

    def look(self) -> bool:
        """Tell whether a task was queued."""
        clock = time.monotonic()
        if clock - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = clock
        if not are_used() or not is_due(store().database.now()):
            return False
        # The result is in the rows.
        async_task("flows.tasks.alerts.evaluate", task_name="alerts", save=False, ack_failure=True)
        return True


def are_used() -> bool:
    """Whether there is a target, or an alert that has to end."""
    return AlertTarget.objects.filter(active=True).exists() or Alert.objects.firing().exists()


def evaluate(budget_seconds: float = BUDGET_SECONDS, interval: timedelta = INTERVAL) -> int:
    """Follow what the rules find, and tell the targets; return how many messages were sent.

    The rules are left alone where a process has applied them within the interval.
    """
    turn = store().database.now()
    if take_turn(turn, interval):
        follow(alarms(installation.health()), turn)
    return send_pending(budget_seconds)
