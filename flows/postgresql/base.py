"""Django's PostgreSQL backend with connections that detect a lost server and a commit in doubt.

Sessions have settings of their own instead of those of role, database and server. Connections may
go through a pooler.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from django.db import DatabaseError, InterfaceError
from django.db.backends.postgresql import base
from django.db.backends.signals import connection_created

from flows.errors import CommitInDoubt
from flows.postgresql.connection import WatchfulConnection
from flows.postgresql.pipeline import Pipeline, changed_by
from flows.postgresql.session_settings import known_to


class Driver:
    """The module psycopg for Django's backend, with a `connect` of its own."""

    connect = WatchfulConnection.connect

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


class DatabaseWrapper(base.DatabaseWrapper):
    Database = Driver()  # type: ignore[assignment]
    # Of the transaction that is open; None: its statements travel one by one.
    pipeline: Pipeline | None = None

    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        params.pop("session_settings", None)
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self.pipeline = None
        connection: WatchfulConnection = super().get_new_connection(conn_params)
        try:
            connection.deferrable = False
            if connection.isolation_level is None:
                connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            connection.set_up(self._settings_of(connection))
        except BaseException:
            connection.close()
            raise
        if connection.is_pooled:
            # A cursor on the server belongs to a session. The next fetch may run in another.
            self.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = True
        return connection

    def _set_autocommit(self, autocommit: bool) -> None:
        super()._set_autocommit(autocommit)  # type: ignore[misc]
        if not autocommit and self.is_pooled:
            with self.wrap_database_errors:
                self.connection.set_up_transaction(self._settings_of(self.connection))

    def init_connection_state(self) -> None:
        super().init_connection_state()
        self._traits = self.connection.traits()

    def renew(self) -> None:
        """Reset the session to the state of a new one. If that is not possible, close it.

        The session may be in a transaction. Behind a pooler nothing is reset: each transaction gets
        a session and sets it up.
        """
        raw = self.connection
        if raw is None:
            return
        if not self.in_atomic_block and (
            raw.closed or raw.traits() != self._traits or not raw.autocommit
        ):
            self.close()
        elif not raw.is_pooled:
            with self.wrap_database_errors:
                raw.reset(self._settings_of(raw))
                self._configure_connection(raw)  # type: ignore[attr-defined]
            # Receivers may set up sessions, too.
            connection_created.send(sender=self.__class__, connection=self)

    @property
    def is_pooled(self) -> bool:
        """Whether the connection goes through a pooler; False until it is open."""
        return getattr(self.connection, "is_pooled", False)

    def _settings_of(self, connection: WatchfulConnection) -> dict[str, str]:
        settings: dict[str, str] = self.settings_dict["OPTIONS"].get("session_settings", {})
        return known_to(connection.info.server_version) | settings

    def is_usable(self) -> bool:
        """Return whether the connection still works. Django asks this before each request.

        A server sends nothing to an idle connection except its end. So a query is sent only if
        bytes have come; Django's own backend sends one each time. A connection that takes no writes
        is given up, since a database's setting for that affects new connections only.
        """
        if self.connection is None or self.connection.closed:
            return False
        if not self.connection.takes_writes:
            return False
        poller = select.poll()
        poller.register(self.connection.fileno(), select.POLLIN)
        return not poller.poll(0) or super().is_usable()

    def commit_one(self, statement: str, params: Sequence[Any]) -> int:
        """Execute a statement that is a transaction of its own: the server commits it at its end.

        Returns how many rows it has changed.

        The session keeps the plan of the statement. No transaction may be open, and no pooler may
        stand between. Raises what a commit raises: a lost connection leaves it in doubt.
        """
        self.ensure_connection()
        with self._doubted(), self.wrap_database_errors:
            return changed_by(self.connection, self.connection.prepared, statement, params)

    def begin_pipeline(self) -> None:
        """Let statements travel together, up to one whose rows are read or to the commit.

        It is the first thing in a transaction, and ends with it. The error of a statement comes
        where the next rows are read, or with the commit. Behind a pooler nothing is pipelined.
        """
        if self.is_pooled or not psycopg.Pipeline.is_supported():
            return
        with self.wrap_database_errors:
            # psycopg would send a BEGIN of its own, and wait for the answer.
            self.connection.autocommit = True
            self.pipeline = Pipeline(self.connection, self.connection.prepared)
            self.pipeline.send(begin(self.connection), ())

    def create_cursor(self, name: str | None = None) -> Any:
        if self.pipeline is not None:
            self.pipeline.let_go()
        return super().create_cursor(name)

    def _end_pipeline(self) -> None:
        pipeline, self.pipeline = self.pipeline, None
        if pipeline is not None:
            with self.wrap_database_errors:
                pipeline.end()

    def _commit(self) -> None:
        with self._doubted():
            if self.pipeline is None:
                super()._commit()  # type: ignore[misc]
                return
            with self.wrap_database_errors:
                self.pipeline.send("COMMIT", ())
                self.pipeline.sync()
            self._end_pipeline()

    def _rollback(self) -> None:
        # Why the transaction fails is known by now.
        with suppress(DatabaseError, InterfaceError):
            self._end_pipeline()
        super()._rollback()  # type: ignore[misc]

    @contextmanager
    def _doubted(self) -> Iterator[None]:
        """Raise CommitInDoubt where the block, a commit, has lost its connection."""
        try:
            yield
        except (DatabaseError, InterfaceError) as error:
            # Imported late: the store imports models, which need this backend.
            from flows.store.pending_starts import queue_full
            from flows.store.troubles import Trouble, trouble_of

            if full := queue_full(error):
                raise full from error

            is_gone = self.connection is None or self.connection.closed
            if is_gone or trouble_of(error) is Trouble.AWAY:
                raise CommitInDoubt(f"lost during a commit: {error}") from error
            raise


def begin(connection: WatchfulConnection) -> str:
    """Return the statement with which the connection's transactions begin."""
    level = connection.isolation_level or psycopg.IsolationLevel.READ_COMMITTED
    return f"BEGIN ISOLATION LEVEL {level.name.replace('_', ' ')}"
