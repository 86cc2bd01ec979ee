from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import Any, Self, TypeVar

import psycopg

Result = TypeVar("Result")

# How long nothing may come from the server before it is asked whether it is still there.
SILENCE_SECONDS = 3.0
# How often a wait looks at the clock.
INTERVAL_SECONDS = 0.1

RESET = (
    "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; CLOSE ALL; UNLISTEN *;"
    " SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES; DISCARD TEMP; "
)


class WatchfulConnection(psycopg.Connection[Any]):
    """A connection that ends when its server does not answer, however long a statement may take.

    The kernel notices a server that is gone, by packets that nobody confirms. It does not notice
    one that stands still, or a proxy that has lost what is behind it: there every packet is
    confirmed and no answer comes. So whoever waits in vain connects a second time. A server that
    is only slow answers that; where it does not, this connection is lost.
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    # Whether a pooler answers, which may give each transaction another session of the server.
    is_pooled = False
    # How often it has waited for the server: a number that every use of it changes.
    uses = 0

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Self:
        connection = super().connect(*args, **kwargs)
        connection._arguments = args, kwargs
        return connection

    def set_up(self, settings: Mapping[str, str]) -> None:
        """Set the session, and learn whether it is the server's own: a pooler makes its pids up."""
        was, self.autocommit = self.autocommit, True
        *_, pid = self._set(settings, local=False)
        self.autocommit = was
        self.is_pooled = pid != self.info.backend_pid

    def set_up_transaction(self, settings: Mapping[str, str]) -> None:
        """Set the session that a pooler has given to the transaction that begins with this."""
        self._set(settings, local=True)

    def _set(self, settings: Mapping[str, str], local: bool) -> tuple[Any, ...]:
        calls = "set_config(%s, %s, %s), " * len(settings)
        values = [part for name, value in settings.items() for part in (name, value, local)]
        cursor = psycopg.Cursor(self).execute(f"SELECT {calls}pg_backend_pid()".encode(), values)
        row: tuple[Any, ...] | None = cursor.fetchone()
        assert row is not None
        return row

    def reset(self, settings: Mapping[str, str]) -> None:
        """Undo what has changed the session, as DISCARD ALL does, which no transaction allows."""
        calls = ", ".join(["set_config(%s, %s, false)"] * len(settings))
        values = [part for pair in settings.items() for part in pair]
        # psycopg knows the names of those that it has prepared itself.
        reset = RESET if self.prepare_threshold is not None else f"{RESET}DEALLOCATE ALL; "
        psycopg.ClientCursor(self).execute(f"{reset}SELECT {calls}".encode(), values)

    def traits(self) -> tuple[object, ...]:
        """Return what its user may have set at the connection itself."""
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
        """Whether the server has said so, which servers before 14 and poolers do not."""
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
        """Pass the wait on, and look at the clock each time that nothing has come."""
        heard_at = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard_at = time.monotonic()
                elif time.monotonic() > heard_at + SILENCE_SECONDS:
                    self._require_server()
                    heard_at = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as end:
            result: Result = end.value
            return result

    def _require_server(self) -> None:
        """Raise OperationalError where the server does not answer."""
        args, kwargs = self._arguments
        try:
            psycopg.connect(*args, **kwargs).close()
        except psycopg.OperationalError as error:
            self.pgconn.finish()
            raise psycopg.OperationalError(
                f"no answer for {SILENCE_SECONDS:g} s, nor to a new connection: {error}"
            ) from error
