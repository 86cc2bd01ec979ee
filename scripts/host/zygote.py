"""The zygote: the process that forks script hosts, started as `python -I -S` by a worker, or by the
process that starts all workers of a cluster.

It has imported all that scripts may need, so that a host starts in a few milliseconds. It knows no
Django, no settings and no environment. `main` prepares it, `Zygote.run` carries out the worker's
commands, and in `_become_host` a forked process turns into a host. The worker's end is
`zygote_client.py`.
"""

import contextlib
import importlib.machinery
import mmap
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from typing import NoReturn

from scripts.host import interruption
from scripts.host.channel import Channel
from scripts.host.forks import prepare_for_forks
from scripts.host.host import Host
from scripts.host.languages import preload
from scripts.host.sandbox import die_with_parent, enter_sandbox, is_closed
from scripts.protocol.table_file import MAX_TABLES
from scripts.protocol.waker import Waker
from scripts.protocol.wire import (
    ASK,
    CONNECT,
    CONTROL,
    ENDED,
    EXIT_BROKEN,
    EXIT_OUT_OF_MEMORY,
    EXIT_REFUSED,
    FORK,
    FORK_FAILED,
    KILL,
    SHARED_BYTES,
    UNWATCH,
    WATCH,
)

# How often watched hosts are looked at, and how many seconds of a core one may use in that time.
# Waiting for a call uses none.
_CHECK_SECONDS = 1.0
_MOST_CPU_SECONDS = 0.2

# A host: the socket of its worker, and its number there.
Named = tuple[socket.socket, int]


def main() -> NoReturn:
    """Run the zygote.

    The arguments: the control socket, the pid of what has started it, two uids, and 1 if scripts
    are to run although their processes cannot be sandboxed.
    """
    control, parent, *uids, allow_unsandboxed = map(int, sys.argv[1:6])
    with contextlib.suppress(OSError, AttributeError):
        die_with_parent(parent)
    _prepare()
    users = None if uids[0] < 0 else (uids[0], uids[1])
    Zygote(socket.socket(fileno=control), users, bool(allow_unsandboxed)).run()
    os._exit(0)


