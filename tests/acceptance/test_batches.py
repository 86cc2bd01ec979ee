"""Batches larger than their queue, and deadlines over the death of every process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime

import httpx
import psutil
import pytest

from tests.acceptance.installation import PASSWORD, Installation, serving
from tests.waiting import PATIENCE, wait_for

# An installation of its own, and more lines than the default tests have time for.
pytestmark = pytest.mark.long

LINES = int(os.environ.get("BATCH_LINES", "30000"))
QUEUE_SIZE = LINES // 100
GROWTH_MB = 64
ECHO = "def run(message, context):\n    return message\n"
SLEEPS = "import time\n\n\ndef run(message, context):\n    time.sleep(600)\n"
CONFIGURATION = {
    "scripts": [
        {"name": "echo", "code": ECHO},
        {"name": "sleeps", "code": SLEEPS, "timeoutSeconds": 700},
    ],
    "queues": [
        {"name": "small", "size": QUEUE_SIZE},
        {"name": "full", "size": 1, "paused": True},
        {"name": "quick"},
        {"name": "slow"},
    ],
    "flows": [
        {"name": "small", "steps": [{"script": "echo", "queue": "small", "threads": 8}]},
        {"name": "full", "steps": [{"script": "echo", "queue": "full"}]},
        {"name": "quick", "steps": [{"script": "echo", "queue": "quick"}]},
        {"name": "slow", "steps": [{"script": "sleeps", "queue": "slow"}]},
    ],
}
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with serving(tmp_path_factory.mktemp("batches"), CONFIGURATION) as installation:
        yield installation


def lines(first: int, last: int) -> Iterator[bytes]:
    for begin in range(first, last, 100):
        numbers = range(begin, min(begin + 100, last))
        yield b"".join(b'{"id":"order %d","n":%d}\n' % (n, n) for n in numbers)


def send(served: Installation, content: Iterator[bytes]) -> httpx.Response:
    query = {"flowName": "small", "wait": "60", "keyField": "id", "correlationIds": "all"}
    return served.http.post(
        "/api/start/batch", params=query, content=content, headers=NDJSON, timeout=LINES
    )


class Memory(threading.Thread):
    """Keeps the greatest memory that all processes of an installation had, in MB."""

    def __init__(self, served: Installation) -> None:
        super().__init__(daemon=True)
        self.served, self.peak, self._is_over = served, self._now(served), threading.Event()

    def __enter__(self) -> Memory:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()

    def run(self) -> None:
        while not self._is_over.wait(0.5):
            self.peak = max(self.peak, self._now(self.served))

    @staticmethod
    def _now(served: Installation) -> float:
        total = 0
        for process in served.family():
            with suppress(psutil.Error):
                total += process.memory_full_info().uss
        return total / 1e6


def test_batch_that_broke_off_is_sent_again_and_each_line_is_started_once(served: Installation):
    def cut_off() -> Iterator[bytes]:
        yield from lines(0, LINES // 2)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        send(served, cut_off())
    # The server may still be at lines of the first that it has received.
    with Memory(served) as first:
        more = send(served, lines(LINES, LINES + 4 * QUEUE_SIZE))
    with Memory(served) as second:
        again = send(served, lines(0, LINES))
    print(f"MB of a small batch {first.peak:.0f}, of all {LINES} lines {second.peak:.0f}")

    for answer, count in ((again, LINES), (more, 4 * QUEUE_SIZE)):
        document = answer.json()
        assert (answer.status_code, document["accepted"]) == (202, count)
        assert document["rejectedCount"] == 0
        assert len(set(document["correlationIds"])) == count
    assert second.peak < first.peak + GROWTH_MB
    # In the order of the lines: the id of a run has its time.
    ids = more.json()["correlationIds"]
    assert ids == sorted(ids)
    assert served.rows("SELECT count(*) FROM flows_run")[0][0] == LINES + 4 * QUEUE_SIZE


def test_batches_that_wait_keep_no_start_and_no_probe_waiting(served: Installation):
    served.start("full", {})
    # Longer than all that has to happen meanwhile.
    query = {"flowName": "full", "wait": "30"}

    def batch(_: int) -> int:
        with httpx.Client(base_url=served.http.base_url, auth=("admin", PASSWORD)) as http:
            answer = http.post(
                "/api/start/batch", params=query, content=b"{}", headers=NDJSON, timeout=PATIENCE
            )
        return answer.status_code

    with ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(batch, n) for n in range(40)]
        # Beyond the places that there are, they are refused at once.
        wait_for(lambda: sum(each.done() for each in waiting) >= 40 - 2 * 8, what="refusals")
        live = served.http.get("/health/ready")
        run = served.http.post("/api/start", params={"flowName": "quick", "wait": "60"}, json={})
        are_waiting = [each for each in waiting if not each.done()]

        assert (live.status_code, run.status_code) == (200, 200)
        assert run.json()["status"] == "COMPLETED"
        assert are_waiting
        assert {each.result() for each in waiting} == {429}


def test_deadline_holds_over_the_death_of_every_process(served: Installation):
    answer = served.http.post("/api/start", params={"flowName": "slow", "deadline": "20"}, json={})
    id = answer.json()["correlationId"]
    wait_for(lambda: served.run(id)["status"] == "RUNNING", what="a running script")

    served.kill_all()
    served.up("--no-demo")

    run = served.run(id, wait=30)
    assert (run["status"], run["errorCode"]) == ("CANCELLED", "deadline")
    assert datetime.fromisoformat(run["finishedAt"]) >= datetime.fromisoformat(run["deadline"])
