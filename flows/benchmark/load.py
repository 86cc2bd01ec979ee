"""Calls a web server from several connections at once, each with one call at a time.

This is a process of its own, which takes little of a core: it makes the same call again and again,
and reads no more of an answer than its status and length.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

from flows.benchmark.figures import percentile
from flows.benchmark.helper import Work, serve

CONNECT_SECONDS = 60.0
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class Call:
    """The call, and the status of an answer that counts."""

    host: str
    port: int
    request: str
    status: int


@dataclass
class Answers:
    """What came back before the end."""

    counted: list[float] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    lost: int = 0

    def result(self, seconds: float) -> dict[str, Any]:
        milliseconds = [each * 1000 for each in self.counted]
        return {
            "counted": len(milliseconds),
            "others": self.others,
            "lost": self.lost,
            "perSecond": len(milliseconds) / seconds,
            "p50Ms": percentile(milliseconds, 0.5) if milliseconds else None,
            "p99Ms": percentile(milliseconds, 0.99) if milliseconds else None,
        }


class Caller(asyncio.Protocol):
    """One connection. It calls until it is told to stop, and comes back if it is lost."""

    def __init__(self, call: Call, answers: Answers) -> None:
        self._call, self._answers = call, answers
        self._request = call.request.encode()
        self._status = str(call.status)
        self._held = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._again: asyncio.Task[Any] | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # That of uvloop is no subclass.
        self._transport, self._held = cast(asyncio.Transport, transport), b""
        if not self.ended:
            self._send()

    def data_received(self, data: bytes) -> None:
        self._held += data
        if self.ended or not is_whole(self._held):
            return
        took = time.perf_counter() - self._sent_at
        status = self._held[9:12].decode("latin-1")
        if status == self._status:
            self._answers.counted.append(took)
        else:
            self._answers.others[status] += 1
        self._held = b""
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended:
            self._answers.lost += 1
            self._again = asyncio.ensure_future(self.connect())

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        connecting = loop.create_connection(lambda: self, self._call.host, self._call.port)
        await asyncio.wait_for(connecting, CONNECT_SECONDS)

    def stop(self) -> None:
        self.ended = True
        if self._again:
            self._again.cancel()
        if self._transport:
            self._transport.abort()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)


def is_whole(held: bytes) -> bool:
    """Say whether these bytes are a whole answer. None has another one behind it."""
    head, end, body = held.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    # In chunks; the last one is empty.
    return body.endswith(LAST_CHUNK) and (body == LAST_CHUNK or body[:-5].endswith(b"\r\n"))


async def call_for(seconds: float, connections: int, call: Call) -> dict[str, Any]:
    answers = Answers()
    callers = [Caller(call, answers) for _ in range(connections)]
    try:
        await asyncio.gather(*(caller.connect() for caller in callers))
        started_at = time.perf_counter()
        await asyncio.sleep(seconds)
        return answers.result(time.perf_counter() - started_at)
    finally:
        for caller in callers:
            caller.stop()


def prepare(order: Mapping[str, Any]) -> Work:
    call = Call(**order["call"])
    return lambda: uvloop.run(call_for(order["seconds"], order["connections"], call))


if __name__ == "__main__":
    serve(prepare)
