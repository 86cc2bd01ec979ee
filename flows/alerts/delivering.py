"""Each target gets its message, from one process at a time.

A process takes the target, sends, and stores what it has told with the release. One that is killed
in between leaves it for another, which sends again two minutes later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Q

from flows.access import audit
from flows.alerts.messages import Message, message_of, trial_message
from flows.alerts.notices import Pending, is_quiet, pending, wait_after
from flows.alerts.sending import NotSent, send, url_fault
from flows.models import Alert, AlertNotice, AlertTarget, AlertTargetState
from flows.models.alert import LONGEST_ERROR
from flows.store import store
from scripts.models import Secret
from scripts.models.encryption import NotDecryptable

logger = logging.getLogger(__name__)

TAKEN = timedelta(minutes=2)
# A task that is not done after this time leaves the rest to the next one.
BUDGET_SECONDS = 60.0


def send_pending(budget_seconds: float = BUDGET_SECONDS) -> int:
    """Tell each target what it is to be told; return how many messages were sent."""
    ends_at = time.monotonic() + budget_seconds
    alerts = list(Alert.objects.order_by("since", "pk"))
    sent = 0
    for target in AlertTarget.objects.filter(active=True).select_related("state"):
        if time.monotonic() >= ends_at:
            break
        now = store().database.now()
        if not is_quiet(target, target.state.sent_at, now) and _pending(target, alerts, now):
            sent += _serve(target, alerts, now)
    return sent


def send_test(target: AlertTarget, user: object = None) -> None:
    """Send a test message. Raises NotSent."""
    audit.record("send a test alert", target, user=user)
    _send(target, trial_message(target.name))


def _serve(target: AlertTarget, alerts: list[Alert], now: datetime) -> bool:
    """Tell whether a message was sent to the target."""
    state = AlertTargetState.objects.filter(pk=target.pk)
    free = state.filter(Q(taken_until=None) | Q(taken_until__lte=now))
    until = now + TAKEN
    if not free.update(taken_until=until):
        return False
    # Another process may have told it all a moment ago.
    target.state.refresh_from_db()
    found = Pending()
    if not is_quiet(target, target.state.sent_at, now):
        found = _pending(target, alerts, now)
    if not found:
        state.filter(taken_until=until).update(taken_until=None)
        return False
    try:
        _send(target, message_of(found))
    except NotSent as error:
        failures = target.state.failures + 1
        logger.warning("the alert target %s was not told: %s", target.name, error)
        state.filter(taken_until=until).update(
            taken_until=store().database.now() + wait_after(failures),
            failures=failures,
            error=str(error)[:LONGEST_ERROR],
        )
        return False
    _record(target, found, until)
    return True


def _pending(target: AlertTarget, alerts: Iterable[Alert], now: datetime) -> Pending:
    told = {notice.alert_id: notice for notice in target.notices.all()}
    return pending(target, alerts, told, now)


def _send(target: AlertTarget, message: Message) -> None:
    try:
        url = _address(target)
    except NotDecryptable as error:
        raise NotSent(f"Its address cannot be decrypted: {error}") from None
    send(url, message)


def _address(target: AlertTarget) -> str:
    """Raises NotSent or NotDecryptable."""
    if not target.address_secret:
        if not target.encrypted:
            raise NotSent("It has no address: enter one on its page.")
        return target.value()
    secret = Secret.objects.filter(name=target.address_secret).first()
    if secret is None:
        raise NotSent(f"The secret {target.address_secret}, which has its address, is missing.")
    # A file of secrets ends its lines.
    url = secret.value().strip()
    if fault := url_fault(url):
        raise NotSent(f"The secret {target.address_secret} is no address: {fault}")
    return url


def _record(target: AlertTarget, found: Pending, until: datetime) -> None:
    now = store().database.now()
    with store().database.transaction():
        for alert in (*found.new, *found.again, *found.ended):
            AlertNotice.objects.update_or_create(
                target=target,
                alert=alert,
                defaults={
                    "level": alert.level,
                    "told_at": now,
                    "is_end": alert.ended_at is not None,
                },
            )
        AlertTargetState.objects.filter(pk=target.pk, taken_until=until).update(
            taken_until=None, sent_at=now, failures=0, error=""
        )
