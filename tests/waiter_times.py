"""Measures starts by HTTP beside callers that wait, on the database of `DATABASE_URL`.

`python -m tests.waiter_times` runs the web server as `up` does. In turn it starts runs from 16
connections alone, and beside 2,000 waits and 500 streams of events of ten users. It prints both
rates, their share, and the memory of the web server for each that waits. Nothing runs what
is started, so the streams have no events.

`python -m tests.waiter_times events` has a cluster run what is started, and the 500 streams get the
events of all of it. It prints both rates, their share, and the bytes that the streams got.

What it makes it removes again.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

import django
import psutil

USERS, WAITS, STREAMS, CONNECTIONS = 10, 200, 50, 16
ROUNDS, SECONDS = 3, 8.0
IDLE_SECONDS = 0.5
SIZE = 1_000_000


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
    django.setup()
    from flows.benchmark.caller import caller
    from flows.benchmark.scripts import TRIVIAL
    from flows.benchmark.servers import own_server, start_call
    from flows.benchmark.workbench import BenchStep, workbench

    measure = beside_events if sys.argv[1:] == ["events"] else beside_waiters
    with ExitStack() as stack:
        users = [stack.enter_context(caller()) for _ in range(USERS + 1)]
        bench = stack.enter_context(workbench([BenchStep(TRIVIAL)], SIZE))
        for user in users:
            user.may_start(bench)
        port = stack.enter_context(own_server())
        start = start_call(port, users[0], bench)
        start.warm_up()
        shares = list(measure(start, port, bench, users[1:]))
        print(f"share {median(shares):.2f}")
    return 0


def beside_waiters(start: Any, port: int, bench: Any, users: list[Any]) -> Iterator[float]:
    """Yield the share of starts of each round, beside waits and streams without events."""
    for _ in range(ROUNDS):
        alone = start.load(CONNECTIONS, SECONDS)["perSecond"]
        before = memory_kb()
        with waiting(port, bench, users):
            wait_until_idle()
            each = (memory_kb() - before) / (USERS * (WAITS + STREAMS))
            beside = start.load(CONNECTIONS, SECONDS)["perSecond"]
        print(f"{alone:6.0f} alone {beside:6.0f} beside {each:5.1f} kB for each")
        yield beside / alone


def beside_events(start: Any, port: int, bench: Any, users: list[Any]) -> Iterator[float]:
    """Yield the share of starts of each round, beside streams that have the events of all runs."""
    from django.conf import settings

    from flows.benchmark.workers import running_cluster
    from flows.models import Flow, Right, RoleMapping

    # A cluster is started by the program of this process.
    sys.argv[0] = str(settings.BASE_DIR / "manage.py")
    for user in users:
        flow = Flow.objects.get(name=bench.name)
        RoleMapping.objects.create(role=user.role, flow=flow, right=Right.WATCH)
    with running_cluster(bench):
        for _ in range(ROUNDS):
            alone = start.load(CONNECTIONS, SECONDS)["perSecond"]
            bench.finish()
            with ExitStack() as stack:
                reading = Reading(
                    [stack.enter_context(each) for each in streams(port, bench, users)]
                )
                stack.enter_context(reading)
                beside = start.load(CONNECTIONS, SECONDS)["perSecond"]
                megabytes = reading.bytes / 1_000_000
            bench.finish()
            print(f"{alone:6.0f} alone {beside:6.0f} beside {megabytes:6.1f} MB of events")
            yield beside / alone


class Reading:
    """Reads what connections get, in a thread, and counts it."""

    def __init__(self, connections: list[socket.socket]) -> None:
        self.bytes = 0
        self._selector = selectors.DefaultSelector()
        for each in connections:
            self._selector.register(each, selectors.EVENT_READ)
        self._is_over = False
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Reading:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()
        self._selector.close()

    def _read(self) -> None:
        while not self._is_over:
            for key, _ in self._selector.select(0.1):
                connection: Any = key.fileobj
                if not (piece := connection.recv(1 << 18)):
                    self._selector.unregister(connection)
                self.bytes += len(piece)


@contextmanager
def waiting(port: int, bench: Any, users: list[Any]) -> Iterator[None]:
    """Keep waits and streams open. Each stream is answered before the block, and no wait."""
    from flows import engine
    from flows.models import Run

    # Delayed, so that it does not end meanwhile.
    run = engine.start(bench.name, {}, start_at=tomorrow()).correlation_id
    with ExitStack() as stack:
        for stream in streams(port, bench, users):
            stack.enter_context(stream)
        for user in users:
            for _ in range(WAITS):
                stack.enter_context(call(port, user, f"runs/{run}?wait=60"))
        yield
    engine.cancel(Run.objects.get(pk=run))


def streams(port: int, bench: Any, users: list[Any]) -> list[socket.socket]:
    """Return streams of the events of all runs, all answered."""
    found = [
        call(port, user, f"events?flowName={bench.name}") for user in users for _ in range(STREAMS)
    ]
    for stream in found:
        assert stream.recv(12) == b"HTTP/1.1 200"
    return found


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


def wait_until_idle() -> None:
    """Wait until the web server has taken in all that wait: what it then does, it does for them."""
    from flows.benchmark.waiting import wait_until

    def is_idle() -> bool:
        before = cpu_seconds()
        time.sleep(IDLE_SECONDS)
        return cpu_seconds() - before < IDLE_SECONDS / 10

    wait_until(is_idle, seconds=60)


def cpu_seconds() -> float:
    """Return the processor time of the children of this process, and theirs."""
    times = [psutil.Process(pid).cpu_times() for pid in children()]
    return sum(each.user + each.system for each in times)


def memory_kb() -> int:
    """Return the memory of the children of this process, and theirs, after what they have read."""
    from flows.benchmark.memory import pss_kb

    time.sleep(1)
    return sum(map(pss_kb, children()))


def children() -> list[int]:
    from flows.benchmark.family import families

    return [pid for pid in families([os.getpid()]) if pid != os.getpid()]


if __name__ == "__main__":
    sys.exit(main())
