"""Limit failed logins, so that guessing passwords is slow.

Failures are counted by address and by account. The counts are in the database, so they hold for all
processes and survive restarts. Tokens are not counted: they are too long to be guessed.
"""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed

from flows.access.audited_logins import record_failed_login
from flows.api.errors import Problem
from flows.models import LoginCount
from flows.models.logins import ACCOUNT_WITHIN, KNOWN, WITHIN

logger = logging.getLogger(__name__)

# From one address, at any account; and at an account from an address where it has logged in.
MOST_FAILURES = 10
WITHIN_SECONDS = WITHIN.total_seconds()
# At one account, from all other addresses: many addresses are cheap for an attacker.
MOST_FAILURES_OF_ACCOUNT = 30
ACCOUNT_WITHIN_SECONDS = ACCOUNT_WITHIN.total_seconds()
KNOWN_SECONDS = KNOWN.total_seconds()
# The time of the last login of an account at an address is written no more often than this.
KNOWN_AGAIN_SECONDS = 3600.0
# How far two clocks may differ. A count that begins later than that had a wrong clock.
CLOCKS_APART = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Counter:
    """Failures that are counted together: their key, their limit and the period in seconds."""

    what: str
    key: str
    most: int = MOST_FAILURES
    within_seconds: float = WITHIN_SECONDS

    def wait_seconds(self, row: LoginCount | None, now: datetime) -> float:
        """Return the seconds that the next login has to wait. 0 or less: it need not wait."""
        if row is None or row.began_at is None or row.failures < self.most:
            return 0.0
        if row.began_at > now + CLOCKS_APART:
            return 0.0
        return (row.began_at - now).total_seconds() + self.within_seconds


class FailedLogins:
    """Counts failed logins. An account has a count of its own at each address where it has logged
    in.

    So an attacker behind the same proxy, or at the same account from another address, does not lock
    out the user of the account. A successful login is never counted.
    """

    @contextmanager
    def watch(
        self, address: str, name: str, failure: type[Exception] = AuthenticationFailed
    ) -> Iterator[None]:
        """Count a login that fails in this context with an exception.

        Raises Problem where too many have failed, before the password is checked.
        """
        pair = Counter("this account at this address", _key("pair", address, name))
        others = (
            Counter("this address", _key("address", address)),
            Counter(
                "this account",
                _key("account", name),
                MOST_FAILURES_OF_ACCOUNT,
                ACCOUNT_WITHIN_SECONDS,
            ),
        )
        now = timezone.now()
        rows = LoginCount.objects.in_bulk([pair.key, *(other.key for other in others)])
        is_known = _is_within(rows.get(pair.key), KNOWN_SECONDS, now)
        counters = (pair,) if is_known else others
        _require_patience(counters, rows, now)
        try:
            yield
        except failure:
            for counter in counters:
                _count(counter, address)
            record_failed_login(name)
            raise
        if not _is_within(rows.get(pair.key), KNOWN_AGAIN_SECONDS, now):
            LoginCount.objects.update_or_create(pk=pair.key, defaults={"known_at": now})


failed_logins = FailedLogins()


def _key(*parts: str) -> str:
    """Return the key of a row. Names that a login form takes for the same are the same here."""
    plain = (unicodedata.normalize("NFKC", part).casefold() for part in parts)
    return hashlib.sha256("\0".join(plain).encode(errors="surrogatepass")).hexdigest()


def _is_within(row: LoginCount | None, seconds: float, now: datetime) -> bool:
    if row is None or row.known_at is None:
        return False
    return now < row.known_at + timedelta(seconds=seconds)


def _require_patience(
    counters: Iterable[Counter], rows: dict[Any, LoginCount], now: datetime
) -> None:
    wait = max(counter.wait_seconds(rows.get(counter.key), now) for counter in counters)
    if wait > 0:
        raise Problem("too-many-logins", headers={"Retry-After": str(ceil(wait))})


def _count(counter: Counter, address: str) -> None:
    """Count a failure: add it to the count of the current period, or begin a new count."""
    now = timezone.now()
    since = now - timedelta(seconds=counter.within_seconds)
    row = LoginCount.objects.filter(pk=counter.key)
    going_on = row.filter(began_at__gt=since, began_at__lte=now + CLOCKS_APART)
    if not going_on.update(failures=F("failures") + 1, changed_at=now):
        begun = {"began_at": now, "failures": 1, "changed_at": now}
        try:
            with transaction.atomic():
                LoginCount.objects.create(pk=counter.key, **begun)
        except IntegrityError:
            # The row exists: it is of an earlier period, or another process has just made it.
            overdue = Q(began_at=None) | ~Q(began_at__gt=since, began_at__lte=now + CLOCKS_APART)
            if not row.filter(overdue).update(**begun):
                row.update(failures=F("failures") + 1, changed_at=now)
    if going_on.filter(failures=counter.most).exists():
        logger.warning("Too many failed logins at %s; the last came from %s", counter.what, address)
