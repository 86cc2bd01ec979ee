"""A process beside the bench that does one thing without Django, such as to call a web server.

It gets an order, says when it is ready, and gives its result when it was told to go: each a line of
JSON. A module that runs in such a process ends with `serve`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from flows.benchmark.waiting import BenchFailed
from flows.processes import die_with_parent

Work = Callable[[], Mapping[str, Any]]
STOP_SECONDS = 10.0


class Helper:
    def __init__(self, module: str, order: Mapping[str, Any], python_path: str) -> None:
        self.module = module
        # A session of its own: Ctrl+C ends it by its parent alone.
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=os.environ | {"PYTHONPATH": python_path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
        self._write(order)

    def wait_until_ready(self) -> None:
        self._read()

    def go(self) -> None:
        self._write("go")

    def result(self) -> Any:
        return self._read()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=STOP_SECONDS)

    def _write(self, value: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def _read(self) -> Any:
        """Raises BenchFailed where the process has ended instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BenchFailed(f"{self.module} ended with {self.process.wait(STOP_SECONDS)}")
        return json.loads(line)


@contextmanager
def helpers(
    module: str, orders: Sequence[Mapping[str, Any]], python_path: str
) -> Iterator[list[Helper]]:
    """Start a process for each order; they end with the block. All of them are ready."""
    with ExitStack() as stack:
        started = []
        for order in orders:
            started.append(Helper(module, order, python_path))
            stack.callback(started[-1].stop)
        for helper in started:
            helper.wait_until_ready()
        yield started


def serve(prepare: Callable[[Any], Work]) -> None:
    """Do what the order says, as the process of a helper."""
    work = prepare(json.loads(sys.stdin.readline()))
    _say("ready")
    if sys.stdin.readline():
        _say(work())


def _say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
