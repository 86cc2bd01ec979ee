"""Django's PostgreSQL backend, on connections that do not wait for ever, and say what they lost."""

from __future__ import annotations

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

    def _commit(self) -> None:
        try:
            super()._commit()  # type: ignore[misc]
        except (InterfaceError, OperationalError) as error:
            if self.connection is None or self.connection.closed:
                raise CommitInDoubt(f"lost during a commit: {error}") from error
            raise
