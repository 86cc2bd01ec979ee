"""How a broker learns at once that there may be work."""

from __future__ import annotations

import select
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.utils import load_backend

from scripts.protocol.waker import Waker

# How often SQLite is asked whether another connection has written; a look costs some microseconds.
SQLITE_LOOK_SECONDS = 0.002


class Listener(ABC):
    """Waits for what other processes commit."""

    @abstractmethod
    def look(self) -> None:
        """Remember how things stand: whatever happens after this ends the next `wait`."""

    @abstractmethod
    def wait(self, seconds: float, wakers: Sequence[Waker] = ()) -> None:
        """Return when there may be work, a waker is woken or the seconds are over."""

    @abstractmethod
    def close(self) -> None: ...


class PostgreSQLListener(Listener):
    """LISTEN on a connection of its own, past the pooler where there is one.

    Its errors are Django's, as those of every other use of the database.
    """

    def __init__(self, channel: str) -> None:
        database = direct_database()
        params = database.get_connection_params()
        params.pop("cursor_factory", None)
        params.pop("context", None)
        with connection.wrap_database_errors:
            self.connection = database.get_new_connection({**params, "autocommit": True})
            self.connection.execute(f"LISTEN {channel}")

    def look(self) -> None:
        # The connection keeps notifications until they are read.
        with connection.wrap_database_errors:
            for _ in self.connection.notifies(timeout=0):
                pass

    def wait(self, seconds: float, wakers: Sequence[Waker] = ()) -> None:
        select.select([self.connection, *wakers], [], [], seconds)
        self.look()

    def close(self) -> None:
        self.connection.close()


class SQLiteListener(Listener):
    """`PRAGMA data_version` changes when another connection has committed."""

    def __init__(self) -> None:
        self.version = self._data_version()

    def _data_version(self) -> int:
        connection.ensure_connection()
        return connection.connection.execute("PRAGMA data_version").fetchone()[0]

    def look(self) -> None:
        self.version = self._data_version()

    def wait(self, seconds: float, wakers: Sequence[Waker] = ()) -> None:
        deadline = time.monotonic() + seconds
        while self._data_version() == self.version and time.monotonic() < deadline:
            if select.select(wakers, [], [], SQLITE_LOOK_SECONDS)[0]:
                return

    def close(self) -> None:
        pass


def direct_database() -> Any:
    """Return the database without a pooler between."""
    direct = settings.ASYNCENGINE_DIRECT_DATABASE
    if direct is None:
        return connection
    backend = load_backend(connection.settings_dict["ENGINE"])
    return backend.DatabaseWrapper(connection.settings_dict | direct, "direct")
