"""Keeps the parts of `manage.py up` alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flows.processes import die_with_parent

DEATHS_ALLOWED = 5
DEATHS_WITHIN_SECONDS = 60.0


class PartUnsteady(Exception):
    """A part died so often that it cannot be kept alive."""


@dataclass
class Part:
    """A process that is started again when it dies."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS_ALLOWED))

    def start(self) -> None:
        # A session of its own: a signal to our process group reaches it through us alone, once.
        self.process = subprocess.Popen(
            self.command,
            env=os.environ | self.environment,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )

    def restart_if_dead(self) -> int | None:
        """Return the exit code that it died with, None while it lives. Raises PartUnsteady."""
        assert self.process is not None
        code = self.process.poll()
        if code is None:
            return None
        self.deaths.append(time.monotonic())
        recent = [at for at in self.deaths if at > time.monotonic() - DEATHS_WITHIN_SECONDS]
        if len(recent) >= DEATHS_ALLOWED:
            raise PartUnsteady(f"{self.name} died {len(recent)} times within a minute")
        self.start()
        return code

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Supervisor:
    def __init__(self, parts: Sequence[Part], say: Callable[[str], None]) -> None:
        self.parts = parts
        self.say = say
        self.stopping = False

    def run(self, is_ready: Callable[[], bool], ready: Callable[[], None]) -> None:
        """Run until SIGINT or SIGTERM, then let the parts drain; call `ready` once it is so.

        Raises PartUnsteady.
        """
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)
        announced = False
        try:
            for part in self.parts:
                part.start()
            while not self.stopping:
                self._look_after_parts()
                if not announced and is_ready():
                    ready()
                    announced = True
                time.sleep(0.1)
        finally:
            self._stop_parts()

    def _look_after_parts(self) -> None:
        for part in self.parts:
            code = part.restart_if_dead()
            if code is not None:
                self.say(f"{part.name} ended with {code}; it is started again")

    def _stop(self, *args: Any) -> None:
        self.stopping = True

    def _stop_parts(self) -> None:
        for part in self.parts:
            part.stop()
        deadline = time.monotonic() + 60
        for part in self.parts:
            part.wait(max(deadline - time.monotonic(), 0.1))


def managed(*arguments: str) -> list[str]:
    """Return the command line of a management command in this installation."""
    return [sys.executable, sys.argv[0], *arguments]
