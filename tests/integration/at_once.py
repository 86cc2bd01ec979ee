"""Calls of the engine at the same moment, a thread each."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from django.db import OperationalError, connections

from flows.errors import IdempotencyConflict
from tests.waiting import PATIENCE


def at_once(calls: list[Any]) -> list[Any]:
    """Make the calls at the same moment, a thread each; return the answers in their order."""
    barrier = Barrier(len(calls))

    def call(do: Any) -> Any:
        barrier.wait(PATIENCE)
        try:
            return until_not_locked(do)
        except IdempotencyConflict as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def until_not_locked(do: Any) -> Any:
    """Call again while SQLite's database in memory, which tests use, lets no writer wait."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return do()
        except OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
