"""What abusive scripts are after, and how one sees that they have not got it.

All of it would be theirs but for the sandbox: the file may be read by everyone, everyone may write
into the folder, the listeners accept every connection.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from scripts.protocol.calls import Program
from scripts.protocol.services import Deadline, RequestFailed

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Bait:
    def __init__(self) -> None:
        self.secret = secrets.token_hex(16)
        os.environ["BAIT"] = self.secret
        self.folder = Path(tempfile.mkdtemp(prefix="bait-"))
        self.folder.chmod(0o777)
        self.file = self.folder / "secret"
        self.file.write_text(self.secret)
        self.file.chmod(0o666)
        # A table that no abusive script is given.
        self.other_table = f"key,text\na,{self.secret}\n".encode()
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._unix = socket.socket(socket.AF_UNIX)
        self._unix.bind(str(self.folder / "socket"))
        self._unix.listen()
        for listener in (self._tcp, self._udp, self._unix):
            listener.setblocking(False)
        self.signals: list[int] = []
        self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}

    def secret_of(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        """Return a key to the worker, as its service of secrets does."""
        if request["name"] not in program.secrets:
            raise RequestFailed("The script was not given it.", "not-granted")
        return {"value": f"{self.secret} is a key of the bait"}

    def described(self, zygote: int, neighbour: int) -> dict[str, Any]:
        """Return what a script is told, as it may have found out by itself."""
        return {
            "folder": str(self.folder),
            "file": str(self.file),
            "tcp": self._tcp.getsockname()[1],
            "udp": self._udp.getsockname()[1],
            "unix": str(self.folder / "socket"),
            "worker": os.getpid(),
            "zygote": zygote,
            "neighbour": neighbour,
        }

    def assert_untouched(self, *, told: str = "", zygote: int | None = None) -> None:
        """Fail if a script has got at anything; told is all that is known of its end."""
        assert self.secret not in told
        assert self.file.read_text() == self.secret
        assert sorted(path.name for path in self.folder.iterdir()) == ["secret", "socket"]
        assert self.folder.stat().st_mode & 0o777 == 0o777
        assert [self._callers(listener) for listener in (self._tcp, self._udp, self._unix)] == [
            0
        ] * 3
        assert self.signals == []
        for process in psutil.Process(zygote).children(recursive=True) if zygote else []:
            with contextlib.suppress(psutil.NoSuchProcess):  # it was about to end
                assert process.ppid() == zygote

    def close(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for listener in (self._tcp, self._udp, self._unix):
            listener.close()
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()
        del os.environ["BAIT"]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signals.append(number)

    def _callers(self, listener: socket.socket) -> int:
        try:
            if listener.type == socket.SOCK_DGRAM:
                listener.recv(1)
            else:
                listener.accept()[0].close()
        except BlockingIOError:
            return 0
        return 1
