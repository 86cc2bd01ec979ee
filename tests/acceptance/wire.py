"""HTTP by hand: requests that no client library would send, and what comes back."""

from __future__ import annotations

import base64
import json
import socket
from dataclasses import dataclass
from typing import Any, Self

from tests.acceptance.installation import PASSWORD, Installation

ADMIN = "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        return json.loads(self.body)["type"].rpartition("/")[2]

    @property
    def announces_close(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


class Wire:
    """One connection to an installation."""

    def __init__(self, installation: Installation) -> None:
        self.socket = socket.create_connection(("127.0.0.1", installation.port), timeout=60)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.stream.close()
        self.socket.close()

    def send(
        self, method: str, path: str, *headers: str, body: bytes = b"", login: str = ADMIN
    ) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
        if login:
            lines.append(f"Authorization: {login}")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reply(self) -> Reply:
        status = int(self.stream.readline().split()[1])
        headers: dict[str, str] = {}
        while line := self.stream.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            return Reply(status, headers, self._chunks())
        return Reply(status, headers, self.stream.read(int(headers.get("content-length", 0))))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.stream.readline(), 16):
            body += self.stream.read(size)
            self.stream.readline()
        self.stream.readline()
        return body

    def is_closed(self) -> bool:
        """Say whether the server has closed its side, after waiting for it."""
        return self.stream.read(1) == b""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
