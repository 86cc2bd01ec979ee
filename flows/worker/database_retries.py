"""When a session uses the database again after it could not."""

from __future__ import annotations

import logging
import time

from django.db import connection

from flows.store.troubles import Trouble

logger = logging.getLogger(__name__)

# Waits between tries where the database cannot be used.
RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)


class DatabaseRetries:
    """Counts tries that failed, one after the other, and waits longer after each."""

    def __init__(self) -> None:
        self.failed = 0
        self._retry_at = 0.0

    def wait(self) -> float:
        """Return the seconds until the next try, 0 where the last one did not fail."""
        return max(self._retry_at - time.monotonic(), 0.0) if self.failed else 0.0

    def begin(self, consumer_id: int, error: Exception, trouble: Trouble) -> None:
        """Close the connection and wait for the next try."""
        if self.failed == 0:
            logger.warning(
                "consumer %s cannot use the database: %s. %s", consumer_id, trouble.value, error
            )
        connection.close()
        seconds = RETRY_SECONDS[min(self.failed, len(RETRY_SECONDS) - 1)]
        self._retry_at = time.monotonic() + seconds
        self.failed += 1

    def end(self) -> None:
        """Take note that a try has succeeded."""
        self.failed = 0
