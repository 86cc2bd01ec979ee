"""Keeps the child processes of `manage.py up` running."""

from __future__ import annotations

import os
import select
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
from scripts.protocol.waker import Waker

MAX_DEATHS = 5
DEATHS_PERIOD_SECONDS = 60.0
# How long a child may take to end, beside what it waits for.
END_SECONDS = 50.0
# How often it is looked whether the address answers.
LOOK_SECONDS = 0.1


class RestartLimitReached(Exception):
    """A child process died too often to be started again."""


@dataclass
class Child:
    """A process that is started again when it dies."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    end_seconds: float = END_SECONDS
    # Where its output goes, as for Popen; None: where that of this process goes.
    output: int | None = None
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_DEATHS))

    def start(self) -> None:
        # A session of its own: the child does not get signals to the process group of `up` twice.
        self.process = subprocess.Popen(
            self.command,
            env=os.environ | self.environment,
            stdout=self.output,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def restart_if_dead(self) -> int | None:
        """Return the exit code of a process that died, None while it runs.

        Raises RestartLimitReached.
        """
        code = self.exit_code()
        if code is None:
            return None
        self.deaths.append(time.monotonic())
        recent = [at for at in self.deaths if at > time.monotonic() - DEATHS_PERIOD_SECONDS]
        if len(recent) >= MAX_DEATHS:
            raise RestartLimitReached(f"{self.name} died {len(recent)} times within a minute")
        self.start()
        return code

    def exit_code(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

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
    def __init__(self, children: Sequence[Child], say: Callable[[str], None]) -> None:
        self.children = children
        self.say = say
        self.stopping = False

    def run(self, is_ready: Callable[[], bool], ready: Callable[[], None]) -> None:
        """Run the children until SIGINT or SIGTERM, then stop them and wait for their end.

        `ready` is called once, as soon as `is_ready` returns true. Raises RestartLimitReached.
        """
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)
        # A child has ended: with a handler, the signal wakes.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        waker = Waker()
        signal.set_wakeup_fd(waker.signal_fileno(), warn_on_full_buffer=False)
        announced = False
        try:
            for child in self.children:
                child.start()
            while not self.stopping:
                waker.clear()
                self._restart_dead_children()
                if not announced and is_ready():
                    ready()
                    announced = True
                if not self.stopping:
                    select.select([waker], [], [], None if announced else LOOK_SECONDS)
        finally:
            self._stop_children()
            signal.set_wakeup_fd(-1)
            waker.close()

    def _restart_dead_children(self) -> None:
        for child in self.children:
            code = child.restart_if_dead()
            if code is not None:
                self.say(f"{child.name} ended with {code}; it is started again")

    def _stop(self, *args: Any) -> None:
        self.stopping = True

    def _stop_children(self) -> None:
        for child in self.children:
            child.stop()
        begun = time.monotonic()
        for child in self.children:
            child.wait(max(begun + child.end_seconds - time.monotonic(), 0.1))


def managed(*arguments: str) -> list[str]:
    """Return the command line of a management command in this installation."""
    return [sys.executable, sys.argv[0], *arguments]
