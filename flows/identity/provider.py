"""What an issuer says of itself: its addresses and its keys, kept and renewed in each process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillFetching
from dataclasses import dataclass
from functools import lru_cache
from threading import BoundedSemaphore, Lock, Thread
from typing import Any

from flows.identity.claims import Claims
from flows.identity.errors import IssuerUnavailable, TokenRefused
from flows.identity.fetching import LIMIT_SECONDS, endpoint, fetched
from flows.identity.jwts import Key, header_of, keys_for, verified
from flows.identity.options import discovery_url, is_safe

logger = logging.getLogger(__name__)

# After this time the keys are renewed, while requests go on with those that are there.
FRESH_SECONDS = 600.0
# While the issuer is down its last keys go on for this time.
STALE_SECONDS = 3600.0
# After a failure it is not asked again for this time.
RETRY_SECONDS = 5.0
# A key that is not known is looked for no more often: anybody can name one.
UNKNOWN_KEY_SECONDS = 10.0
# Of the threads that answer requests, those that may wait for the issuer.
MOST_WAITING = 4
MOST_KEYS = 100


@dataclass(frozen=True, slots=True)
class Known:
    """What was fetched, and when."""

    metadata: Mapping[str, Any]
    keys: tuple[Key, ...]
    at: float


class Provider:
    def __init__(self, issuer: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.issuer = issuer
        self._clock = clock
        self._known: Known | None = None
        self._attempted_at = float("-inf")
        self._task: Future[Known] | None = None
        self._lock = Lock()
        self._places = BoundedSemaphore(MOST_WAITING)

    def verified(self, token: str, audience: str) -> Claims:
        """Return what a token of the issuer says. Raises TokenRefused, IssuerUnavailable."""
        header = header_of(token)
        known = self._known_now()
        keys = keys_for(header, known.keys)
        if not keys and self._may_ask(UNKNOWN_KEY_SECONDS):
            known = self._ask(UNKNOWN_KEY_SECONDS)
            keys = keys_for(header, known.keys)
        if not keys:
            raise TokenRefused("The token was signed with a key that the issuer does not name.")
        return verified(token, keys, self.issuer, audience)

    def endpoint(self, name: str) -> str:
        """Return an address of the issuer. Raises IssuerUnavailable."""
        return endpoint(self.issuer, dict(self.metadata()), name)

    def metadata(self) -> Mapping[str, Any]:
        """Return what the issuer says of itself. Raises IssuerUnavailable."""
        return self._known_now().metadata

    def _known_now(self) -> Known:
        known = self._known
        age = self._clock() - known.at if known else STALE_SECONDS
        if known is None or age >= STALE_SECONDS:
            return self._ask(RETRY_SECONDS)
        if age >= FRESH_SECONDS and self._may_ask(RETRY_SECONDS):
            self._begin(RETRY_SECONDS)
        return known

    def _may_ask(self, pause: float) -> bool:
        return self._clock() >= self._attempted_at + pause

    def _ask(self, pause: float) -> Known:
        """Wait for what the issuer says now, a bounded number of threads for a bounded time."""
        task = self._begin(pause)
        known = self._known
        if task is None and known and known.at >= self._attempted_at:
            return known
        if task is None or not self._places.acquire(blocking=False):
            raise IssuerUnavailable(f"{self.issuer} could not be asked")
        # One for each of the two requests of a fetch.
        left = self._attempted_at + 2 * LIMIT_SECONDS - self._clock()
        try:
            return task.result(timeout=max(left, 0))
        except StillFetching as error:
            raise IssuerUnavailable(f"{self.issuer} does not answer") from error
        finally:
            self._places.release()

    def _begin(self, pause: float) -> Future[Known] | None:
        """Return the fetch that is under way, or begin one; None: the last one was just now."""
        with self._lock:
            if self._task is not None and not self._task.done():
                return self._task
            if not self._may_ask(pause):
                return None
            self._attempted_at = self._clock()
            task = self._task = Future()
        # A thread of its own: looking up a name of a host has no time limit.
        try:
            Thread(target=self._fetch, args=(task,), name="issuer", daemon=True).start()
        except RuntimeError as error:
            # The system lets none be made now.
            task.set_exception(IssuerUnavailable(str(error)))
        return task

    def _fetch(self, task: Future[Known]) -> None:
        try:
            known = self._known = self._fetched()
            task.set_result(known)
        except IssuerUnavailable as error:
            logger.warning("The identity provider cannot be asked: %s", error)
            task.set_exception(error)
        except Exception as error:
            logger.exception("The identity provider cannot be asked")
            task.set_exception(IssuerUnavailable(str(error)))

    def _fetched(self) -> Known:
        if not is_safe(self.issuer):
            raise IssuerUnavailable(f"{self.issuer} is not https")
        metadata = fetched(discovery_url(self.issuer))
        if metadata.get("issuer") != self.issuer:
            raise IssuerUnavailable(f"{self.issuer} calls itself {metadata.get('issuer')!r}")
        found = fetched(endpoint(self.issuer, metadata, "jwks_uri")).get("keys")
        if not isinstance(found, list):
            raise IssuerUnavailable(f"{self.issuer} names no keys")
        keys = tuple(key for key in found[:MOST_KEYS] if isinstance(key, dict))
        return Known(metadata, keys, self._clock())


@lru_cache(maxsize=8)
def provider(issuer: str) -> Provider:
    return Provider(issuer)
