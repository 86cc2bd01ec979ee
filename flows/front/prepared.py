"""An answer that is ready: nothing more of it has to be made."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from flows.front.answer import SEND_SECONDS, Send
from flows.front.threads import Threads


@dataclass(frozen=True, slots=True)
class Prepared:
    """Status, headers and the whole body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def send(self, send: Send, threads: Threads, *, last: bool) -> None:
        """Send it, as `Answer` does."""
        headers = [*self.headers, (b"connection", b"close")] if last else self.headers
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": self.body, "more_body": False})
