"""Guessing passwords is made slow: who fails too often from an address has to wait.

Counted in each web process on its own, in bounded memory. Tokens are not concerned: they are too
long to be guessed.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

from django.http import HttpRequest
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from flows.api.errors import Problem

MOST_FAILURES = 10
WITHIN_SECONDS = 60.0
KNOWN_SECONDS = 24 * 3600.0

# An address, and the user where he has logged in from there before.
Caller = tuple[str, str]


class FailedLogins:
    """Who has logged in from an address before is counted apart from all others there.

    So somebody who guesses at passwords behind the same proxy does not lock out those who know
    theirs. A login that succeeds is never counted.
    """

    def __init__(self, size: int = 10_000) -> None:
        self.size = size
        self.lock = threading.Lock()
        # When the count began and how far it is; the oldest come first, and go first.
        self.failures: OrderedDict[Caller, tuple[float, int]] = OrderedDict()
        self.known: OrderedDict[Caller, float] = OrderedDict()

    @contextmanager
    def watch(self, address: str, name: str) -> Iterator[None]:
        """Count a login that fails within with AuthenticationFailed.

        Raises Problem where too many have failed: then the password is not even looked at.
        """
        caller = self._caller(address, name)
        self._require_patience(caller)
        try:
            yield
        except AuthenticationFailed:
            self._count(caller)
            raise
        with self.lock:
            keep(self.known, (address, name), time.monotonic(), self.size)

    def clear(self) -> None:
        with self.lock:
            self.failures.clear()
            self.known.clear()

    def _caller(self, address: str, name: str) -> Caller:
        logged_in_at = self.known.get((address, name))
        is_known = logged_in_at is not None and time.monotonic() < logged_in_at + KNOWN_SECONDS
        return (address, name if is_known else "")

    def _require_patience(self, caller: Caller) -> None:
        began_at, count = self.failures.get(caller, (0.0, 0))
        wait = began_at + WITHIN_SECONDS - time.monotonic()
        if count >= MOST_FAILURES and wait > 0:
            raise Problem("too-many-logins", headers={"Retry-After": str(ceil(wait))})

    def _count(self, caller: Caller) -> None:
        now = time.monotonic()
        with self.lock:
            began_at, count = self.failures.get(caller, (now, 0))
            if now > began_at + WITHIN_SECONDS:
                began_at, count = now, 0
            keep(self.failures, caller, (began_at, count + 1), self.size)


def keep(values: OrderedDict[Caller, Any], key: Caller, value: Any, size: int) -> None:
    """Remember a value as the newest; the oldest is forgotten where there are too many."""
    values[key] = value
    values.move_to_end(key)
    if len(values) > size:
        values.popitem(last=False)


failed_logins = FailedLogins()


def address_of(request: Request | HttpRequest) -> str:
    """Return the caller's address, behind as many proxies as NUM_PROXIES says."""
    return BaseThrottle().get_ident(request)  # type: ignore[arg-type]
