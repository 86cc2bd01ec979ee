"""The body of a request. The time and the memory to receive it are limited."""

from __future__ import annotations

import asyncio
import time
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable
from io import BytesIO, RawIOBase
from typing import Any, BinaryIO

from flows.front.faults import BodyIncomplete, BodyTooLarge, BodyTooSlow, Overloaded

Receive = Callable[[], Awaitable[dict[str, Any]]]

# The longest wait for a piece of a body, and the least bytes a second on average.
PATIENCE_SECONDS = 10.0
BYTES_PER_SECOND = 1024
# The memory that every body may have. More is taken from the process's `BodyMemory`.
FREE_BYTES = 32 * 1024
SHARED_BYTES = 64 * 1024 * 1024
# A body of any length: this much is received before its request gets a thread.
READ_AHEAD_BYTES = 256 * 1024
# A refused body is read for a short time more. A connection that is closed with unread data is
# reset, and the caller may lose the answer.
LINGER_SECONDS = 2.0
LINGER_BYTES = 8 * 1024 * 1024


class Upload:
    """A body as it comes. The time that the server takes between the pieces does not count."""

    def __init__(self, receive: Receive, length: int | None) -> None:
        """`length` is the announced one, None if there is none."""
        self._receive = receive
        self._patience = PATIENCE_SECONDS
        self.length = length
        self._asked: Awaitable[dict[str, Any]] | None = None
        self.size = 0
        self.is_whole = length == 0

    def ask(self) -> None:
        """Ask for the next piece, which may come while this thread does something else."""
        if self._asked is None:
            self._asked = self._receive()

    async def next(self) -> bytes:
        """Return the next piece, which may be empty. Raises BodyIncomplete and BodyTooSlow."""
        begun = time.monotonic()
        self.ask()
        asked, self._asked = self._asked, None
        assert asked is not None
        try:
            async with asyncio.timeout(self._patience):
                message = await asked
        except TimeoutError as error:
            self._patience = 0.0
            raise BodyTooSlow from error
        if message["type"] == "http.disconnect":
            raise BodyIncomplete
        piece: bytes = message.get("body", b"")
        self.size += len(piece)
        self._spend(time.monotonic() - begun, len(piece))
        self.is_whole = self.size == self.length or not message.get("more_body", False)
        if self.is_whole and self.length not in {None, self.size}:
            raise BodyIncomplete
        return piece

    def _spend(self, seconds: float, size: int) -> None:
        left = self._patience - seconds + size / BYTES_PER_SECOND
        self._patience = min(left, PATIENCE_SECONDS)

    async def gone(self) -> None:
        """Return when the caller has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def linger(self) -> None:
        """Read on for a short time and drop the data."""
        if self.is_whole:
            return
        most = self.size + LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while not self.is_whole and self.size < most:
                    await self.next()
        except (TimeoutError, BodyIncomplete, BodyTooSlow):
            return


class BodyMemory:
    """Memory for bodies that all requests of a process share."""

    def __init__(self, size: int = SHARED_BYTES) -> None:
        self._left = size

    def take(self, size: int) -> None:
        """Take memory. Raises Overloaded if not enough is left."""
        if size > self._left:
            raise Overloaded
        self._left -= size

    def give_back(self, size: int) -> None:
        self._left += size


class Held:
    """The part of a request's body that is in memory."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._taken = 0
        self.pieces: list[bytes] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Raises Overloaded."""
        self.pieces.append(piece)
        self.size += len(piece)
        beyond = max(self.size - FREE_BYTES, 0) - self._taken
        if beyond:
            self._memory.take(beyond)
            self._taken += beyond

    def release(self) -> None:
        self._memory.give_back(self._taken)
        self._taken = 0

    def drop(self) -> None:
        """Drop what is in memory: the body has been read."""
        self.pieces.clear()
        self.size = 0
        self.release()


async def read_whole(upload: Upload, held: Held, limit: int) -> None:
    """Read the whole body. Raises RequestFault; BodyTooLarge at the first byte beyond the limit."""
    while not upload.is_whole:
        held.add(await upload.next())
        if held.size > limit:
            raise BodyTooLarge(limit)


async def read_ahead(upload: Upload, held: Held) -> None:
    """Read the beginning, all of a short body. Raises RequestFault."""
    while not upload.is_whole and held.size < READ_AHEAD_BYTES:
        held.add(await upload.next())


def whole_input(held: Held) -> BinaryIO:
    return BytesIO(b"".join(held.pieces))


class StreamedInput(RawIOBase):
    """A body of any length, read by a thread while it comes. Its reads raise RequestFault."""

    def __init__(self, upload: Upload, held: Held, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._upload = upload
        self._rest = memoryview(b"".join(held.pieces))
        self._loop = loop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Return the number of bytes as soon as some have come; 0 at the end."""
        while not self._rest and not self._upload.is_whole:
            coming = asyncio.run_coroutine_threadsafe(self._upload.next(), self._loop)
            self._rest = memoryview(coming.result())
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
