"""The places of callers that wait, in all and for each user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from flows.front.faults import TooManyWaiters


class Places:
    """The places of one process: `most` in all, ASYNCENGINE_MAX_WAITERS for each user."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_user: Counter[Any] = Counter()

    @contextmanager
    def taken(self, user_id: Any) -> Iterator[None]:
        """Hold a place. Raises TooManyWaiters."""
        most_of_a_user = settings.ASYNCENGINE_MAX_WAITERS
        if self._by_user.total() >= self._most or self._by_user[user_id] >= most_of_a_user:
            raise TooManyWaiters
        self._by_user[user_id] += 1
        try:
            yield
        finally:
            self._by_user[user_id] -= 1
            if not self._by_user[user_id]:
                del self._by_user[user_id]
