"""Statements that travel to PostgreSQL together, and one that travels alone.

psycopg's own pipeline sends each statement by itself, and takes several times as long for it. Its
cursor takes longer, too.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.waiting import Ready, Wait

Parameters = Sequence[Any] | Mapping[str, Any]
# A statement and the types of its parameters.
Key = tuple[bytes, tuple[int, ...]]
Arguments = tuple[Sequence[Any], tuple[int, ...], Any]

PLACE = re.compile(r"%(?:(%)|s|\((\w+)\)s)")
DONE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
# More are not kept: the one that was used least recently is deallocated.
MOST_PREPARED = 100


class Sent:
    """A statement under way. Its result is there after the next `sync` of the pipeline."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: PGresult | None = None


class Prepared:
    """The statements that a connection has prepared by these names."""

    def __init__(self) -> None:
        self.names: OrderedDict[Key, bytes] = OrderedDict()
        self._numbers = count()

    def add(self, key: Key) -> bytes:
        name = self.names[key] = b"engine_%d" % next(self._numbers)
        return name

    def superfluous(self) -> bytes | None:
        """Take out and return the one that was used least recently, where there are too many."""
        return self.names.popitem(last=False)[1] if len(self.names) > MOST_PREPARED else None


class Pipeline:
    """The statements of one transaction, prepared, and answered at each `sync`.

    Between them the connection may be used otherwise after a `let_go`.
    """

    def __init__(self, connection: psycopg.Connection[Any], prepared: Prepared) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._prepared = prepared
        self._transformer = Transformer(connection)
        # Under way, in their order; with the key of the statement where it is its preparation.
        self._sent: list[tuple[Sent, Key | None]] = []
        # What was sent before the first sync, to be repeated where the server has forgotten it.
        self._first: list[tuple[Sent, bytes, Arguments]] | None = []
        self._is_on = False

    def send(self, statement: str, parameters: Parameters) -> Sent:
        text, arguments = translated(self._transformer, statement, parameters)
        sent = Sent()
        if self._first is not None:
            self._first.append((sent, text, arguments))
        self._send(sent, text, arguments)
        return sent

    def rows(self, sent: Sent) -> list[Any]:
        """Return the rows of a statement, after a sync where there was none since."""
        result = self._result_of(sent)
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    def changed(self, sent: Sent) -> int:
        """Return how many rows a statement has changed."""
        return self._result_of(sent).command_tuples or 0

    def sync(self) -> None:
        """Wait for the statements under way. Raises the error of the first that failed."""
        first, self._first = self._first, None
        try:
            self._sync()
        except psycopg.errors.InvalidSqlStatementName:
            # psycopg deallocates all after a rollback. Nothing of the transaction has had an
            # effect, where this is its beginning.
            self._prepared.names.clear()
            if not first:
                raise
            self._send(Sent(), b"ROLLBACK", ((), (), None))
            for each in first:
                self._send(*each)
            self._sync()

    def let_go(self) -> None:
        """Let the connection be used otherwise until the next statement."""
        if self._is_on:
            try:
                self.sync()
            finally:
                self.end()

    def end(self) -> None:
        """Leave the pipeline; what is under way comes to its end, and is not looked at."""
        if not self._is_on or self._pgconn.status == ConnStatus.BAD:
            return
        if self._sent:
            self._connection.wait(self._results())
        self._pgconn.exit_pipeline_mode()
        self._is_on = False

    def _result_of(self, sent: Sent) -> PGresult:
        if sent.result is None:
            # Only after a sync does the server count the time at rest.
            self.sync()
        assert sent.result is not None
        if sent.result.status not in DONE:
            raise psycopg.errors.PipelineAborted("an earlier statement has failed")
        return sent.result

    def _send(self, sent: Sent, text: bytes, arguments: Arguments) -> None:
        values, types, formats = arguments
        if not self._is_on:
            self._pgconn.enter_pipeline_mode()
            self._is_on = True
        key = (text, types)
        if name := self._prepared.names.get(key):
            self._prepared.names.move_to_end(key)
        else:
            if old := self._prepared.superfluous():
                self._pgconn.send_query_params(b"DEALLOCATE " + old, None)
                self._sent.append((Sent(), None))
            name = self._prepared.add(key)
            self._pgconn.send_prepare(name, text, types)
            self._sent.append((Sent(), key))
        self._pgconn.send_query_prepared(name, values, formats)
        self._sent.append((sent, None))
        # The server works on it while this process makes the next one.
        self._pgconn.flush()

    def _sync(self) -> None:
        sent = self._sent
        self._connection.wait(self._results())
        for each, _ in sent:
            if each.result is not None and each.result.status not in DONE:
                raise error_from_result(each.result, encoding=self._connection.info.encoding)

    def _results(self) -> Generator[Wait, Ready | int, None]:
        """Send what is left, and take the results of all that is under way."""
        pgconn, sent = self._pgconn, self._sent
        self._sent = []
        pgconn.pipeline_sync()
        while pgconn.flush():
            # The server may want to be heard first.
            if (yield Wait.RW) & Ready.R:
                pgconn.consume_input()
        waiting = iter(sent)
        while True:
            while pgconn.is_busy():
                if (yield Wait.R):
                    pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                if pgconn.status == ConnStatus.BAD:
                    raise psycopg.OperationalError("the connection is lost")
            elif result.status == ExecStatus.PIPELINE_SYNC:
                return
            else:
                each, key = next(waiting)
                each.result = result
                if key is not None and result.status != ExecStatus.COMMAND_OK:
                    self._prepared.names.pop(key, None)


