"""The raw path on SQLite. It does not wait for the disk with each commit."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from flows.benchmark.raw_path import BATCH, Claimed
from flows.benchmark.raw_tables import tables_of


class RawSQLite:
    def __init__(self, parameters: Mapping[str, Any], prefix: str) -> None:
        self._file = sqlite3.connect(parameters["dbname"], isolation_level=None, timeout=30)
        self._file.execute("PRAGMA synchronous = NORMAL")
        self._file.execute("PRAGMA cache_size = -64000")
        message, trace, run = tables_of(prefix)
        self._claim = (
            f"UPDATE {message} SET lease = ?, attempts = attempts + 1"
            f" WHERE id IN (SELECT id FROM {message} WHERE lease IS NULL AND step = 0"
            f" AND available_at <= ? ORDER BY available_at LIMIT {BATCH})"
            " RETURNING id, run, body"
        )
        self._go_on = (
            f"UPDATE {message} SET step = ?, body = ?, attempts = 0 WHERE id = ? AND lease = ?"
        )
        self._delete = f"DELETE FROM {message} WHERE id = ? AND lease = ?"
        self._complete = f"UPDATE {run} SET finished_at = ?, result = ?, status = 2 WHERE id = ?"
        self._trace = (
            f"INSERT INTO {trace} (run, step, started_at, ms, ok) VALUES (?, ?, ?, 0.1, 1)"
        )

    def claim(self, lease: str) -> Sequence[Claimed]:
        with self._transaction():
            return self._file.execute(self._claim, [lease, time.time()]).fetchall()

    def go_on(self, lease: str, step: int, claimed: Sequence[Claimed]) -> None:
        with self._transaction():
            rows = [(step + 1, body, id, lease) for id, _, body in claimed]
            self._file.executemany(self._go_on, rows)
            self._add_traces(step, claimed)

    def end(self, lease: str, step: int, claimed: Sequence[Claimed]) -> None:
        with self._transaction():
            self._file.executemany(self._delete, [(id, lease) for id, _, _ in claimed])
            now = time.time()
            self._file.executemany(self._complete, [(now, body, run) for _, run, body in claimed])
            self._add_traces(step, claimed)

    def _add_traces(self, step: int, claimed: Sequence[Claimed]) -> None:
        now = time.time()
        self._file.executemany(self._trace, [(run, step, now) for _, run, _ in claimed])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._file.execute("BEGIN IMMEDIATE")
        yield
        self._file.execute("COMMIT")
