"""The text of a message: one for all that is pending."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings

from flows.alerts.notices import Pending
from flows.models import Alert
from flows.monitoring.own_address import own_address
from flows.monitoring.times import rfc3339

# Chats take no long ones.
MOST_ALERTS = 20
LONGEST_TITLE = 140


@dataclass(frozen=True, slots=True)
class Message:
    """`kind`: that of Apprise, `failure`, `warning`, `success` or `info`."""

    title: str
    body: str
    kind: str


def message_of(pending: Pending) -> Message:
    firing = [*pending.new, *pending.again]
    kind = "failure" if pending.is_critical else "warning" if firing else "success"
    lines = [line for alert in firing[:MOST_ALERTS] for line in _lines_of(alert)]
    lines += [_line_of_end(alert) for alert in pending.ended[:MOST_ALERTS]]
    left_out = sum(max(len(each) - MOST_ALERTS, 0) for each in (firing, pending.ended))
    if left_out:
        lines.append(f"And {left_out} more.")
    return Message(_title(pending), "\n".join([*lines, *_place()]), kind)


def trial_message(name: str) -> Message:
    text = f"The target {name} gets the alerts of this installation. This is a test: nothing fires."
    return Message(f"{_prefix()} Test", "\n".join([text, *_place()]), "info")


def _title(pending: Pending) -> str:
    firing = [*pending.new, *pending.again]
    alerts = firing or pending.ended
    first = alerts[0].sentence if firing else f"Ended: {alerts[0].sentence}"
    number = len(firing) + len(pending.ended)
    more = f" (and {number - 1} more)" if number > 1 else ""
    title = f"{_prefix()} {first}"
    if len(title + more) > LONGEST_TITLE:
        title = title[: LONGEST_TITLE - len(more) - 1] + "…"
    return title + more


def _prefix() -> str:
    return "[Async Engine]"


def _lines_of(alert: Alert) -> Iterator[str]:
    yield f"{alert.get_level_display().upper()}: {alert.sentence}"
    yield f"    since {rfc3339(alert.since)}. {alert.advice}".rstrip()


def _line_of_end(alert: Alert) -> str:
    assert alert.ended_at
    return f"ENDED: {alert.sentence} From {rfc3339(alert.since)} to {rfc3339(alert.ended_at)}."


def _place() -> Iterator[str]:
    """Say which installation it is: its address, or a machine of it."""
    yield ""
    if settings.ASYNCENGINE_URL:
        yield own_address("admin:index")
    else:
        yield f"Sent by {socket.gethostname()}."
