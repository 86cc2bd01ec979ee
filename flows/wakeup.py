"""How a broker learns at once that there may be work."""

from __future__ import annotations

import select
import time
from abc import ABC, abstractmethod

from django.db import connection

from flows.store.postgresql import CHANNEL

# How often SQLite is asked whether somebody has written; one look costs some microseconds.
SQLITE_LOOK_SECONDS = 0.002


class WakeUp(ABC):
    @abstractmethod
    def look(self) -> None:
        """Remember how things stand: whatever happens after this ends the next `wait`."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Return when there may be work, at the latest after so many seconds."""

    @abstractmethod
    def close(self) -> None: ...


class PostgreSQLWakeUp(WakeUp):
    """LISTEN on a connection of its own."""

    def __init__(self) -> None:
        params = connection.get_connection_params()
        params.pop("cursor_factory", None)
        params.pop("context", None)
        self.listener = connection.get_new_connection({**params, "autocommit": True})
        self.listener.execute(f"LISTEN {CHANNEL}")

    def look(self) -> None:
        # Notifications are kept by the connection until they are read.
        for _ in self.listener.notifies(timeout=0):
            pass

    def wait(self, seconds: float) -> None:
        for _ in self.listener.notifies(timeout=seconds, stop_after=1):
            pass

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

    def wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._data_version() == self.version and time.monotonic() < deadline:
            select.select([], [], [], SQLITE_LOOK_SECONDS)

    def close(self) -> None:
        pass


def wakeup() -> WakeUp:
    return PostgreSQLWakeUp() if connection.vendor == "postgresql" else SQLiteWakeUp()
