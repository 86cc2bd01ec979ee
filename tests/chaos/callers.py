"""Callers of the system: they start runs over HTTP and do not give up."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count

import httpx

from tests.chaos.checks import ENDS
from tests.chaos.history import History
from tests.chaos.scripts import FLOWS

# What a caller is told to try again.
AGAIN = (429, 503, 504)


@dataclass(frozen=True)
class Probe:
    """When it began, by the monotonic clock, and after how long it was accepted and had ended."""

    began: float
    accepted: float
    seconds: float
    run: str


class Callers:
    """Threads that start runs, each start with a key of its own until it is accepted."""

    def __init__(self, base_url: str, token: str, history: History, seed: str) -> None:
        self.base_url = base_url
        self.headers = {"Authorization": f"Bearer {token}"}
        self.history = history
        self.seed = seed
        self.stopping = threading.Event()
        self.numbers = count()
        self.answers: Counter[str] = Counter()
        self.surprises: list[str] = []
        self.probes: list[Probe] = []
        self.threads = [
            *(threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(3)),
            threading.Thread(target=self._probe, daemon=True),
        ]

    def begin(self) -> None:
        for thread in self.threads:
            thread.start()

    def end(self, seconds: float) -> None:
        """Let every caller get its last answer."""
        self.stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(deadline - time.monotonic(), 0.1))
            assert not thread.is_alive(), "a caller got no answer"

    def _call(self, caller: int) -> None:
        rng = random.Random(f"{self.seed}-{caller}")
        with self._client() as http:
            while not self.stopping.wait(rng.uniform(0, 0.04)):
                flow, n = rng.choice(list(FLOWS)), next(self.numbers)
                self._start(http, flow, n)

    def _probe(self) -> None:
        """Start a run, wait for its end, and note how long that took; again and again."""
        with self._client() as http:
            while not self.stopping.wait(0.1):
                began = time.monotonic()
                run = self._start(http, "quick", next(self.numbers))
                accepted = time.monotonic() - began
                while not self._has_ended(http, run):
                    if self.stopping.wait(0.02):
                        return
                self.probes.append(Probe(began, accepted, time.monotonic() - began, run))

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self.base_url, headers=self.headers, timeout=5)

    def _start(self, http: httpx.Client, flow: str, n: int) -> str:
        key = f"http-{n}"
        while True:
            try:
                answer = http.post(
                    "/api/start",
                    params={"flowName": flow},
                    json={"n": n},
                    headers={"Idempotency-Key": key},
                )
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
                time.sleep(0.1)
                continue
            self.answers[str(answer.status_code)] += 1
            if answer.status_code == 202:
                run = str(answer.json()["correlationId"])
                self.history.note(key, flow, n, run)
                return run
            if answer.status_code not in AGAIN or "Retry-After" not in answer.headers:
                self.surprises.append(f"{answer.status_code} {answer.text[:300]}")
            time.sleep(0.1)

    def _has_ended(self, http: httpx.Client, run: str) -> bool:
        try:
            answer = http.get(f"/api/runs/{run}", params={"wait": 2})
        except httpx.TransportError:
            return False
        if answer.status_code not in (200, *AGAIN):
            self.surprises.append(f"{answer.status_code} {answer.text[:300]}")
        return answer.status_code == 200 and answer.json()["status"] in ENDS
