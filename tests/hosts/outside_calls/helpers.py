"""What the tests of outside calls share: a request, and how it is refused."""

import socket
import time
from typing import Any

import pytest

from scripts.protocol.calls import Program
from scripts.protocol.services import RequestFailed
from scripts.services import connections
from scripts.services.outside_calls import OutsideCalls
from tests.loopback import Handler


def program(**rights: Any) -> Program:
    rights = {"network": True, "private_addresses": True} | rights
    return Program(1, "pricing", "python", "", 20, 128, **rights)


def call(
    service: OutsideCalls,
    url: str,
    method: str = "GET",
    *,
    rights: dict[str, Any] | None = None,
    seconds: float = 20,
    **request: Any,
) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    return service(program(**rights or {}), {"method": method, "url": url, **request}, deadline)


def refusal(service: OutsideCalls, url: Any, method: str = "GET", **options: Any) -> RequestFailed:
    with pytest.raises(RequestFailed) as failed:
        call(service, url, method, **options)
    return failed.value


def dripping(handler: Handler, *pieces: bytes) -> None:
    """Send pieces, then a byte now and then for ever."""
    for piece in pieces:
        handler.wfile.write(piece)
    while not handler.loopback.closing.wait(0.05):
        handler.wfile.write(b"x")


def resolver(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have names resolve to these addresses, one answer after the other; return what is asked."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

    class Resolver:
        SOCK_STREAM = socket.SOCK_STREAM

    Resolver.getaddrinfo = staticmethod(getaddrinfo)  # type: ignore[attr-defined]
    monkeypatch.setattr(connections, "socket", Resolver)
    return asked
