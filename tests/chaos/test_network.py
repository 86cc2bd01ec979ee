"""The network between the system and PostgreSQL is lost for a while, with the system under load."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.acceptance.installation import snapshot
from tests.chaos.callers import AGAIN, Callers
from tests.chaos.checks import ENDS, Findings, faults_in
from tests.chaos.history import History
from tests.chaos.network import needs_root, other_host
from tests.chaos.scripts import FLOWS, configuration, steps
from tests.chaos.server import PostgreSQLServer, restartable_postgresql
from tests.chaos.system import System
from tests.proxy import Direction, Proxy, address_of
from tests.waiting import wait_for

pytestmark = pytest.mark.chaos

LOAD_SECONDS = 4.0
OUTAGE_SECONDS = 25.0
# Of silence, of two tries to connect, and of a machine that has other things to do.
ANSWER_SECONDS = 3.0 + 2 * 5.0 + 2.0
RECOVERY_SECONDS = 5.0
UNDER_WAY = "FROM flows_run WHERE status IN ('QUEUED', 'RUNNING')"


@pytest.fixture
def server() -> Iterator[PostgreSQLServer]:
    with restartable_postgresql() as server:
        yield server


@pytest.mark.parametrize("direction", ["requests", "replies", "both"])
def test_nothing_is_lost_and_no_process_hangs_where_a_proxy_falls_silent(
    server: PostgreSQLServer, tmp_path: Path, direction: Direction
):
    """It confirms every packet, so that the kernel notices nothing."""
    proxy = Proxy(address_of(server.url))
    system = System(f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres", tmp_path)
    try:
        system.begin(configuration(size=1000))
        findings = outage(system, server, lambda: proxy.silence(direction), proxy.drop)
    finally:
        proxy.drop()
        system.end()
        proxy.close()
    assert findings.nothing(), findings


@needs_root
def test_nothing_is_lost_and_no_process_hangs_where_a_network_loses_every_packet(
    server: PostgreSQLServer, tmp_path: Path
):
    with other_host() as host:
        [url] = server.listen_on(host.here)
        system = System(url, tmp_path)
        system.move_to(host, *system.commands)
        try:
            system.begin(configuration(size=1000))
            findings = outage(system, server, host.cut, host.mend)
        finally:
            system.end()
    assert findings.nothing(), findings


def outage(
    system: System, server: PostgreSQLServer, cut: Callable[[], None], mend: Callable[[], None]
) -> Findings:
    """Cut the network under load and mend it, and return what the history shows."""
    history = History(system.directory / "http.jsonl")
    callers = Callers(str(system.http.base_url), system.token(), history, "outage")
    witnesses = Witnesses(system, history)
    callers.begin()
    witnesses.begin()
    time.sleep(LOAD_SECONDS)

    cut()
    time.sleep(OUTAGE_SECONDS)
    mend()
    recovered = recovery(system, history)
    settled = recovery_of_what_was_under_way(server)
    witnesses.end()
    callers.end(60)
    wait_for(lambda: is_at_rest(server), 60, "rest after the outage")

    with snapshot(server.url) as query:
        findings = faults_in(query, history.read(), {flow: steps(flow) for flow in FLOWS})
    seconds = sorted(answer.seconds for answer in witnesses.answers)
    print(
        f"\n{len(witnesses.answers)} starts before, in and after the outage, answered in"
        f" {seconds[0]:.1f} to {seconds[-1]:.1f} s, median {statistics.median(seconds):.1f};"
        f" a new run ended {recovered:.1f} s after it, all that had begun {settled:.1f} s;"
        f" {findings.accepted} starts, {findings.extra_executions} extra executions;"
        f" answers {dict(callers.answers)}"
    )
    assert callers.surprises == []
    assert [a for a in witnesses.answers if a.status not in (202, *AGAIN)] == []
    assert [a for a in witnesses.answers if a.status in AGAIN and not a.retry_after] == []
    assert any(answer.status == 503 for answer in witnesses.answers)
    assert seconds[-1] < ANSWER_SECONDS
    assert recovered < RECOVERY_SECONDS
    assert settled < RECOVERY_SECONDS
    return findings


@dataclass(frozen=True)
class Answer:
    status: int
    retry_after: str | None
    seconds: float


@dataclass
class Witnesses:
    """Callers that wait for each answer, however long it takes."""

    system: System
    history: History
    answers: list[Answer] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        numbers = count()
        self.threads = [
            threading.Thread(target=self._call, args=(numbers,), daemon=True) for _ in range(8)
        ]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a witness got no answer"

    def _call(self, numbers: Iterator[int]) -> None:
        with httpx.Client(
            base_url=self.system.http.base_url, auth=self.system.http.auth, timeout=120
        ) as http:
            while not self.stopping.wait(0.2):
                self._start(http, f"witness-{next(numbers)}")

    def _start(self, http: httpx.Client, key: str) -> None:
        """Start with a key until it is accepted, for only then it is known to be stored."""
        while True:
            began = time.monotonic()
            answer = start(http, key)
            waited = time.monotonic() - began
            self.answers.append(
                Answer(answer.status_code, answer.headers.get("Retry-After"), waited)
            )
            if answer.status_code == 202:
                self.history.note(key, "quick", 1, answer.json()["correlationId"])
                return
            time.sleep(0.2)


def start(http: httpx.Client, key: str) -> httpx.Response:
    return http.post(
        "/api/start",
        params={"flowName": "quick"},
        json={"n": 1},
        headers={"Idempotency-Key": key},
    )


def recovery(system: System, history: History) -> float:
    """Return the seconds until a new run was started and has ended."""
    began = time.monotonic()
    run: str | None = None

    def has_ended() -> bool:
        nonlocal run
        with suppress(httpx.TransportError):
            if run is None:
                answer = start(system.http, "after")
                run = answer.json().get("correlationId")
            if run is not None:
                answer = system.http.get(f"/api/runs/{run}", params={"wait": 1})
                return answer.status_code == 200 and answer.json()["status"] in ENDS
        return False

    wait_for(has_ended, 60, "the end of a new run")
    assert run is not None
    history.note("after", "quick", 1, run)
    return time.monotonic() - began


def recovery_of_what_was_under_way(server: PostgreSQLServer) -> float:
    """Return the seconds until no run is under way that was there before."""
    began = time.monotonic()
    with snapshot(server.url) as query:
        ids = ", ".join(f"'{pk}'" for (pk,) in query(f"SELECT correlation_id {UNDER_WAY}"))

    def have_ended() -> bool:
        with snapshot(server.url) as query:
            return query(f"SELECT 1 {UNDER_WAY} AND correlation_id IN ({ids})") == []

    if ids:
        wait_for(have_ended, 60, "the end of what was under way")
    return time.monotonic() - began


def is_at_rest(server: PostgreSQLServer) -> bool:
    with snapshot(server.url) as query:
        return query(
            "SELECT (SELECT COUNT(*) FROM flows_message), (SELECT COUNT(*) FROM flows_consumer)"
        ) == [(0, 0)]