class Zygote:
    """Forks hosts for workers, kills them at their command, and reports how each one ended.

    Each worker has a socket and knows its own hosts alone, by its own numbers. They end with it.
    """

    def __init__(
        self, control: socket.socket, uids: tuple[int, int] | None, allow_unsandboxed: bool
    ) -> None:
        self._control = control
        self._uids = uids
        self._allow_unsandboxed = allow_unsandboxed
        self._pids: dict[Named, int] = {}
        self._hosts: dict[int, Named] = {}
        # Watched hosts, with the CPU seconds that they had used when the watch began.
        self._watched: dict[Named, float] = {}
        self._workers = {control.fileno(): control}
        self._poller = select.poll()
        self._next_check = 0.0
        self._bytes_at_start = _bytes_of_a_fresh_child()
        self._waker = Waker()

    def run(self) -> None:
        """Serve until its first socket is closed at the other end."""
        self._watch_for_exits()
        self._poller.register(self._waker, select.POLLIN)
        self._poller.register(self._control, select.POLLIN)
        while True:
            timeout_ms = _CHECK_SECONDS * 1000 if self._watched else None
            ready = [descriptor for descriptor, _ in self._poller.poll(timeout_ms)]
            if self._waker.fileno() in ready:
                self._waker.clear()
                self._report_exits()
            asking = [self._workers[each] for each in ready if each in self._workers]
            for worker in asking:
                if self._run_command(worker):
                    continue
                self._leave(worker)
                if worker is self._control:
                    self._end(self._pids)
                    return
            is_due = bool(self._watched) and time.monotonic() >= self._next_check
            if is_due and not self._is_asked():
                self._kill_those_that_compute()

    def _is_asked(self) -> bool:
        """Whether a command waits, which may be that a host has a call again."""
        return any(each in self._workers for each, _ in self._poller.poll(0))

    def _watch_for_exits(self) -> None:
        signal.set_wakeup_fd(self._waker.signal_fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _run_command(self, worker: socket.socket) -> bool:
        """Carry out a command of a worker; return False when the worker has ended."""
        try:
            message, descriptors, _, _ = socket.recv_fds(worker, CONTROL.size, 2 + MAX_TABLES)
        except OSError:
            return False
        if len(message) < CONTROL.size:
            return False
        what, number, value, _ = CONTROL.unpack(message)
        host = worker, number
        if what == FORK:
            self._fork(host, value, descriptors)
        elif what == CONNECT:
            self._connect(socket.socket(fileno=descriptors[0]))
        elif what == KILL and host in self._pids:
            os.kill(self._pids[host], signal.SIGKILL)
        elif what == ASK and host in self._pids:
            os.kill(self._pids[host], value)
        elif what == WATCH and host in self._pids:
            self._watched[host] = _cpu_seconds(self._pids[host])
        elif what == UNWATCH:
            self._watched.pop(host, None)
        return True

    def _connect(self, worker: socket.socket) -> None:
        self._workers[worker.fileno()] = worker
        self._poller.register(worker, select.POLLIN)

    def _leave(self, worker: socket.socket) -> None:
        """End the hosts of a worker, which waits for that where it is still there."""
        self._end([host for host in self._pids if host[0] is worker])
        self._poller.unregister(worker)
        del self._workers[worker.fileno()]
        worker.close()

    def _kill_those_that_compute(self) -> None:
        """Kill watched hosts that compute: they have no call, so their script goes on in secret."""
        self._next_check = time.monotonic() + _CHECK_SECONDS
        for host, used in self._watched.items():
            if _cpu_seconds(self._pids[host]) - used > _MOST_CPU_SECONDS:
                os.kill(self._pids[host], signal.SIGKILL)

    def _fork(self, host: Named, memory_bytes: int, descriptors: list[int]) -> None:
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            self._report(ENDED, host, FORK_FAILED, 0)
        else:
            if pid == 0:
                channel, memory, *tables = descriptors
                _become_host(
                    channel,
                    memory,
                    tables,
                    zygote,
                    self._uids,
                    memory_bytes,
                    allow_unsandboxed=self._allow_unsandboxed,
                )
            self._pids[host] = pid
            self._hosts[pid] = host
        for descriptor in descriptors:
            os.close(descriptor)

    def _report_exits(self) -> None:
        while self._hosts:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            host = self._hosts.pop(pid)
            del self._pids[host]
            self._watched.pop(host, None)
            self._report(ENDED, host, status, usage.ru_maxrss * 1024 - self._bytes_at_start)

    def _report(self, what: bytes, host: Named, *values: int) -> None:
        worker, number = host
        with contextlib.suppress(OSError):
            worker.sendall(CONTROL.pack(what, number, *values))

    def _end(self, hosts: Iterable[Named]) -> None:
        ended = {host: self._pids[host] for host in hosts}
        for pid in ended.values():
            os.kill(pid, signal.SIGKILL)
        for host, pid in ended.items():
            os.waitpid(pid, 0)
            del self._pids[host], self._hosts[pid]
            self._watched.pop(host, None)


def _prepare() -> None:
    """Bring the zygote into the state that every host begins with."""
    # The worker ends its hosts. A signal to the whole process group must not, while it drains.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.environ["TZ"] = "UTC"
    time.tzset()
    os.environ.clear()
    preload()
    # Nothing can be loaded any more: an import fails at once, without looking for files.
    sys.meta_path.remove(importlib.machinery.PathFinder)
    sys.path.clear()
    prepare_for_forks()


def _become_host(
    channel: int,
    memory: int,
    tables: list[int],
    zygote: int,
    uids: tuple[int, int] | None,
    memory_bytes: int,
    *,
    allow_unsandboxed: bool,
) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        shared = mmap.mmap(memory, SHARED_BYTES)
        # Before the limit of memory, which does not count them.
        files = [mmap.mmap(each, 0, prot=mmap.PROT_READ) for each in tables]
        interruption.prepare(channel)
        missing = enter_sandbox(zygote, uids, memory_bytes, channel)
        host = Host(Channel(channel), shared, files)
        host.say_ready(missing)
        if not allow_unsandboxed and not is_closed(missing):
            os._exit(EXIT_REFUSED)
        host.serve()
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)
    finally:
        os._exit(EXIT_BROKEN)


def _cpu_seconds(pid: int) -> float:
    """Return how many seconds a process has computed; 0 where the system cannot say."""
    # The number of the process's clock, computed as by clock_getcpuclockid(3).
    with contextlib.suppress(OSError, AttributeError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


def _bytes_of_a_fresh_child() -> int:
    """Return the peak of memory that the system reports for a fresh forked process."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    _, _, usage = os.wait4(pid, 0)
    return usage.ru_maxrss * 1024
