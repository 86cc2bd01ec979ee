"""A proxy before a database that can fall silent, as a broken network or load balancer does."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Literal
from urllib.parse import parse_qs, urlsplit

Direction = Literal["requests", "replies", "both"]

RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards connections on a TCP port of its own to the server: its local socket, or its port.

    While it is silent it takes what it gets, new connections too, and forwards none of it.
    """

    def __init__(self, upstream: str | tuple[str, int]) -> None:
        self.upstream = upstream
        self.flows = {"requests": threading.Event(), "replies": threading.Event()}
        self.connections: list[tuple[socket.socket, socket.socket]] = []
        self.lock = threading.Lock()
        self.is_closed = False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self._flow()
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self, direction: Direction) -> None:
        for name, flow in self.flows.items():
            if direction in (name, "both"):
                flow.clear()

    def drop(self) -> None:
        """End every connection with what it holds back, and forward what comes from now on."""
        with self.lock:
            dropped, self.connections = self.connections, []
            for pair in dropped:
                for end in pair:
                    reset(end)
            self._flow()

    def close(self) -> None:
        with self.lock:
            self.is_closed = True
        self.listener.close()
        self.drop()

    def _flow(self) -> None:
        for flow in self.flows.values():
            flow.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                try:
                    server = self._connect()
                except OSError:
                    reset(client)
                    continue
                with self.lock:
                    if self.is_closed:
                        # It came while the others were dropped.
                        reset(client)
                        reset(server)
                        return
                    self.connections.append((client, server))
                for args in ((client, server, "requests"), (server, client, "replies")):
                    threading.Thread(target=self._pump, args=args, daemon=True).start()

    def _connect(self) -> socket.socket:
        if not isinstance(self.upstream, str):
            return socket.create_connection(self.upstream)
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self.upstream)
        except OSError:
            server.close()
            raise
        return server

    def _pump(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        """Pass on what comes, and the end: to be read by a peer that still has something to say."""
        with suppress(OSError):
            while data := source.recv(65536):
                self.flows[direction].wait()
                target.sendall(data)
            self.flows[direction].wait()
            target.shutdown(socket.SHUT_WR)


def reset(end: socket.socket) -> None:
    """Close at once, as if the other side had never been: nothing more is sent."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with suppress(OSError):
        # A pump that waits for it gives up.
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def address_of(url: str) -> str | tuple[str, int]:
    """Return the local socket of a server, or its host and port."""
    parts = urlsplit(url)
    if directories := parse_qs(parts.query).get("host"):
        return directories[0] + "/.s.PGSQL.5432"
    return parts.hostname or "127.0.0.1", parts.port or 5432
