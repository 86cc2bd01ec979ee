"""Starts runs through the engine, many in a transaction, until it is told to stop by SIGTERM.

    python -m tests.chaos.bulk HISTORY

A bulk whose transaction fails, or may have failed, is tried again with the
same idempotency keys, so that every intended start counts once.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from pathlib import Path

import django

BULK = 40
PAUSE_SECONDS = 0.4


def main() -> None:
    django.setup()
    from tests.chaos.history import History

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    history, rng = History(Path(sys.argv[1])), random.Random(os.environ["CHAOS_SEED"])
    number = 0
    while not stopping.wait(PAUSE_SECONDS):
        flow = rng.choice(["quick", "flaky", "picky"])
        numbers = range(number, number + BULK)
        number += BULK
        ids = start_until_stored(flow, numbers)
        for n, run in zip(numbers, ids, strict=True):
            history.note(f"bulk-{n}", flow, n, run)


def start_until_stored(flow: str, numbers: range) -> list[str]:
    from django.db import InterfaceError, OperationalError, connection, transaction

    from flows import engine
    from flows.errors import QueueFull

    pause = threading.Event()
    while True:
        try:
            with transaction.atomic():
                return [
                    str(engine.start(flow, {"n": n}, idempotency_key=f"bulk-{n}").correlation_id)
                    for n in numbers
                ]
        except QueueFull:
            pause.wait(0.05)
        except (OperationalError, InterfaceError):
            connection.close()
            pause.wait(0.2)


if __name__ == "__main__":
    main()
