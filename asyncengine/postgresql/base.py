"""Django's PostgreSQL backend, on connections that do not wait for ever."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db.backends.postgresql import base

from asyncengine.postgresql.connection import WatchfulConnection


class Driver:
    """psycopg as Django's backend uses it, but for how it connects."""

    connect = WatchfulConnection.connect

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


class DatabaseWrapper(base.DatabaseWrapper):
    Database = Driver()  # type: ignore[assignment]
