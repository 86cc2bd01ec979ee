"""When tokens were used last: written now and then, so that no call pays for it."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress

from django.db import DatabaseError, InterfaceError

from flows.models import TokenUse
from flows.store import store

# A process writes the use of a token once in this time.
PAUSE_SECONDS = 60.0
# The most tokens that a process remembers; one more makes room for itself.
MOST = 10_000


class TokenUses:
    def __init__(self) -> None:
        self._written_at: dict[str, float] = {}

    def note(self, keys: Collection[str]) -> None:
        """Write that the tokens are used now, unless that was written a moment ago.

        A call does not fail because this does, as on a database that cannot be written.
        """
        now = time.monotonic()
        due = [key for key in keys if now >= self._written_at.get(key, 0.0) + PAUSE_SECONDS]
        if not due:
            return
        if len(self._written_at) + len(due) > MOST:
            self._written_at.clear()
        self._written_at.update(dict.fromkeys(due, now))
        with suppress(DatabaseError, InterfaceError):
            used_at = store().database.now()
            TokenUse.objects.bulk_create(
                [TokenUse(token=key, used_at=used_at) for key in due],
                update_conflicts=True,
                unique_fields=["token"],
                update_fields=["used_at"],
            )


token_uses = TokenUses()
