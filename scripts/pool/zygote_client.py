"""A worker's end of the zygote, which forks script hosts, kills them and reports how they ended."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import jsonschema_rs
import orjson
import tzdata

import scripts
from scripts.pool.host_client import HostClient
from scripts.protocol import wire

_START_ZYGOTE = (
    "import sys; sys.path += sys.argv[6:]; from scripts.host.zygote import main; main()"
    "  # script host"
)
_READ_BYTES = 64 * 1024


class ZygoteClient:
    def __init__(self, uids: tuple[int, int] | None, allow_unsandboxed: bool = False) -> None:
        """Start the zygote. Its hosts run as these users, None: as the worker's user.

        `allow_unsandboxed`: they run scripts even where the sandbox is incomplete.
        """
        self.control, other_end = socket.socketpair()
        with other_end:
            self._process = subprocess.Popen(
                _command(other_end.fileno(), uids, allow_unsandboxed),
                pass_fds=[other_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                # Some builds of Python need it to find their own library. The zygote clears the
                # environment.
                env={k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"},
                start_new_session=True,
            )
        self.control.setblocking(False)
        self._inbox = b""

    def fork(self, host: HostClient) -> None:
        """Have a host forked. That it failed is reported as its exit."""
        message = wire.CONTROL.pack(wire.FORK, host.number, host.program.memory_mb << 20, 0)
        tables = [each.file.fileno() for each in host.tables if each.file is not None]
        self._send(message, [host.other_end.fileno(), host.page.descriptor, *tables])

    def kill(self, host: HostClient) -> None:
        """Have a host killed. `exits` reports its end."""
        self._send(wire.CONTROL.pack(wire.KILL, host.number, 0, 0), [])

    def ask(self, host: HostClient) -> None:
        """Have a host tell where its script is, in its language's way."""
        number = wire.TELL if host.program.language == "python" else wire.INTERRUPT
        self._send(wire.CONTROL.pack(wire.ASK, host.number, number, 0), [])

    def watch(self, host: HostClient) -> None:
        """Have a host killed if it computes while it has no call."""
        self._send(wire.CONTROL.pack(wire.WATCH, host.number, 0, 0), [])

    def stop_watching(self, host: HostClient) -> None:
        """Let a host compute again."""
        self._send(wire.CONTROL.pack(wire.UNWATCH, host.number, 0, 0), [])

    def exits(self) -> Iterator[tuple[int, int, int]] | None:
        """Read number, wait status and peak bytes of ended hosts; None: the zygote has ended."""
        try:
            chunk = self.control.recv(_READ_BYTES)
        except BlockingIOError:
            chunk = b""
        except OSError:
            return None
        else:
            if not chunk:
                return None
        data = self._inbox + chunk
        size = len(data) - len(data) % wire.CONTROL.size
        self._inbox = data[size:]
        messages = wire.CONTROL.iter_unpack(data[:size])
        return ((host, status, max(0, peak)) for _, host, status, peak in messages)

    def close(self) -> None:
        """End the zygote; it ends its hosts first."""
        self.control.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: bytes, descriptors: list[int]) -> None:
        # Reading its messages shows that a zygote is gone.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.control.setblocking(True)
            try:
                socket.send_fds(self.control, [message], descriptors)
            finally:
                self.control.setblocking(False)


class SharedZygote(ZygoteClient):
    """A zygote for all workers that are forked from this process, which share its memory."""

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def connect(self) -> ConnectedZygote:
        """Return a worker's own end of it. Raises OSError if it has ended."""
        control, other_end = socket.socketpair()
        with other_end:
            message = wire.CONTROL.pack(wire.CONNECT, 0, 0, 0)
            try:
                socket.send_fds(self.control, [message], [other_end.fileno()])
            except OSError:
                control.close()
                raise
        return ConnectedZygote(control)


class ConnectedZygote(ZygoteClient):
    """A worker's end of a zygote that other workers have, too."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.control.setblocking(False)
        self._inbox = b""
        # What a callable forks may outlive the worker, whose hosts would then go on.
        os.register_at_fork(after_in_child=control.close)

    def close(self) -> None:
        """Have it end the hosts of this worker; wait for that, 2 s at most."""
        with self.control, contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_WR)
            self.control.settimeout(2)
            while self.control.recv(_READ_BYTES):
                pass


def _command(control: int, uids: tuple[int, int] | None, allow_unsandboxed: bool) -> list[str]:
    # tzdata has the time zones for systems without their own.
    modules = (scripts, orjson, jsonschema_rs, tzdata)
    where = [str(Path(module.__file__ or "").parents[1]) for module in modules]
    # Those on the shelf of scripts. The worker itself does not need them.
    specs = filter(None, map(find_spec, ("dateutil", "jinja2", "markupsafe", "six")))
    where += [str(Path(spec.origin).parents[1]) for spec in specs if spec.origin]
    where = list(dict.fromkeys(where))
    facts = map(str, (control, os.getpid(), *(uids or (-1, -1)), int(allow_unsandboxed)))
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", _START_ZYGOTE, *facts, *where]
