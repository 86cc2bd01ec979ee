"""How Linux tells that a SQLite database was written."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.platform == "linux":
    from inotify_simple import INotify, flags


class FileWrites:
    """Readable for `select` when the database or a file beside it was written."""

    def __init__(self, path: Path) -> None:
        # The last one is written at the end of a transaction of the hot path.
        self._names = {path.name, f"{path.name}-wal", f"{path.name}-turn"}
        self._events = INotify(nonblocking=True)
        try:
            # The directory: the log is made anew when the last connection was closed.
            self._events.add_watch(path.parent, flags.MODIFY)
        except OSError:
            self._events.close()
            raise

    @classmethod
    def of(cls, path: Path) -> FileWrites | None:
        """Return None where nothing can be told: on other systems, and of databases in memory."""
        if sys.platform != "linux" or not path.is_file():
            return None
        try:
            return cls(path)
        except OSError:
            # The user has as many watches as the system allows.
            return None

    def fileno(self) -> int:
        return self._events.fileno()

    def were_made(self) -> bool:
        """Take what was told; whether it was the database that was written."""
        return any(
            event.name in self._names or event.mask & flags.Q_OVERFLOW
            for event in self._events.read(timeout=0)
        )

    def close(self) -> None:
        self._events.close()
