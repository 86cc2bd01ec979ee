"""An installation under load whose PostgreSQL takes no writes for a while, as at a failover."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from tests.acceptance.installation import Installation
from tests.databases import is_postgresql
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not is_postgresql(), reason="SQLite has no role or server to ask")

# Its scripts are under way when the trouble begins, and end while it lasts.
CODE = "import time\n\n\ndef run(message, context):\n    time.sleep(0.5)\n    return message\n"
FLOW = {
    "scripts": [{"name": "slow", "language": "python", "code": CODE}],
    "queues": [{"name": "first"}, {"name": "second"}],
    "flows": [
        {
            "name": "steady",
            "steps": [
                {"name": "one", "script": "slow", "queue": "first"},
                {"name": "two", "script": "slow", "queue": "second"},
            ],
        }
    ],
}
# Longer than a lease of 10 s.
TROUBLE_SECONDS = 14


class Load(threading.Thread):
    """A caller that starts runs one after the other and notes every answer."""

    def __init__(self, installation: Installation) -> None:
        super().__init__()
        self.url = f"http://127.0.0.1:{installation.port}/async/api/start"
        self.auth = installation.http.auth
        self.started: list[str] = []
        self.answers: list[httpx.Response] = []
        self.ends = threading.Event()

    def run(self) -> None:
        with httpx.Client(auth=self.auth, timeout=60) as client:
            while not self.ends.wait(0.1):
                answer = client.post(self.url, params={"flowName": "steady"}, json={})
                self.answers.append(answer)
                if answer.status_code == 202:
                    self.started.append(answer.json()["correlationId"])

    def goes_on(self) -> None:
        before = len(self.started)
        wait_for(lambda: len(self.started) > before + 3, 60, "starts that are accepted")

    def end(self) -> None:
        self.ends.set()
        self.join()


def ask(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as s:
        for statement in statements:
            s.execute(statement.encode())


def end_connections(url: str) -> None:
    ask(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def set_read_only(url: str, on: bool) -> None:
    name = urlsplit(url).path.removeprefix("/")
    ask(url, f"ALTER DATABASE {name} SET default_transaction_read_only = {on}")


def ended(installation: Installation, id: str) -> dict[str, Any]:
    """Return a run at its end; a connection that has just been ended costs a 503."""

    def run() -> dict[str, Any] | None:
        answer = installation.http.get(f"/api/runs/{id}", params={"wait": 10})
        assert answer.status_code in (200, 503), answer.text
        is_over = answer.status_code == 200 and answer.json()["finishedAt"]
        return answer.json() if is_over else None

    found = wait_for(run, 120, f"the end of {id}")
    assert found is not None
    return found


def all_end_well(installation: Installation, load: Load) -> None:
    runs = [ended(installation, id) for id in load.started]
    attempts = Counter(len(step["attempts"]) for run in runs for step in run["steps"])

    assert {run["status"] for run in runs} == {"COMPLETED"}
    assert attempts == {1: 2 * len(runs)}
    assert installation.manage("check_conservation").returncode == 0


def test_a_read_only_time_longer_than_a_lease_costs_no_run_and_no_second_delivery(
    installation: Installation,
):
    installation.up("--no-demo")
    installation.configure(FLOW)
    load = Load(installation)
    load.start()
    try:
        wait_for(lambda: len(load.started) > 5, 60, "the load")
        set_read_only(installation.database_url, True)
        end_connections(installation.database_url)
        wait_for(lambda: not installation.is_ready(), 30, "the end of readiness")
        refused = len(load.answers)
        until = time.monotonic() + TROUBLE_SECONDS
        wait_for(lambda: time.monotonic() > until, 2 * TROUBLE_SECONDS)
        answers_in_trouble = load.answers[refused:]
        set_read_only(installation.database_url, False)
        wait_for(installation.is_ready, 30, "readiness")
        load.goes_on()
    finally:
        load.end()
        set_read_only(installation.database_url, False)

    assert {answer.status_code for answer in answers_in_trouble} == {503}
    assert all(answer.headers["Retry-After"] for answer in answers_in_trouble)
    assert {answer.status_code for answer in load.answers} <= {202, 503, 504}
    all_end_well(installation, load)


def test_ended_connections_cost_no_run_and_no_second_delivery(installation: Installation):
    installation.up("--no-demo")
    installation.configure(FLOW)
    load = Load(installation)
    load.start()
    try:
        for _ in range(5):
            load.goes_on()
            end_connections(installation.database_url)
    finally:
        load.end()

    assert {answer.status_code for answer in load.answers} <= {202, 503, 504}
    all_end_well(installation, load)
