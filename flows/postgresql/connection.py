"""A psycopg connection that detects a server that does not answer."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Mapping
from typing import Any, Self, TypeVar

import psycopg
from psycopg.waiting import Ready, Wait

from flows.postgresql.pipeline import Prepared

Result = TypeVar("Result")

# After this time without bytes from the server, a second connection tests whether it answers.
SILENCE_SECONDS = 3.0
# A wait reads the clock this often.
INTERVAL_SECONDS = 0.1

RESET = (
    "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; CLOSE ALL; UNLISTEN *;"
    " SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES; DISCARD TEMP; "
    # psycopg goes on using those that it has prepared, which is not by SQL.
    "DO $$ DECLARE each name; BEGIN"
    " FOR each IN SELECT p.name FROM pg_prepared_statements p WHERE p.from_sql LOOP"
    " EXECUTE 'DEALLOCATE ' || quote_ident(each); END LOOP; END $$; "
)


class WatchfulConnection(psycopg.Connection[Any]):
    """A connection that ends when its server does not answer, however long a statement may take.

    The kernel detects a server that is gone: its packets are not acknowledged. It does not detect a
    server that hangs, or a proxy that has lost its server: there each packet is acknowledged, but
    no answer comes. So after some seconds of silence this class opens a second connection. A slow
    server answers it. If there is no answer, this connection is closed.
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    # Whether a pooler answers. It may give each transaction another session of the server.
    is_pooled = False
    # The number of waits for the server. Every use of the connection increases it.
    uses = 0
    prepared: Prepared

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Self:
        connection = super().connect(*args, **kwargs)
        connection._arguments = args, kwargs
        connection.prepared = Prepared()
        return connection

    def set_up(self, settings: Mapping[str, str]) -> None:
        """Set up the session and detect a pooler, which reports made-up pids."""
        was, self.autocommit = self.autocommit, True
        *_, pid = self._set(settings, local=False)
        self.autocommit = was
        self.is_pooled = pid != self.info.backend_pid
        if self.prepare_threshold is None and not self.is_pooled:
            # What asks for it is prepared, and nothing because it comes often.
            self.prepare_threshold = sys.maxsize

    def set_up_transaction(self, settings: Mapping[str, str]) -> None:
        """Set up the session that a pooler gives to a transaction, as its first statement."""
        self._set(settings, local=True)

    def _set(self, settings: Mapping[str, str], local: bool) -> tuple[Any, ...]:
        calls = "set_config(%s, %s, %s), " * len(settings)
        values = [part for name, value in settings.items() for part in (name, value, local)]
        cursor = psycopg.Cursor(self).execute(f"SELECT {calls}pg_backend_pid()".encode(), values)
        row: tuple[Any, ...] | None = cursor.fetchone()
        assert row is not None
        return row

    def reset(self, settings: Mapping[str, str]) -> None:
        """Reset the session as DISCARD ALL does, which PostgreSQL refuses in a transaction."""
        calls = ", ".join(["set_config(%s, %s, false)"] * len(settings))
        values = [part for pair in settings.items() for part in pair]
        psycopg.ClientCursor(self).execute(f"{RESET}SELECT {calls}".encode(), values)

    def traits(self) -> tuple[object, ...]:
        """Return the attributes of the connection that its user may have changed."""
        return (
            self.autocommit,
            self.isolation_level,
            self.read_only,
            self.deferrable,
            self.row_factory,
            self.cursor_factory,
            self.prepare_threshold,
        )

    @property
    def takes_writes(self) -> bool:
        """Whether it accepts writes. Servers before 14 and poolers do not report it: then True."""
        names = ("default_transaction_read_only", "in_hot_standby")
        return all(self.info.parameter_status(name) != "on" for name in names)

    def wait(
        self,
        gen: Generator[Any, Any, Result],
        interval: float = INTERVAL_SECONDS,
        timeout: float | None = None,
    ) -> Result:
        self.uses += 1
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        return super().wait(self._watched(gen), interval)

    def _watched(self, gen: Generator[Any, Any, Result]) -> Generator[Any, Any, Result]:
        """Pass on the wait, and read the clock each time that no bytes have come.

        psycopg sends the last statements of a pipeline once, as far as the socket takes them, and
        then waits to read. So the rest of a large one is sent here.
        """
        heard_at = time.monotonic()
        try:
            state = next(gen)
            while True:
                is_unsent = state == Wait.R and self.pgconn.flush()
                ready = yield Wait.RW if is_unsent else state
                if ready:
                    heard_at = time.monotonic()
                elif time.monotonic() > heard_at + SILENCE_SECONDS:
                    self._require_server()
                    heard_at = time.monotonic()
                if is_unsent and ready == Ready.W:
                    continue
                state = gen.send(ready & state if is_unsent else ready)
        except StopIteration as end:
            result: Result = end.value
            return result

    def _require_server(self) -> None:
        """Raise OperationalError if the server does not answer. Of several hosts it is this one."""
        args, kwargs = self._arguments
        if "," in str(kwargs.get("host")):
            this = {"host": self.info.host, "port": self.info.port}
            kwargs = kwargs | this | {"target_session_attrs": "any"}
        try:
            psycopg.connect(*args, **kwargs).close()
        except psycopg.OperationalError as error:
            self.pgconn.finish()
            raise psycopg.OperationalError(
                f"no answer for {SILENCE_SECONDS:g} s, nor to a new connection: {error}"
            ) from error
