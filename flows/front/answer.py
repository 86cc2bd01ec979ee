"""The answer of a WSGI application, taken by a thread and sent by the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from flows.front.threads import Threads

Send = Callable[[dict[str, Any]], Awaitable[None]]
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Any]

# An answer is sent in pieces of about this size. A shorter one is sent at once.
PIECE_BYTES = 256 * 1024
# A caller that reads nothing for this time does not get the rest.
SEND_SECONDS = 60.0


class Answer:
    """Status, headers and the pieces of the body. All but `send` needs a thread."""

    def __init__(self, wsgi: Wsgi, environ: dict[str, Any]) -> None:
        self._response = wsgi(environ, self._start)
        self._chunks: Iterator[bytes] = iter(self._response)
        try:
            self._piece = self._next_piece()
        except BaseException:
            self._close()
            raise

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        self._status = int(status.split(" ", 1)[0])
        self._headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]

    def _next_piece(self) -> bytes:
        """Return the next piece. After the last one the response is closed."""
        chunks, size = [], 0
        for chunk in self._chunks:
            chunks.append(chunk)
            size += len(chunk)
            if size >= PIECE_BYTES:
                break
        else:
            self._close()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _close(self) -> None:
        if self._response is not None and hasattr(self._response, "close"):
            self._response.close()
        self._response = None

    def whole(self) -> tuple[int, list[tuple[bytes, bytes]], bytes] | None:
        """Return status, headers and body, None where the body has more than one piece."""
        return (self._status, self._headers, self._piece) if self._is_complete else None

    @property
    def _is_complete(self) -> bool:
        return self._response is None

    def add(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._headers += headers

    async def send(self, send: Send, threads: Threads, *, last: bool) -> None:
        """Send it. `last` announces that the connection is closed afterwards."""
        headers = [*self._headers, (b"connection", b"close")] if last else self._headers
        try:
            await send({"type": "http.response.start", "status": self._status, "headers": headers})
            await self._send_piece(send)
            while not self._is_complete:
                await threads.run(self._advance)
                await self._send_piece(send)
        finally:
            if not self._is_complete:
                await threads.run(self._close)

    def _advance(self) -> None:
        self._piece = self._next_piece()

    async def _send_piece(self, send: Send) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await send(
                {
                    "type": "http.response.body",
                    "body": self._piece,
                    "more_body": not self._is_complete,
                }
            )
