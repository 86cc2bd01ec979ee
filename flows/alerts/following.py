"""Alerts begin and end as the rules of health find them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from flows.models import Alert, AlertsClock
from flows.models.alert import LONGEST_NAME
from flows.monitoring.health import Alarm
from flows.store import store

# The rules are applied once a minute; a minute may be a little short.
INTERVAL = timedelta(seconds=50)
# How long those that have ended are shown.
KEPT = timedelta(days=7)
Key = tuple[str, str, str, str]


def is_due(now: datetime) -> bool:
    return not AlertsClock.objects.filter(evaluated_at__gt=now - INTERVAL).exists()


def take_turn(now: datetime, interval: timedelta = INTERVAL) -> bool:
    """Whether this process is to apply the rules now: one process, once in the interval."""
    AlertsClock.objects.get_or_create(pk=1, defaults={"evaluated_at": now - interval})
    due = AlertsClock.objects.filter(pk=1, evaluated_at__lte=now - interval)
    return bool(due.update(evaluated_at=now))


def follow(alarms: Iterable[Alarm], turn: datetime) -> None:
    """Store what the rules have found in this turn, unless another process had a later one."""
    now = store().database.now()
    with store().database.transaction():
        if not AlertsClock.objects.select_for_update().filter(pk=1, evaluated_at=turn).exists():
            return
        firing = {_key_of(alert): alert for alert in Alert.objects.firing()}
        for key, alarm in {_key_of(alarm): alarm for alarm in alarms}.items():
            alert = firing.pop(key, None) or Alert(
                **dict(zip(COLUMNS, key, strict=True)), since=now
            )
            alert.level, alert.seen_at = alarm.level.value, now
            alert.sentence, alert.advice = alarm.sentence, alarm.advice
            alert.save()
        Alert.objects.filter(pk__in=[alert.pk for alert in firing.values()]).update(ended_at=now)
        Alert.objects.filter(ended_at__lt=now - KEPT).delete()


COLUMNS = ("rule", "flow", "queue", "subject")


def _key_of(found: Alarm | Alert) -> Key:
    names = (found.flow, found.queue, found.subject)
    return (found.rule, *(name[:LONGEST_NAME] for name in names))  # type: ignore[return-value]
