"""Measures starts by HTTP beside callers that wait, on the database of `DATABASE_URL`.

`python -m tests.waiter_times` runs the web server as `up` does. In turn it starts runs from 16
connections alone, and beside 2,000 waits and 500 streams of events of ten users. It prints both
rates, their share, and the memory of the web server for each that waits. Nothing runs what
is started, so the streams have no events. What it makes it removes again.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

import django

USERS, WAITS, STREAMS, CONNECTIONS = 10, 200, 50, 16
ROUNDS, SECONDS = 3, 8.0
SIZE = 1_000_000


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
    django.setup()
    from flows.benchmark.caller import caller
    from flows.benchmark.scripts import TRIVIAL
    from flows.benchmark.servers import own_server, start_call
    from flows.benchmark.workbench import BenchStep, workbench

    with ExitStack() as stack:
        users = [stack.enter_context(caller()) for _ in range(USERS + 1)]
        bench = stack.enter_context(workbench([BenchStep(TRIVIAL)], SIZE))
        for user in users:
            user.may_start(bench)
        port = stack.enter_context(own_server())
        start = start_call(port, users[0], bench)
        start.warm_up()
        rounds = []
        for _ in range(ROUNDS):
            alone = start.load(CONNECTIONS, SECONDS)["perSecond"]
            before = memory_kb()
            with waiting(port, bench, users[1:]):
                each = (memory_kb() - before) / (USERS * (WAITS + STREAMS))
                beside = start.load(CONNECTIONS, SECONDS)["perSecond"]
            print(f"{alone:6.0f} alone {beside:6.0f} beside {each:5.1f} kB for each")
            rounds.append(beside / alone)
        print(f"share {median(rounds):.2f}")
    return 0


@contextmanager
def waiting(port: int, bench: Any, users: list[Any]) -> Iterator[None]:
    """Keep waits and streams open. Each stream is answered before the block, and no wait."""
    from flows import engine
    from flows.models import Run

    # Delayed, so that it does not end meanwhile.
    run = engine.start(bench.name, {}, start_at=tomorrow()).correlation_id
    with ExitStack() as stack:
        for user in users:
            streams = [
                stack.enter_context(call(port, user, f"events?flowName={bench.name}"))
                for _ in range(STREAMS)
            ]
            for stream in streams:
                assert stream.recv(12) == b"HTTP/1.1 200"
            for _ in range(WAITS):
                stack.enter_context(call(port, user, f"runs/{run}?wait=60"))
        yield
    engine.cancel(Run.objects.get(pk=run))


def call(port: int, user: Any, path: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    lines = [
        f"GET /async/api/{path} HTTP/1.1",
        "Host: localhost",
        "Accept: */*",
        f"Authorization: Bearer {user.token}",
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def tomorrow() -> Any:
    from datetime import timedelta

    from django.utils import timezone

    return timezone.now() + timedelta(days=1)


def memory_kb() -> int:
    """Return the memory of the children of this process, and theirs, after what they have read."""
    from time import sleep

    from flows.benchmark.family import families
    from flows.benchmark.memory import pss_kb

    sleep(1)
    return sum(pss_kb(pid) for pid in families([os.getpid()]) if pid != os.getpid())


if __name__ == "__main__":
    sys.exit(main())
