"""What a target is to be told now. Pure: it decides by rows that were read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flows.models import Alert, AlertLevel, AlertNotice, AlertTarget


@dataclass(slots=True)
class Pending:
    """`new` began, or got worse; `again` goes on; `ended` was told and is over."""

    new: list[Alert] = field(default_factory=list)
    again: list[Alert] = field(default_factory=list)
    ended: list[Alert] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.new or self.again or self.ended)

    @property
    def is_critical(self) -> bool:
        return any(alert.level == AlertLevel.CRITICAL for alert in (*self.new, *self.again))


def pending(
    target: AlertTarget,
    alerts: Iterable[Alert],
    told: Mapping[int, AlertNotice],
    now: datetime,
) -> Pending:
    """Sort what the target is to be told. `told`: its notices by alerts."""
    found = Pending()
    for alert in alerts:
        notice = told.get(alert.pk)
        if alert.ended_at is not None:
            if notice and not notice.is_end and target.tells_end:
                found.ended.append(alert)
        elif not _wants(target, alert):
            continue
        elif notice is None or _is_worse(alert, notice):
            found.new.append(alert)
        elif _is_to_repeat(target, notice, now):
            found.again.append(alert)
    return found


def is_quiet(target: AlertTarget, sent_at: datetime | None, now: datetime) -> bool:
    """Whether the last message is too young for another."""
    return sent_at is not None and now < sent_at + target.quiet_time


def wait_after(failures: int) -> timedelta:
    """Return after what time a message that was not sent is tried again."""
    return timedelta(minutes=min(2 ** max(failures - 1, 0), 60))


def _wants(target: AlertTarget, alert: Alert) -> bool:
    if target.least_level == AlertLevel.CRITICAL and alert.level != AlertLevel.CRITICAL:
        return False
    return not target.rules or alert.rule in target.rules


def _is_worse(alert: Alert, notice: AlertNotice) -> bool:
    return bool(alert.level == AlertLevel.CRITICAL and notice.level != AlertLevel.CRITICAL)


def _is_to_repeat(target: AlertTarget, notice: AlertNotice, now: datetime) -> bool:
    return bool(target.repeat_after) and now >= notice.told_at + target.repeat_after
