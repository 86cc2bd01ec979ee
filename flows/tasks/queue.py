"""A queue between the processes of a cluster that no dying process can block."""

from __future__ import annotations

import os
import pickle
import select
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

# macOS has no sequenced packets on local sockets; its datagrams do as well there.
PACKETS = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM


class TaskQueue:
    """A queue between processes on a socket pair: each packet is one task, taken by one reader.

    Pickled, as django-q2's tasks are; they never leave the cluster's processes. A task larger
    than a packet travels as an open file.
    """

    MAX_PACKET = 32 * 1024

    def __init__(self) -> None:
        self.reader, self.writer = socket.socketpair(socket.AF_UNIX, PACKETS)

    def put(self, item: Any) -> None:
        packet = pickle.dumps(item)
        if len(packet) <= self.MAX_PACKET:
            self.writer.send(packet)
            return
        with tempfile.TemporaryFile() as file:
            file.write(packet)
            file.flush()
            socket.send_fds(self.writer, [b"file"], [file.fileno()])

    def get(self) -> Any:
        packet, descriptors, _, _ = socket.recv_fds(self.reader, self.MAX_PACKET, 1)
        for descriptor in descriptors:
            with os.fdopen(descriptor, "rb") as file:
                file.seek(0)
                packet = file.read()
        return pickle.loads(packet)  # noqa: S301  written by this cluster

    def shut(self) -> None:
        """Let go of both ends in this process."""
        self.reader.close()
        self.writer.close()

    def empty(self) -> bool:
        readable, _, _ = select.select([self.reader], [], [], 0)
        return not readable

    def qsize(self) -> int:
        return 0 if self.empty() else 1

    def close(self) -> None:
        """Nothing to flush: what was put is with the kernel."""

    def join_thread(self) -> None:
        """There is no feeder thread."""


class PacketChannel:
    """Carries packets from any number of processes to one that reads them now and then.

    No process ever waits for it, and it outlives each of them. What finds no room is left out.
    """

    MAX_PACKET = 96 * 1024

    def __init__(self) -> None:
        self.reader, self.writer = socket.socketpair(socket.AF_UNIX, PACKETS)
        self.reader.setblocking(False)
        self.writer.setblocking(False)

    def post(self, packet: bytes) -> bool:
        """Tell whether there was room for it."""
        try:
            self.writer.send(packet)
        except BlockingIOError:
            return False
        return True

    def packets(self) -> Iterator[bytes]:
        """Yield what was posted since the last time."""
        with suppress(BlockingIOError):
            while packet := self.reader.recv(self.MAX_PACKET):
                yield packet

    def shut(self) -> None:
        """Let go of both ends in this process."""
        self.reader.close()
        self.writer.close()
