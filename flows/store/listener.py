"""How a broker learns at once that there may be work."""

from __future__ import annotations

import select
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.utils import load_backend

from flows.store.file_writes import FileWrites
from scripts.protocol.waker import Waker

# How often SQLite is asked whether another connection has committed, where no write is told.
SQLITE_LOOK_SECONDS = 0.002
# After a write it is asked at once, and then less and less often: the commit is about to end.
SQLITE_FIRST_LOOK_SECONDS = 0.0003
SQLITE_IDLE_SECONDS = 1.0
UNATTENDED = """
    SELECT queue_id FROM flows_queuestate s WHERE depth > 0
        AND NOT EXISTS (SELECT 1 FROM flows_consumer c WHERE c.queue_id = s.queue_id)
"""


class Listener(ABC):
    """Waits for what other processes commit.

    `is_told_all`: no commit of a start escapes it.
    """

    is_told_all = True

    @abstractmethod
    def look(self) -> None:
        """Remember how things stand: whatever happens after this ends the next `wait`."""

    @abstractmethod
    def told(self) -> set[int]:
        """Return the queues that may have got messages since the last `look`, each once."""

    @abstractmethod
    def wait(self, seconds: float, wakers: Sequence[Waker] = ()) -> bool:
        """Return when there may be work, a waker is woken or the seconds are over.

        False: nothing has happened since the last `look`.
        """

    @abstractmethod
    def close(self) -> None: ...


class PostgreSQLListener(Listener):
    """LISTEN on a connection of its own, past the pooler where there is one.

    Its errors are Django's, as those of every other use of the database.
    """

    def __init__(self, channel: str) -> None:
        self.queues: set[int] = set()
        database = direct_database()
        params = database.get_connection_params()
        params.pop("cursor_factory", None)
        params.pop("context", None)
        with connection.wrap_database_errors:
            self.connection = database.get_new_connection({**params, "autocommit": True})
            self.connection.execute(f"LISTEN {channel}")
        # A pooler may keep notifications from it.
        self.is_told_all = not getattr(self.connection, "is_pooled", False)

    def look(self) -> None:
        self._take()
        self.queues.clear()

    def told(self) -> set[int]:
        told, self.queues = self.queues, set()
        return told

    def _take(self) -> bool:
        """Take the notifications, which the connection keeps; whether there were some."""
        with connection.wrap_database_errors:
            told = list(self.connection.notifies(timeout=0))
        for each in told:
            # Another version, or an operator, may have told something else.
            self.queues.update(int(word) for word in each.payload.split() if word.isdecimal())
        return bool(told)

    def wait(self, seconds: float, wakers: Sequence[Waker] = ()) -> bool:
        told, _, _ = select.select([self.connection, *wakers], [], [], seconds)
        return self._take() or bool(told)

    def close(self) -> None:
        self.connection.close()


class SQLiteListener(Listener):
    """`PRAGMA data_version` changes when another connection has committed.

    Linux tells when the log of the database is written, shortly before the commit ends: the version
    is looked at again and again then, and hardly ever otherwise.
    """

    def __init__(self) -> None:
        self.version = self._data_version()
        self.writes = FileWrites.of(Path(str(connection.settings_dict["NAME"])))
        self.written_at = time.monotonic()

    def _data_version(self) -> int:
        connection.ensure_connection()
        return connection.connection.execute("PRAGMA data_version").fetchone()[0]

    def look(self) -> None:
        self.version = self._data_version()

    def told(self) -> set[int]:
        """Those with messages and without a session. The wait goes on behind what this has seen."""
        version = self._data_version()
        if version == self.version:
            return set()
        self.version = version
        with connection.wrap_database_errors:
            return {id for (id,) in connection.connection.execute(UNATTENDED)}

    def wait(self, seconds: float, wakers: Sequence[Waker] = ()) -> bool:
        deadline = time.monotonic() + seconds
        while self._data_version() == self.version:
            if (now := time.monotonic()) >= deadline:
                return False
            if self._rest(min(deadline - now, self._longest_rest(now)), wakers):
                break
        return True

    def _longest_rest(self, now: float) -> float:
        if self.writes is None:
            return SQLITE_LOOK_SECONDS
        return min(SQLITE_FIRST_LOOK_SECONDS + (now - self.written_at) / 2, SQLITE_IDLE_SECONDS)

    def _rest(self, seconds: float, wakers: Sequence[Waker]) -> bool:
        """Return after the seconds, or a write; whether a waker is woken."""
        writes = [] if self.writes is None else [self.writes]
        sources: list[FileWrites | Waker] = [*writes, *wakers]
        told = {each.fileno() for each in select.select(sources, [], [], seconds)[0]}
        if any(each.fileno() in told and each.were_made() for each in writes):
            self.written_at = time.monotonic()
        return any(waker.fileno() in told for waker in wakers)

    def close(self) -> None:
        if self.writes is not None:
            self.writes.close()


def direct_database() -> Any:
    """Return the database without a pooler between."""
    direct = settings.ASYNCENGINE_DIRECT_DATABASE
    if direct is None:
        return connection
    backend = load_backend(connection.settings_dict["ENGINE"])
    return backend.DatabaseWrapper(connection.settings_dict | direct, "direct")
