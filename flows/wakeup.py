"""How a broker learns at once that there may be work."""

from __future__ import annotations

import select
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import connection

from flows.lanes import Bell
from flows.store.postgresql import CHANNEL

# How often SQLite is asked whether somebody has written; one look costs some microseconds.
SQLITE_LOOK_SECONDS = 0.002


class WakeUp(ABC):
    @abstractmethod
    def look(self) -> None:
        """Remember how things stand: whatever happens after this ends the next `wait`."""

    @abstractmethod
    def wait(self, seconds: float, bells: Sequence[Bell] = ()) -> None:
        """Return when there may be work or a bell rings, at the latest after so many seconds."""

    @abstractmethod
    def close(self) -> None: ...


class PostgreSQLWakeUp(WakeUp):
    """LISTEN on a connection of its own, past the pooler where there is one.

    Its errors are Django's, as those of every other use of the database.
    """

    def __init__(self) -> None:
        database = direct_database()
        params = database.get_connection_params()
        params.pop("cursor_factory", None)
        params.pop("context", None)
        with connection.wrap_database_errors:
            self.listener = database.get_new_connection({**params, "autocommit": True})
            self.listener.execute(f"LISTEN {CHANNEL}")

    def look(self) -> None:
        # Notifications are kept by the connection until they are read.
        with connection.wrap_database_errors:
            for _ in self.listener.notifies(timeout=0):
                pass

    def wait(self, seconds: float, bells: Sequence[Bell] = ()) -> None:
        select.select([self.listener, *bells], [], [], seconds)
        self.look()

    def close(self) -> None:
        self.listener.close()


class SQLiteWakeUp(WakeUp):
    """`PRAGMA data_version` changes when another connection has committed."""

    def __init__(self) -> None:
        self.version = self._data_version()

    def _data_version(self) -> int:
        connection.ensure_connection()
        return connection.connection.execute("PRAGMA data_version").fetchone()[0]

    def look(self) -> None:
        self.version = self._data_version()

    def wait(self, seconds: float, bells: Sequence[Bell] = ()) -> None:
        deadline = time.monotonic() + seconds
        while self._data_version() == self.version and time.monotonic() < deadline:
            if select.select(bells, [], [], SQLITE_LOOK_SECONDS)[0]:
                return

    def close(self) -> None:
        pass


def direct_database() -> Any:
    """Return the database without a pooler between."""
    direct = settings.ASYNCENGINE_DIRECT_DATABASE
    if direct is None:
        return connection
    from asyncengine.postgresql.base import DatabaseWrapper

    return DatabaseWrapper(connection.settings_dict | direct, "direct")


def wakeup() -> WakeUp:
    return PostgreSQLWakeUp() if connection.vendor == "postgresql" else SQLiteWakeUp()
