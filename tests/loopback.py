"""A real HTTP server on this machine, for what scripts call."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """A request as it came to the server."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    server_address: str
    client: tuple[str, int]


Page = Callable[["Handler"], object]


@dataclass
class Loopback:
    """The server: what it answers, by path without query, and what it has received."""

    port: int = 0
    pages: dict[str, Page] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    # How many connections it has closed.
    closed: int = 0
    # Set at the end; pages that never end wait for it.
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def answers(self, path: str, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Have a path answer so. Underscores in the names of headers stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = lambda handler: handler.answer(status, body, named)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    loopback: Loopback

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.receive
        raise AttributeError(name)

    def handle_one_request(self) -> None:
        # Clients that go away in the middle are what some of the tests are about.
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def receive(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.loopback.received.append(
            Received(
                self.command,
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                body,
                self.connection.getsockname()[0],
                self.client_address,
            )
        )
        page = self.loopback.pages.get(self.path.partition("?")[0])
        if page is None:
            self.answer(404, b"nothing here", {})
        else:
            page(self)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False
    loopback: Loopback

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.loopback.closed += 1


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """Serve on every address of this machine until the end of the block."""
    loopback = Loopback()
    server = Server(("", 0), type("Page", (Handler,), {"loopback": loopback}))
    server.loopback = loopback
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    loopback.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield loopback
    finally:
        loopback.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
