"""Raw SQL of the hot path without any guarantee: the limit of the database.

No Django, no script hosts, no lease that runs out, no bounded queue. Some processes claim messages
in batches, run a step, continue with the next one, and write results and traces, in tables of their
own.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from flows.benchmark.helper import Work, serve

STEPS = 3
BATCH = 200

# A claimed message: its id, the id of its run and its body.
Claimed = tuple[Any, Any, str]


class RawPath(Protocol):
    """The statements of one database, on a connection of their own."""

    def claim(self, lease: str) -> Sequence[Claimed]:
        """Claim a batch at the first step, in one transaction."""

    def go_on(self, lease: str, step: int, claimed: Sequence[Claimed]) -> None:
        """Store what a step returned and move the messages to the next one."""

    def end(self, lease: str, step: int, claimed: Sequence[Claimed]) -> None:
        """Store what the last step returned as the results of the runs."""


def run_step(body: str) -> str:
    """Do what a trivial script does."""
    message = orjson.loads(body)
    message["payload"]["number"] += 1
    return orjson.dumps(message).decode()


def work_off(path: RawPath) -> dict[str, int]:
    """Run all messages that no other process has, and return how many these were."""
    lease, done = str(uuid.uuid4()), 0
    while claimed := path.claim(lease):
        done += len(claimed)
        for step in range(STEPS):
            claimed = [(id, run, run_step(body)) for id, run, body in claimed]
            store = path.end if step == STEPS - 1 else path.go_on
            store(lease, step, claimed)
    return {"done": done}


def prepare(order: Mapping[str, Any]) -> Work:
    path = path_of(order)
    return lambda: work_off(path)


def path_of(order: Mapping[str, Any]) -> RawPath:
    if order["database"] == "postgresql":
        from flows.benchmark.raw_postgresql import RawPostgreSQL

        return RawPostgreSQL(order["connection"], order["prefix"])
    from flows.benchmark.raw_sqlite import RawSQLite

    return RawSQLite(order["connection"], order["prefix"])


if __name__ == "__main__":
    serve(prepare)
