"""Django's PostgreSQL backend, on connections that do not wait for ever, and say what they lost."""

from __future__ import annotations

import select
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError
from django.db.backends.postgresql import base

from asyncengine.postgresql.connection import WatchfulConnection
from flows.errors import CommitInDoubt


class Driver:
    """psycopg as Django's backend uses it, but for how it connects."""

    connect = WatchfulConnection.connect

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


class DatabaseWrapper(base.DatabaseWrapper):
    Database = Driver()  # type: ignore[assignment]

    def is_usable(self) -> bool:
        """Tell whether the connection is still there; each request asks.

        A server has nothing to say to a connection at rest but that it ends it. Only where
        something has come is it asked, which Django's own backend does each time.
        """
        if self.connection is None or self.connection.closed:
            return False
        poller = select.poll()
        poller.register(self.connection.fileno(), select.POLLIN)
        return not poller.poll(0) or super().is_usable()

    def _commit(self) -> None:
        try:
            super()._commit()  # type: ignore[misc]
        except (InterfaceError, OperationalError) as error:
            if self.connection is None or self.connection.closed:
                raise CommitInDoubt(f"lost during a commit: {error}") from error
            raise
