"""Children of `manage.py up` that are forked from it: they share the memory of what is loaded."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from flows.processes import die_with_parent
from flows.up.supervisor import Child

_STOPS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class ForkedChild(Child):
    """Runs its command, which is one of Python, in a fork of this process.

    This process must have no other thread and no connection to a database: a lock that another
    thread holds would stay locked in the fork, and both would talk on the same connection.
    """

    fork: BaseProcess | None = None

    def start(self) -> None:
        self.fork = multiprocessing.get_context("fork").Process(
            target=_run, args=(self.command, self.environment, os.getpid())
        )
        # A stop signal that comes meanwhile is the fork's own once it is ready for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        try:
            self.fork.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)

    @property
    def pid(self) -> int:
        assert self.fork is not None
        assert self.fork.pid is not None
        return self.fork.pid

    def exit_code(self) -> int | None:
        assert self.fork is not None
        return self.fork.exitcode

    def stop(self) -> None:
        if self.fork is not None:
            self.fork.terminate()

    def wait(self, seconds: float) -> None:
        if self.fork is None:
            return
        self.fork.join(seconds)
        if self.fork.exitcode is None:
            self.fork.kill()
            self.fork.join()


def has_other_threads() -> bool:
    """Say whether this process has more than this thread, of Python or of a library."""
    tasks = Path("/proc/self/task")
    return (len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()) > 1


def _run(command: Sequence[str], environment: dict[str, str], parent: int) -> None:
    os.setsid()
    die_with_parent(parent)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    os.environ |= environment
    show_command(command)
    _, first, *arguments = command
    if first == "-m":
        module, *arguments = arguments
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *arguments]
        sys.path.insert(0, str(Path(first).resolve().parent))
        runpy.run_path(first, run_name="__main__")


def show_command(command: Sequence[str]) -> None:
    """Have `ps` show the command, as far as there is room in what this process began with."""
    if sys.platform != "linux":
        return
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    # proc_pid_stat(5): arg_start and arg_end; the two first fields are before the bracket.
    start, end = int(fields[45]), int(fields[46])
    if start < end:
        shown = "\0".join(command).encode()[: end - start - 1]
        ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)
