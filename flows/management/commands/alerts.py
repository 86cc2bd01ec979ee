from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand

from flows.models import Alert
from flows.monitoring.times import rfc3339
from flows.tasks.alerts import evaluate


class Command(BaseCommand):
    help = (
        "Applies the rules of alerts, tells the targets what is pending, and prints what fires."
        " Workers do the same once a minute; this is for a machine that is to notice their end."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        # Also where a worker has applied the rules just now: something may have begun since.
        sent = evaluate(interval=timedelta())
        for alert in Alert.objects.firing():
            self.stdout.write(f"{alert.level:8}  {rfc3339(alert.since)}  {alert.sentence}")
        self.stdout.write(f"Messages sent: {sent}")
