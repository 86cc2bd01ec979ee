"""A burst of starts on a queue that takes a tenth of them."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.acceptance.installation import snapshot
from tests.chaos.checks import broken_counters
from tests.chaos.scripts import configuration
from tests.chaos.system import System
from tests.databases import fresh_database

pytestmark = pytest.mark.chaos

STARTS, SIZE, CALLERS = 10_000, 1_000, 32


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with fresh_database(tmp_path) as url:
        system = System(url, tmp_path, clusters=1)
        try:
            yield system
        finally:
            system.end()


def test_exactly_as_many_starts_are_accepted_as_the_queue_holds(system: System):
    document = configuration(SIZE)
    document["queues"] = [queue | {"paused": True} for queue in document["queues"]]
    system.begin(document)

    answers = burst(system)

    accepted = [run for status, _, _, run in answers if status == 202]
    refusals = sorted(seconds for status, _, seconds, _ in answers if status == 429)
    p99 = refusals[int(len(refusals) * 0.99)]
    print(f"{len(accepted)} accepted, {len(refusals)} refused, p99 {p99 * 1000:.0f} ms")
    assert len(accepted) == len(set(accepted)) == SIZE
    assert len(refusals) == STARTS - SIZE
    assert all(after is not None for status, after, _, _ in answers if status == 429)
    assert system.rows("SELECT COUNT(*) FROM flows_run") == [(SIZE,)]
    with snapshot(system.database_url) as query:
        assert broken_counters(query) == []


Answer = tuple[int, str | None, float, str]


def burst(system: System) -> list[Answer]:
    """Start from many callers at once, each on a connection of its own."""
    answers: list[Answer] = []
    numbers = count()
    together = threading.Barrier(CALLERS)
    token = system.token()

    def call() -> None:
        server = http.client.HTTPConnection("127.0.0.1", system.port, timeout=60)
        server.connect()
        together.wait()
        while (n := next(numbers)) < STARTS:
            began = time.monotonic()
            server.request(
                "POST",
                "/async/api/start?flowName=quick",
                json.dumps({"n": n}),
                {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            answer = server.getresponse()
            body = json.loads(answer.read())
            after, seconds = answer.getheader("Retry-After"), time.monotonic() - began
            answers.append((answer.status, after, seconds, body.get("correlationId", "")))
        server.close()

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
