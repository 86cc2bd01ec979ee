"""What goes wrong, at random."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter

import psutil

from tests.chaos.server import Server
from tests.chaos.system import System

KILLED = (
    *("worker", "worker", "pusher", "monitor", "sentinel", "zygote", "script host"),
    *("cluster's main", "web worker", "web's main"),
)
STOPPED = ("worker", "worker", "pusher", "sentinel", "cluster's main", "web worker", "script host")
FAULTS = {"kill": 10, "stop": 4, "drain": 1}
PAUSE_SECONDS = (0.2, 2.0)
# Up to three leases.
STOP_SECONDS = (0.2, 6.0)
DATABASE_SECONDS = (5.0, 20.0)


class Faults:
    def __init__(self, system: System, server: Server, seed: str) -> None:
        self.system = system
        self.server = server
        self.rng = random.Random(seed)
        self.log: list[tuple[float, str]] = []
        self.stopped: list[tuple[float, psutil.Process]] = []
        self.next_fault_at = time.monotonic() + 1
        self.next_trouble_at = time.monotonic() + self.rng.uniform(*DATABASE_SECONDS)

    def go_on(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        self._continue_the_stopped(now)
        if now >= self.next_fault_at:
            fault = self.rng.choices(list(FAULTS), weights=list(FAULTS.values()))[0]
            getattr(self, f"_{fault}")(now)
            self.next_fault_at = now + self.rng.uniform(*PAUSE_SECONDS)
        if now >= self.next_trouble_at:
            self._trouble_database()
            self.next_trouble_at = time.monotonic() + self.rng.uniform(*DATABASE_SECONDS)

    @property
    def counts(self) -> Counter[str]:
        return Counter(name for _, name in self.log)

    def between(self, begin: float, end: float) -> list[str]:
        """Return what went wrong in a time, as seconds into it and what."""
        return [f"{at - begin:.1f} {name}" for at, name in self.log if begin - 5 < at < end]

    def _note(self, name: str) -> None:
        self.log.append((time.monotonic(), name))

    def _trouble_database(self) -> None:
        name, trouble = self.rng.choice(list(self.server.troubles().items()))
        parts = self.system.processes().values()
        trouble(self.rng, [process for processes in parts for process in processes])
        self._note(name)

    def _kill(self, now: float) -> None:
        self._signal("kill", self.rng.choice(KILLED), signal.SIGKILL)

    def _stop(self, now: float) -> None:
        victim = self._signal("stop", self.rng.choice(STOPPED), signal.SIGSTOP)
        if victim is not None:
            self.stopped.append((now + self.rng.uniform(*STOP_SECONDS), victim))

    def _drain(self, now: float) -> None:
        self._signal("drain", "cluster's main", signal.SIGTERM)

    def _signal(self, verb: str, kind: str, number: signal.Signals) -> psutil.Process | None:
        processes = self.system.processes().get(kind, [])
        if not processes:
            return None
        victim = self.rng.choice(processes)
        try:
            victim.send_signal(number)
        except psutil.NoSuchProcess:
            return None
        self._note(f"{verb} of a {kind}")
        return victim

    def _continue_the_stopped(self, now: float) -> None:
        for until, process in [entry for entry in self.stopped if entry[0] <= now]:
            self.stopped.remove((until, process))
            try:
                process.resume()
            except psutil.NoSuchProcess:
                continue
