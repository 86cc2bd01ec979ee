"""The raw path on PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from flows.benchmark.raw_path import BATCH, Claimed
from flows.benchmark.raw_tables import tables_of


class RawPostgreSQL:
    def __init__(self, parameters: Mapping[str, Any], prefix: str) -> None:
        self._connection = psycopg.connect(**parameters, autocommit=True)
        message, trace, run = tables_of(prefix)
        self._claim = (
            f"UPDATE {message} SET lease = %s, attempts = attempts + 1"
            f" WHERE id = ANY(ARRAY(SELECT id FROM {message} WHERE lease IS NULL AND step = 0"
            f" AND available_at <= now() ORDER BY available_at LIMIT {BATCH}"
            " FOR UPDATE SKIP LOCKED)) RETURNING id, run, body"
        )
        self._go_on = (
            f"UPDATE {message} m SET step = %s, body = u.body, attempts = 0"
            " FROM unnest(%s::bigint[], %s::text[]) u(id, body)"
            " WHERE m.id = u.id AND m.lease = %s"
        )
        self._delete = f"DELETE FROM {message} WHERE id = ANY(%s) AND lease = %s"
        self._complete = (
            f"UPDATE {run} r SET finished_at = now(), result = u.body, status = 2"
            " FROM unnest(%s::uuid[], %s::text[]) u(run, body) WHERE r.id = u.run"
        )
        self._trace = (
            f"INSERT INTO {trace} (run, step, started_at, ms, ok)"
            " SELECT u.run, %s, now(), 0.1, TRUE FROM unnest(%s::uuid[]) u(run)"
        )

    def claim(self, lease: str) -> Sequence[Claimed]:
        return self._connection.execute(self._claim.encode(), [lease]).fetchall()

    def go_on(self, lease: str, step: int, claimed: Sequence[Claimed]) -> None:
        ids, runs, bodies = map(list, zip(*claimed, strict=True))
        with self._connection.transaction():
            self._connection.execute(self._go_on.encode(), [step + 1, ids, bodies, lease])
            self._connection.execute(self._trace.encode(), [step, runs])

    def end(self, lease: str, step: int, claimed: Sequence[Claimed]) -> None:
        ids, runs, bodies = map(list, zip(*claimed, strict=True))
        with self._connection.transaction():
            self._connection.execute(self._delete.encode(), [ids, lease])
            self._connection.execute(self._complete.encode(), [runs, bodies])
            self._connection.execute(self._trace.encode(), [step, runs])