def changed_by(
    connection: psycopg.Connection[Any], prepared: Prepared, statement: str, parameters: Parameters
) -> int:
    """Execute a statement alone, prepared, and return how many rows it has changed."""
    text, arguments = translated(Transformer(connection), statement, parameters)
    try:
        return _changed_by(connection, prepared, text, arguments)
    except psycopg.errors.InvalidSqlStatementName:
        # See `Pipeline.sync`: nothing has happened.
        prepared.names.clear()
        return _changed_by(connection, prepared, text, arguments)


def _changed_by(
    connection: psycopg.Connection[Any], prepared: Prepared, text: bytes, arguments: Arguments
) -> int:
    pgconn, (values, types, formats) = connection.pgconn, arguments
    key = (text, types)
    if name := prepared.names.get(key):
        prepared.names.move_to_end(key)
    else:
        if old := prepared.superfluous():
            pgconn.send_query_params(b"DEALLOCATE " + old, None)
            _result(connection)
        name = prepared.add(key)
        try:
            pgconn.send_prepare(name, text, types)
            _result(connection)
        except BaseException:
            del prepared.names[key]
            raise
    pgconn.send_query_prepared(name, values, formats)
    return _result(connection).command_tuples or 0


def _result(connection: psycopg.Connection[Any]) -> PGresult:
    """Wait for the result of what was sent. Raises the error that it is."""
    results = connection.wait(execute(connection.pgconn))
    if not results:
        raise psycopg.OperationalError("the connection is lost")
    if results[-1].status not in DONE:
        raise error_from_result(results[-1], encoding=connection.info.encoding)
    return results[-1]


def translated(transformer: Any, statement: str, parameters: Parameters) -> tuple[bytes, Arguments]:
    """Return a statement and its parameters as the server takes them."""
    text, names = numbered(statement)
    values = list(parameters)
    if isinstance(parameters, Mapping):
        values = [parameters[name] for name in names]
    dumped = transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
    return text, (dumped, transformer.types or (), transformer.formats)


@lru_cache(maxsize=1024)
def numbered(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """Write the places of parameters as the server does; return their names, where they have any.

    A name may come several times.
    """
    names: list[str] = []
    numbers = count(1)

    def place(found: re.Match[str]) -> str:
        is_percent, name = found.groups()
        if is_percent:
            return "%"
        if name is None:
            return f"${next(numbers)}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return PLACE.sub(place, statement).encode(), tuple(names)
